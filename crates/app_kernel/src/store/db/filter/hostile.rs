//! Texts from people who mean harm, or from a cat on a keyboard. What comes out is judged by a reader that knows nothing of how it was made.

use super::tests::{DIALECTS, order, widget};
use super::*;
use crate::store::db::Backend;
use crate::store::db::dialect::{MySql, Sqlite};
use crate::store::db::entity::AUTOMATIC;

/// Random numbers that are the same on every machine.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

#[rustfmt::skip]
const TOKENS: [&str; 62] = [
    "[name]", "[size]", "[weight]", "[flag]", "[price]", "[tags]", "[photo]", "[seen]", "[id]", "[nothing]", "[]", "[", "]",
    "?", "?", "'a'", "''", "'", "'it''s'", r"'%_\'", "1", "-1", "2.5", "1e5", "9223372036854775808", "TRUE", "FALSE", "NULL",
    "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "(", ")", ",", "=", "!=", "<>", "<", "<=", ">", ">=",
    "LOWER(", "UPPER(", "LENGTH(", "COALESCE(", "ABS(", ";", "--", "/*", "*/", "#", "\"", "`", "\\", "\0", "$1", "@x", "é",
];

#[rustfmt::skip]
const HOSTILE: [&str; 28] = [
    "'; DROP TABLE widget; --", "' OR '1'='1", r"\'; --", r"\", "' OR 1=1 /*", "*/ OR 1=1", "UNION SELECT password FROM user",
    "(SELECT 1)", "1; DELETE FROM widget", "[name]; --", "[name\"]", "[name`]", "[na]me]", "[name] -- ", "[\"; --]", "pg_sleep(10)",
    "SLEEP(10)", "load_extension('x')", "CASE WHEN 1 THEN 2 END", "\u{202E}", "\u{FEFF}", "'\0'", "$$x$$", r"E'\''", "x'00'", "0x41",
    "{fn now()}", "/*!50000 OR 1 */",
];

const HONEST: [&str; 10] = [
    "[owner_id] = ? AND ([size] > 3 OR [name] LIKE 'a%') AND [color] IN ('a', ?)",
    "NOT [deleted] AND [weight] BETWEEN ? AND 2.5e3 AND [seen] IS NOT NULL",
    "LOWER([name]) = LOWER(?) OR COALESCE([flag], FALSE)",
    "[seen] > '2026-01-30T12:00:00Z' AND [due] <= '2026-01-30' AND [opens] != '12:30'",
    "[photo] = 'AAEC' OR [key] = '67e55044-10b1-426f-9247-bb680e5fe0c8' OR [price] IN ('1.5', 2)",
    "LENGTH([name]) >= ABS([size]) AND [size] NOT IN (-9223372036854775808, 0)",
    r"[name] LIKE '50\%' AND [color] NOT LIKE 'it''s \\%'",
    "? IS NULL OR [name] IN () OR [name] NOT IN ()",
    r"[name] = ''';--' AND [color] = '/* \'' */ #'",
    "1 = 1 AND (? BETWEEN [size] AND [count] OR UPPER([name]) = 'A')",
];

/// A clause: some honest, most of them not.
fn clause(dice: &mut Dice) -> String {
    let mut text = match dice.roll(4) {
        0 => (0..=dice.roll(14)).map(|_| dice.pick(&TOKENS)).collect::<Vec<_>>().join(" "),
        1 => [dice.pick(&HONEST), dice.pick(&[" AND ", " OR ", " AND NOT ", " "]), dice.pick(&HONEST)].concat(),
        _ => dice.pick(&HONEST).to_owned(),
    };
    for _ in 0..dice.roll(3) {
        let from = boundary(&text, dice.roll(text.len() + 1));
        let to = boundary(&text, (from + dice.roll(12)).min(text.len()));
        match dice.roll(4) {
            0 => text.replace_range(from..to, ""),
            1 => text.insert_str(from, dice.pick(&TOKENS)),
            2 => text.insert_str(from, dice.pick(&HOSTILE)),
            _ => {
                let again = text[from..to].to_owned();
                text.insert_str(to, &again);
            }
        }
    }
    text
}

fn boundary(text: &str, near: usize) -> usize {
    (near..=text.len()).find(|at| text.is_char_boundary(*at)).expect("the end is one")
}

#[rustfmt::skip]
const WORDS: [&str; 32] = [
    "AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "COALESCE", "ABS", "NULLIF", "lower", "upper",
    "length", "char_length", "CHAR_LENGTH", "REPLACE", "CAST", "AS", "BIGINT", "COLLATE", "DOUBLE", "PRECISION", "TIMESTAMPTZ",
    "TIMESTAMP", "DATE", "TIME", "BYTEA", "X",
];

/// Reads a printed condition as a database would: the first thing in it that must not be there.
fn stranger_in(sql: &str, entity: &EntityDef, backend: Backend) -> Option<String> {
    let is_mysql = backend == Backend::MySql;
    let (mut rest, mut before, mut depth) = (sql, ' ', 0_i32);
    while let Some(first) = rest.chars().next() {
        let second = rest[first.len_utf8()..].chars().next().unwrap_or(' ');
        let taken = match first {
            '\'' => match end_of_text(rest, is_mysql) {
                Some(end) => end,
                None => return Some(format!("a text without end: {rest}")),
            },
            '"' | '`' => {
                let Some(end) = rest[1..].find(first) else {
                    return Some(format!("a name without end: {rest}"));
                };
                let name = &rest[1..=end];
                let is_known = entity.column(name).is_some() || AUTOMATIC.contains(&name) || name == "C";
                if !is_known || (first == '`') != is_mysql {
                    return Some(format!("the name {name}"));
                }
                end + 2
            }
            'A'..='Z' | 'a'..='z' | '_' => {
                let word = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())];
                if !WORDS.contains(&word) {
                    return Some(format!("the word {word}"));
                }
                word.len()
            }
            '0'..='9' => rest.find(|c: char| !matches!(c, '0'..='9' | '.' | 'e')).unwrap_or(rest.len()),
            '-' if before == 'e' || second.is_ascii_digit() || (before == ' ' && second == ' ') => 1,
            '(' => {
                depth += 1;
                1
            }
            ')' if depth > 0 => {
                depth -= 1;
                1
            }
            ' ' | ',' | '=' | '<' | '>' | '?' | '$' => 1,
            other => return Some(format!("the character {other}")),
        };
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    (depth != 0).then(|| "a parenthesis that is not closed".to_owned())
}

fn end_of_text(sql: &str, has_backslash: bool) -> Option<usize> {
    let bytes = sql.as_bytes();
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'\\' if has_backslash => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[test]
fn the_reader_itself_sees_what_must_not_be_there() {
    #[rustfmt::skip]
    let bad = [
        r#""name" = 'a'; x"#, r#""name" = 'a' -- x"#, r#""name" = 'a' /* x */"#, r#""name" = 'a' # x"#, r#""name" = sleep(1)"#,
        r#""nothing" = 1"#, r#""name" = 'a"#, r#"("name" = 'a'"#, r#""name" = 'a')"#, "`name` = 1", r#""size" = 1--1"#, r#""name" = E'a'"#,
    ];
    for sql in bad {
        assert!(stranger_in(sql, &widget(), Backend::Sqlite).is_some(), "{sql}");
    }
    assert_eq!(stranger_in(r"`name` = 'a\'; DROP TABLE widget --'", &widget(), Backend::MySql), None);
    assert!(stranger_in(r"`name` = 'a\\'; DROP TABLE widget --'", &widget(), Backend::MySql).is_some());
}

/// Promise: C3, R-26
#[test]
fn no_text_becomes_another_statement() {
    let (mut dice, entity) = (Dice(0x9E37_79B9_7F4A_7C15), widget());
    let (mut rendered, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let (text, dialect) = (clause(&mut dice), dice.pick(&DIALECTS));
        match render(&text, &entity, dialect, 1) {
            Ok(condition) => {
                rendered += 1;
                let stranger = stranger_in(&condition.sql, &entity, dialect.backend());
                assert_eq!(stranger, None, "{text:?} became {}", condition.sql);
                let nulls = vec![Value::Null; condition.wanted];
                assert!(condition.bind(nulls, None).is_ok(), "null fits everywhere: {text:?}");
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.error_code(), "bad_where_clause");
                assert!(error.message().len() < 400, "{text:?}: {error}");
            }
        }
    }
    assert!(rendered > 20_000 && refused > 20_000, "both kinds must be many: {rendered} rendered, {refused} refused");
    println!("R-26 held: {rendered} clauses printed, {refused} refused, none became another statement");
}

#[test]
fn no_text_gets_into_an_order() {
    let words = ["[name]", "[size]", "[tags]", "DESC", "ASC", "NULLS", "FIRST", "LAST", ",", ",", "--", ";", "'", "1"];
    let (mut dice, mut printed) = (Dice(7), 0);
    for _ in 0..20_000 {
        let text = (0..dice.roll(8)).map(|_| dice.pick(&words)).collect::<Vec<_>>().join(" ");
        let Ok(orders) = order(&text) else { continue };
        printed += 1;
        assert!(!orders.concat().contains([';', '\'', '-', '1']), "{text}: {orders:?}");
    }
    assert!(printed > 1000, "{printed} of them were right");
}

/// The deepest and the longest that pass, for those who read them next.
pub(super) fn extremes() -> Vec<String> {
    let list = |item: &str, length: usize| vec![item; length].join(", ");
    vec![
        format!("{}[flag]{}", "([deleted] AND NOT (".repeat(21), "))".repeat(21)),
        format!("{}[flag]", "NOT ".repeat(64)),
        vec!["[flag]"; 500].join(" OR "),
        vec!["[flag]"; 500].join(" AND "),
        format!("[size] IN ({})", list("7", 999)),
        format!("{}[name]{} = 'a'", "COALESCE(LOWER(".repeat(4), "), 'x')".repeat(4)),
        format!("[name] LIKE '{}'", "%a_".repeat(3333)),
        vec!["LOWER([name]) <> 'a'"; 300].join(" AND "),
    ]
}

#[test]
fn the_extremes_are_within_the_limits() {
    for text in extremes() {
        for dialect in [&Sqlite as &dyn Dialect, &MySql] {
            assert!(render(&text, &widget(), dialect, 1).is_ok(), "{:?}", render(&text, &widget(), dialect, 1));
        }
    }
}
