//! The conditions of `check`: whether their brackets close and name columns of the row. The store parses the rest.

use super::names::{AUTOMATIC, nearest};

/// Why a condition can't be checked; `columns` are the entity's own.
pub(super) fn problem(condition: &str, columns: &[&str]) -> Option<String> {
    let named = match bracketed(condition) {
        Ok(named) => named,
        Err(problem) => return Some(problem),
    };
    if named.is_empty() {
        return Some(
            "`check` names no column; columns stand in brackets, such as [status] IN ('active', 'archived')".to_owned(),
        );
    }
    let known: Vec<&str> = columns.iter().copied().chain(AUTOMATIC).collect();
    let unknown = named.into_iter().find(|name| !known.contains(name))?;
    Some(no_such_column(unknown, &known))
}

/// Says that a column is not there, and which one may have been meant.
pub(super) fn no_such_column(name: &str, known: &[&str]) -> String {
    let cure = match nearest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    format!("there is no column `{name}`; {cure}")
}

/// The names in brackets; texts in single quotes may hold brackets, and a quote twice.
fn bracketed(condition: &str) -> Result<Vec<&str>, String> {
    let mut named = Vec::new();
    let mut rest = condition;
    while let Some(start) = rest.find(['\'', '[', ']', '?']) {
        let after = &rest[start + 1..];
        rest = match rest.as_bytes()[start] {
            // A quote twice is the end of one text and the start of the next: the same to us.
            b'\'' => past(after, '\'').ok_or("a text in `check` does not end: a single quote is missing")?.1,
            b'[' => {
                let (name, rest) = past(after, ']').ok_or("a bracket in `check` does not close: ] is missing")?;
                named.push(name);
                rest
            }
            b']' => return Err("a bracket in `check` does not open: [ is missing".to_owned()),
            _ => return Err("`check` has no parameters; write the value in place of ?".to_owned()),
        };
    }
    Ok(named)
}

fn past(text: &str, end: char) -> Option<(&str, &str)> {
    text.split_once(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_in_brackets_are_found_and_texts_are_passed_over() {
        let found = bracketed("[a] IN ('it''s [not] this?', 'x') AND [b_2] > 1");
        assert_eq!(found, Ok(vec!["a", "b_2"]));
    }

    #[test]
    fn a_condition_must_name_columns_of_the_row() {
        let columns = ["status", "size"];
        let cases = [
            ("[status] IN ('a')", None),
            ("[updated_at] >= [created_at]", None),
            ("[stauts] = 'a'", Some("there is no column `stauts`; did you mean `status`?")),
            (
                "[color] = 'a'",
                Some(
                    "there is no column `color`; there are status, size, id, created_at, updated_at, deleted_at, version",
                ),
            ),
            ("[status = 'a'", Some("a bracket in `check` does not close: ] is missing")),
            ("status] = 'a'", Some("a bracket in `check` does not open: [ is missing")),
            ("[status] = 'a", Some("a text in `check` does not end: a single quote is missing")),
            ("[size] > ?", Some("`check` has no parameters; write the value in place of ?")),
            (
                "size > 0",
                Some("`check` names no column; columns stand in brackets, such as [status] IN ('active', 'archived')"),
            ),
        ];
        for (condition, expected) in cases {
            assert_eq!(problem(condition, &columns).as_deref(), expected, "{condition}");
        }
    }
}
