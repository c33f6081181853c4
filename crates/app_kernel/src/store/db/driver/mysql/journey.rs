//! Several statements in one text, their values written into it: one journey to the server and back for all of them.

use super::super::Statement;
use crate::store::db::dialect::MySql;
use crate::store::db::dialect::literal::push_literal;

/// The longest text, in bytes. What is longer goes as prepared statements, one by one: their values are not written as text.
const LONGEST: usize = 64 << 10;

/// The statements as one text, between the beginning and the end of their transaction where those are to go with them.
/// None where the text would be too long.
pub(super) fn text(begins: bool, statements: &[Statement<'_>], commits: bool) -> Option<String> {
    let mut text = String::with_capacity(2048);
    if begins {
        text.push_str("START TRANSACTION; ");
    }
    for (number, statement) in statements.iter().enumerate() {
        if number > 0 {
            text.push_str("; ");
        }
        push(statement, &mut text)?;
    }
    if commits {
        text.push_str("; COMMIT");
    }
    Some(text)
}

/// Writes a statement with its values in their places.
fn push(statement: &Statement<'_>, text: &mut String) -> Option<()> {
    let mut parts = statement.sql.split('?');
    text.push_str(parts.next().unwrap_or_default());
    for (value, part) in statement.params.iter().zip(parts) {
        push_literal(value, &MySql, text);
        text.push_str(part);
        if text.len() > LONGEST {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::value::Value;

    #[test]
    fn values_stand_in_their_places_and_cannot_leave_them() {
        let row = [Value::from(r"O'Hara\"), Value::Int(-1), Value::Null, Value::Float(0.1), Value::Bytes(vec![0, 255])];
        let insert = Statement { sql: "INSERT INTO `t` VALUES (?, ?, ?, ?, ?)", params: &row };
        let change = [Value::from("?"), Value::Bool(true)];
        let update = Statement { sql: "UPDATE `u` SET `a` = ? WHERE `b` = ?", params: &change };
        assert_eq!(
            text(true, &[insert, update], true).as_deref(),
            Some(
                r"START TRANSACTION; INSERT INTO `t` VALUES ('O''Hara\\', -1, NULL, 1e-1, X'00ff'); UPDATE `u` SET `a` = '?' WHERE `b` = TRUE; COMMIT"
            )
        );
        assert_eq!(text(false, &[update], false).as_deref(), Some("UPDATE `u` SET `a` = '?' WHERE `b` = TRUE"));
    }

    #[test]
    fn long_values_are_not_written_as_text() {
        let row = [Value::Text("a".repeat(LONGEST))];
        assert_eq!(text(true, &[Statement { sql: "INSERT INTO `t` VALUES (?)", params: &row }], true), None);
    }
}
