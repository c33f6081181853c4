//! Names: from Rust's to the database's, and which ones can't be.

/// The columns that every table has.
pub(super) const AUTOMATIC: [&str; 5] = ["id", "created_at", "updated_at", "deleted_at", "version"];
/// The longest name of a table or column, in bytes; the kernel appends up to nine.
const LONGEST: usize = 54;
/// What PostgreSQL keeps in every table.
const OF_POSTGRES: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// Last words whose plural no rule makes.
const IRREGULAR: [(&str, &str); 9] = [
    ("person", "people"),
    ("child", "children"),
    ("man", "men"),
    ("woman", "women"),
    ("data", "data"),
    ("metadata", "metadata"),
    ("media", "media"),
    ("information", "information"),
    ("feedback", "feedback"),
];

/// `InProgress` is `in_progress`, `HTTPError` is `http_error`, `Utf8Text` is `utf8_text`.
pub(super) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (i, &letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let after_word = before.is_some_and(|b| b.is_lowercase() || b.is_ascii_digit());
        let ends_acronym =
            before.is_some_and(char::is_uppercase) && letters.get(i + 1).is_some_and(|c| c.is_lowercase());
        if letter.is_uppercase() && (after_word || ends_acronym) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The plural of a name in snake case, of its last word: `user_key` is `user_keys`, `box` is `boxes`, `settings` stays.
pub(super) fn plural(name: &str) -> String {
    let start = name.rfind('_').map_or(0, |i| i + 1);
    let (rest, word) = name.split_at(start);
    if let Some((_, plural)) = IRREGULAR.iter().find(|(singular, _)| *singular == word) {
        return format!("{rest}{plural}");
    }
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    let vowel_and_y = ends(&["ay", "ey", "iy", "oy", "uy"]) || word == "y";
    match word {
        _ if ends(&["y"]) && !vowel_and_y => format!("{rest}{}ies", &word[..word.len() - 1]),
        _ if ends(&["is"]) => format!("{rest}{}es", &word[..word.len() - 2]),
        _ if ends(&["ss", "us", "as", "x", "z", "ch", "sh"]) => format!("{name}es"),
        _ if ends(&["s"]) => name.to_owned(),
        _ => format!("{name}s"),
    }
}

/// Why a name can't be a column; `entity` is the struct's.
pub(super) fn column_problem(name: &str, entity: &str) -> Option<String> {
    if let Some(automatic) = automatic(name) {
        return Some(format!(
            "the store keeps `{automatic}` in every table; leave this field out and find it on `Saved<{entity}>`"
        ));
    }
    if OF_POSTGRES.contains(&name) {
        return Some(format!("PostgreSQL keeps a column `{name}` of its own in every table; choose another name"));
    }
    form_problem(name, "column")
}

/// Why a name can't be a table; `of_kernel` for the kernel's own.
pub(super) fn table_problem(name: &str, of_kernel: bool) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some(problem) = form_problem(name, "table") {
        return Some(problem);
    }
    if lower.ends_with("_history") {
        return Some(format!("`{name}` ends in `_history`, as the tables of versions do; choose another name"));
    }
    for (start, keeper) in [("sqlite_", "SQLite"), ("pg_", "PostgreSQL")] {
        if lower.starts_with(start) {
            return Some(format!(
                "`{name}` starts with `{start}`, which {keeper} keeps for itself; choose another name"
            ));
        }
    }
    (lower.starts_with("kernel_") && !of_kernel)
        .then(|| format!("`{name}` starts with `kernel_`, as the kernel's own tables do; choose another name"))
}

/// The automatic column that a name would hide: databases don't all tell `ID` from `id`.
pub(super) fn automatic(name: &str) -> Option<&'static str> {
    AUTOMATIC.into_iter().find(|automatic| name.eq_ignore_ascii_case(automatic))
}

/// Why a text can't be a name of the database at all.
pub(super) fn form_problem(name: &str, what: &str) -> Option<String> {
    let Some(first) = name.chars().next() else {
        return Some(format!("the name of a {what} can't be empty"));
    };
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !letters || first.is_ascii_digit() {
        return Some(format!(
            "`{name}` can't be the name of a {what}: use letters a to z, digits and _, and no digit first"
        ));
    }
    (name.len() > LONGEST).then(|| {
        let len = name.len();
        format!(
            "`{name}` is too long for the name of a {what}: it has {len} letters, {LONGEST} fit all three databases"
        )
    })
}

/// The known name that somebody probably meant: at most a third of its letters differ.
pub(super) fn nearest<'a, S: AsRef<str>>(name: &str, known: &'a [S]) -> Option<&'a str> {
    known
        .iter()
        .map(AsRef::as_ref)
        .map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known))
        .filter(|(distance, known)| distance * 3 <= known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters must be put in, taken out, changed or swapped with the next to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // cell (i, j): from the first i letters of one to the first j of the other
    let mut cells = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            cells[i][j] = match (i, j) {
                (0, steps) | (steps, 0) => steps,
                _ => {
                    let changed = cells[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                    let swaps = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                    let swapped = if swaps { cells[i - 2][j - 2] + 1 } else { usize::MAX };
                    changed.min(swapped).min(cells[i - 1][j] + 1).min(cells[i][j - 1] + 1)
                }
            };
        }
    }
    cells[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_snake_case_splits_at_words_and_not_within_acronyms() {
        let cases = [
            ("Widget", "widget"),
            ("UserKey", "user_key"),
            ("HTTPError", "http_error"),
            ("OAuthState", "o_auth_state"),
            ("Utf8Text", "utf8_text"),
            ("V2", "v2"),
            ("ABC", "abc"),
            ("already_snake", "already_snake"),
            ("Übung", "übung"),
        ];
        for (name, snake) in cases {
            assert_eq!(snake_case(name), snake);
        }
    }

    #[test]
    fn a_table_is_named_in_the_plural() {
        let cases = [
            ("widget", "widgets"),
            ("category", "categories"),
            ("user_key", "user_keys"),
            ("box", "boxes"),
            ("address", "addresses"),
            ("status", "statuses"),
            ("alias", "aliases"),
            ("branch", "branches"),
            ("analysis", "analyses"),
            ("app_settings", "app_settings"),
            ("news", "news"),
            ("person", "people"),
            ("step_child", "step_children"),
            ("user_data", "user_data"),
            ("toy", "toys"),
        ];
        for (singular, expected) in cases {
            assert_eq!(plural(singular), expected);
        }
    }

    #[test]
    fn the_nearest_name_is_one_that_may_have_been_meant() {
        let known = ["index", "unique", "foreign_key"];
        assert_eq!(nearest("indx", &known), Some("index"));
        assert_eq!(nearest("forein_key", &known), Some("foreign_key"));
        assert_eq!(nearest("UNIQUE", &known), Some("unique"));
        assert_eq!(nearest("uinque", &known), Some("unique"));
        assert_eq!(nearest("primary_key", &known), None);
        assert_eq!(nearest("x", &known), None);
    }
}
