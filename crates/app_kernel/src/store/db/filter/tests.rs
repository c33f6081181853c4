//! The language as text in, text out.

use super::*;
use crate::store::db::dialect::{MySql, Postgres, Sqlite};
use crate::store::db::entity::ColumnDef;
use crate::store::db::value::ColumnType;

/// An entity with a column of each type.
pub(super) fn widget() -> EntityDef {
    use ColumnType::*;
    let columns = [
        ("name", Text, false),
        ("color", Text, true),
        ("owner_id", Text, false),
        ("size", Int, true),
        ("count", Int, false),
        ("weight", Float, true),
        ("price", Decimal, true),
        ("deleted", Bool, false),
        ("flag", Bool, true),
        ("seen", Timestamp, true),
        ("due", Date, true),
        ("opens", Time, true),
        ("key", Uuid, true),
        ("photo", Bytes, true),
        ("tags", Json, true),
    ];
    let mut entity = EntityDef::new("widget");
    entity.columns = columns.map(|(name, ty, nullable)| ColumnDef { nullable, ..ColumnDef::new(name, ty) }).into();
    entity
}

pub(super) const DIALECTS: [&dyn Dialect; 3] = [&Sqlite, &Postgres, &MySql];

#[track_caller]
fn prints(clause: &str, sqlite: &str, postgres: &str, mysql: &str) {
    for (dialect, expected) in DIALECTS.into_iter().zip([sqlite, postgres, mysql]) {
        let condition = render(clause, &widget(), dialect, 1).expect("the clause is right");
        assert_eq!(condition.sql, expected, "{dialect:?}: {clause}");
    }
}

/// Promise: R-26, R-27
#[test]
fn no_clause_reaches_around_a_bound() {
    let bound = Some(Bound { column: "owner_id" });
    for (clause, sqlite, mysql) in [
        ("", r#""owner_id" = ?1"#, "`owner_id` = ?"),
        ("[size] = ?", r#""owner_id" = ?1 AND "size" = ?2"#, "`owner_id` = ? AND `size` = ?"),
        (
            "[size] = ? OR TRUE",
            r#""owner_id" = ?1 AND ("size" = ?2 OR 1 = 1)"#,
            "`owner_id` = ? AND (`size` = ? OR 1 = 1)",
        ),
        (
            "[size] = ? AND NOT [owner_id] = 'b'",
            r#""owner_id" = ?1 AND ("size" = ?2 AND NOT ("owner_id" = 'b'))"#,
            "`owner_id` = ? AND (`size` = ? AND NOT (`owner_id` = 'b'))",
        ),
    ] {
        for (dialect, expected) in [(&Sqlite as &dyn Dialect, sqlite), (&MySql, mysql)] {
            let condition = render_bound(clause, bound, &widget(), dialect, 1).expect("the clause is right");
            assert_eq!(condition.sql, expected, "{clause}");
            let own: Vec<Value> = if clause.is_empty() { Vec::new() } else { vec![Value::Int(7)] };
            let all: Vec<Value> = [text("a")].into_iter().chain(own.clone()).collect();
            assert_eq!(condition.bind(own.clone(), Some("a")).expect("they fit"), all, "the bound's value comes first");
            let too_many = condition.bind([own, vec![text("b")]].concat(), Some("a"));
            assert_eq!(too_many.expect_err("one too many").error_code(), "bad_where_clause");
        }
    }
}

#[track_caller]
fn is_refused(clause: &str, character: usize, message: &str) {
    for dialect in DIALECTS {
        let error = render(clause, &widget(), dialect, 1).expect_err(clause);
        assert_eq!(
            error.message(),
            format!("the where clause is wrong at character {character}: {message}"),
            "{clause}"
        );
        assert_eq!((error.error_code(), error.http_status()), ("bad_where_clause", 400));
    }
}

#[track_caller]
fn binds(clause: &str, params: impl IntoIterator<Item = Value>, expected: Result<&[Value], &str>) {
    let condition = render(clause, &widget(), &Sqlite, 1).expect("the clause is right");
    let bound = condition.bind(params.into_iter().collect(), None).map_err(|error| error.message().to_owned());
    assert_eq!(bound.as_deref().map_err(String::as_str), expected, "{clause}");
}

fn text(text: &str) -> Value {
    text.into()
}

/// Promise: C3
#[test]
fn a_clause_is_printed_in_the_words_of_each_database() {
    prints("", "1 = 1", "1 = 1", "1 = 1");
    prints(
        "[owner_id] = ? AND ([size] > 3 OR [name] LIKE 'a%') AND [color] IN ('a', ?) AND NOT [deleted] AND [weight] BETWEEN ? AND ? AND [seen] IS NOT NULL",
        r#""owner_id" = ?1 AND ("size" > 3 OR "name" LIKE 'a%' ESCAPE '\') AND "color" IN ('a', ?2) AND NOT ("deleted" = 1) AND "weight" BETWEEN ?3 AND ?4 AND "seen" IS NOT NULL"#,
        r#""owner_id" = $1 AND ("size" > 3 OR "name" LIKE 'a%' ESCAPE '\') AND "color" IN ('a', $2) AND NOT ("deleted" = TRUE) AND "weight" BETWEEN $3 AND $4 AND "seen" IS NOT NULL"#,
        r#"`owner_id` = ? AND (`size` > 3 OR `name` LIKE 'a%' ESCAPE '\\') AND `color` IN ('a', ?) AND NOT (`deleted` = TRUE) AND `weight` BETWEEN ? AND ? AND `seen` IS NOT NULL"#,
    );
    prints("[deleted]", r#""deleted" = 1"#, r#""deleted" = TRUE"#, "`deleted` = TRUE");
    prints(
        "not [flag] or [flag] = true or coalesce([flag], false)",
        r#"(NOT ("flag" = 1) OR "flag" = 1 OR COALESCE("flag", 0) = 1)"#,
        r#"(NOT ("flag" = TRUE) OR "flag" = TRUE OR COALESCE("flag", FALSE) = TRUE)"#,
        "(NOT (`flag` = TRUE) OR `flag` = TRUE OR COALESCE(`flag`, FALSE) = TRUE)",
    );
    prints(
        "TRUE AND FALSE OR ?",
        "((1 = 1 AND 1 = 0) OR ?1 = 1)",
        "((1 = 1 AND 1 = 0) OR $1 = TRUE)",
        "((1 = 1 AND 1 = 0) OR ? = TRUE)",
    );
    prints(
        r#"[name] != 'it''s \ "x"' AND [name] <> ''"#,
        r#""name" <> 'it''s \ "x"' AND "name" <> ''"#,
        r#""name" <> 'it''s \ "x"' AND "name" <> ''"#,
        r#"`name` <> 'it''s \\ "x"' AND `name` <> ''"#,
    );
    prints("[size] IN () OR [size] NOT IN ()", "(1 = 0 OR 1 = 1)", "(1 = 0 OR 1 = 1)", "(1 = 0 OR 1 = 1)");
    prints(
        "[size] >= -9223372036854775808 AND [count] < 9223372036854775807",
        r#""size" >= (-9223372036854775807 - 1) AND "count" < 9223372036854775807"#,
        r#""size" >= (-9223372036854775807 - 1) AND "count" < 9223372036854775807"#,
        "`size` >= (-9223372036854775807 - 1) AND `count` < 9223372036854775807",
    );
    prints(
        "[weight] > 3 AND [weight] < -1.5e-3 AND [size] = 3.0",
        r#""weight" > 3e0 AND "weight" < -1.5e-3 AND "size" = 3"#,
        r#""weight" > DOUBLE PRECISION '3e0' AND "weight" < DOUBLE PRECISION '-1.5e-3' AND "size" = 3"#,
        "`weight` > 3e0 AND `weight` < -1.5e-3 AND `size` = 3",
    );
    prints(
        "[price] = 12.50 AND [price] IN ('1.10', ?)",
        r#""price" = '12.5' AND "price" IN ('1.1', ?1)"#,
        r#""price" = '12.5' AND "price" IN ('1.1', $1)"#,
        "`price` = '12.5' AND `price` IN ('1.1', ?)",
    );
    prints(
        "[seen] > '2026-01-30T13:00:00+01:00' AND [due] <= '2026-01-30' AND [opens] = '12:30'",
        r#""seen" > '2026-01-30T12:00:00.000000Z' AND "due" <= '2026-01-30' AND "opens" = '12:30:00.000000'"#,
        r#""seen" > TIMESTAMPTZ '2026-01-30T12:00:00.000000Z' AND "due" <= DATE '2026-01-30' AND "opens" = TIME '12:30:00.000000'"#,
        "`seen` > TIMESTAMP'2026-01-30 12:00:00.000000' AND `due` <= DATE'2026-01-30' AND `opens` = TIME'12:30:00.000000'",
    );
    prints(
        "[photo] = 'AAEC/w==' AND [key] = '67E55044-10B1-426F-9247-BB680E5FE0C8'",
        r#""photo" = X'000102ff' AND "key" = '67e55044-10b1-426f-9247-bb680e5fe0c8'"#,
        r#""photo" = BYTEA '\x000102ff' AND "key" = '67e55044-10b1-426f-9247-bb680e5fe0c8'"#,
        "`photo` = X'000102ff' AND `key` = '67e55044-10b1-426f-9247-bb680e5fe0c8'",
    );
    prints("[tags] IS NULL", r#""tags" IS NULL"#, r#""tags" IS NULL"#, "`tags` IS NULL");
    prints(
        "LENGTH([name]) > ? AND ABS([size]) < 5 AND ABS([weight]) < 5",
        r#"length("name") > ?1 AND ABS(NULLIF("size", (-9223372036854775807 - 1))) < 5 AND ABS("weight") < 5e0"#,
        r#"CAST(char_length("name") AS BIGINT) > $1 AND ABS(NULLIF("size", (-9223372036854775807 - 1))) < 5 AND ABS("weight") < DOUBLE PRECISION '5e0'"#,
        "CHAR_LENGTH(`name`) > ? AND ABS(NULLIF(`size`, (-9223372036854775807 - 1))) < 5 AND ABS(`weight`) < 5e0",
    );
    prints("LENGTH(?) > [size]", r#"?1 > "size""#, r#"$1 > "size""#, "? > `size`");
    prints(
        "? IS NULL OR [size] = ?",
        r#"(?1 = 1 OR "size" = ?2)"#,
        r#"($1 = TRUE OR "size" = $2)"#,
        "(? = TRUE OR `size` = ?)",
    );
    prints(
        "1 = 1 AND 'a' < 'b' AND 2 < 1.5",
        "1 = 1 AND 1 = 1 AND 1 = 0",
        "1 = 1 AND 1 = 1 AND 1 = 0",
        "1 = 1 AND 1 = 1 AND 1 = 0",
    );
    prints("? = 1", "?1 = 1", "$1 = TRUE", "? = TRUE");
    prints(
        "? BETWEEN [size] AND [count]",
        r#"?1 BETWEEN "size" AND "count""#,
        r#"$1 BETWEEN "size" AND "count""#,
        "? BETWEEN `size` AND `count`",
    );
    prints(
        "? IN ([name], [color])",
        r#"?1 IN ("name", "color")"#,
        r#"$1 IN ("name", "color")"#,
        "? IN (`name`, `color`)",
    );
    prints(
        "NOT (NOT ([deleted] AND [flag]) OR [size] = 1)",
        r#"NOT (NOT ("deleted" = 1 AND "flag" = 1) OR "size" = 1)"#,
        r#"NOT (NOT ("deleted" = TRUE AND "flag" = TRUE) OR "size" = 1)"#,
        "NOT (NOT (`deleted` = TRUE AND `flag` = TRUE) OR `size` = 1)",
    );
    prints(
        "([deleted] AND [flag]) AND [size] = 1 OR [size] = 2",
        r#"((("deleted" = 1 AND "flag" = 1) AND "size" = 1) OR "size" = 2)"#,
        r#"((("deleted" = TRUE AND "flag" = TRUE) AND "size" = 1) OR "size" = 2)"#,
        "(((`deleted` = TRUE AND `flag` = TRUE) AND `size` = 1) OR `size` = 2)",
    );
    prints(
        "[size] = [count] AND [id] <> [name] AND [version] = 1",
        r#""size" = "count" AND "id" <> "name" AND "version" = 1"#,
        r#""size" = "count" AND "id" <> "name" AND "version" = 1"#,
        "`size` = `count` AND `id` <> `name` AND `version` = 1",
    );
    prints(
        "COALESCE([size], ?, 3) NOT BETWEEN 1 AND LENGTH([name])",
        r#"COALESCE("size", ?1, 3) NOT BETWEEN 1 AND length("name")"#,
        r#"COALESCE("size", $1, 3) NOT BETWEEN 1 AND CAST(char_length("name") AS BIGINT)"#,
        "COALESCE(`size`, ?, 3) NOT BETWEEN 1 AND CHAR_LENGTH(`name`)",
    );
    prints("?", "?1 = 1", "$1 = TRUE", "? = TRUE");
}

/// The two other databases fold A to Z and nothing else by themselves.
#[test]
fn mysql_folds_case_letter_by_letter() {
    let mut expected = "`name`".to_owned();
    for letter in 'A'..='Z' {
        expected = format!("REPLACE({expected},'{letter}','{}')", letter.to_ascii_lowercase());
    }
    prints(
        "LOWER([name]) = LOWER(?)",
        r#"lower("name") = ?1"#,
        r#"lower(("name") COLLATE "C") = $1"#,
        &format!("{expected} = ?"),
    );
    let folded_once = render("LOWER(UPPER(LOWER([name]))) = ?", &widget(), &MySql, 1).expect("the clause is right");
    assert_eq!(folded_once.sql, format!("{expected} = ?"));
}

#[test]
fn parameters_are_numbered_from_where_the_caller_is() {
    let numbered =
        |dialect| render("[size] = ? OR [size] = ?", &widget(), dialect, 4).expect("the clause is right").sql;
    assert_eq!(numbered(&Sqlite), r#"("size" = ?4 OR "size" = ?5)"#);
    assert_eq!(numbered(&Postgres), r#"("size" = $4 OR "size" = $5)"#);
    assert_eq!(numbered(&MySql), "(`size` = ? OR `size` = ?)");
}

#[test]
fn a_wrong_clause_is_told_where_and_what_was_expected() {
    let table = [
        ("[onwer_id] = 1", 1, "there is no column [onwer_id]; did you mean [owner_id]?"),
        ("[SIZE] = 1", 1, "there is no column [SIZE]; did you mean [size]?"),
        ("[nothing_alike] = 1", 1, "there is no column [nothing_alike]"),
        ("[size] = 'abc'", 10, "[size] holds a whole number of 64 bits; 'abc' does not fit"),
        ("[size] > 2.5", 10, "[size] holds a whole number of 64 bits; 2.5 does not fit"),
        (
            "[size] = 9223372036854775808",
            10,
            "[size] holds a whole number of 64 bits; 9223372036854775808 does not fit",
        ),
        ("[size] = [name]", 10, "[size] holds a whole number of 64 bits, but [name] holds a text"),
        ("[name] = 5", 10, "[name] holds a text; 5 does not fit"),
        (
            "[created_at] > 'yesterday'",
            16,
            "[created_at] holds a time such as 2026-01-30T12:00:00Z; 'yesterday' does not fit",
        ),
        ("[tags] = 'x'", 1, "[tags] holds a JSON value; only IS NULL and IS NOT NULL can be asked of it"),
        ("[photo] < 'AA=='", 1, "[photo] holds bytes; only =, !=, IN and IS NULL can be asked of it"),
        (
            "[price] > 5",
            1,
            "[price] holds a decimal number as text; only =, !=, IN and IS NULL can be asked of it; keep cents in an i64 to order or sum",
        ),
        ("[deleted] > TRUE", 1, "[deleted] holds true or false; only =, !=, IN and IS NULL can be asked of it"),
        ("[size] LIKE 'a%'", 1, "[size] holds a whole number of 64 bits; LIKE needs a text"),
        (r#"[name] LIKE 'a\'"#, 13, "a pattern of LIKE must not end with a lone backslash"),
        ("[name] LIKE [color]", 13, "the pattern of LIKE must be a text or `?`, not a column"),
        ("[name] LIKE 5", 13, "the pattern of LIKE must be a text or `?`"),
        ("[size]", 1, "[size] holds a whole number of 64 bits, which alone is no condition"),
        ("[size] = NULL", 10, "nothing is equal to NULL; write IS NULL or IS NOT NULL"),
        ("[size] IS 5", 11, "expected NULL or NOT NULL, found `5`"),
        ("[size] = ? ESCAPE", 12, "expected AND, OR or the end, found `ESCAPE`"),
        ("[name] LIKE 'a' ESCAPE '!'", 17, "ESCAPE is not needed: a backslash escapes in every pattern"),
        ("owner_id = ?", 1, "`owner_id` means nothing here; a column is written [owner_id], a text 'owner_id'"),
        (r#""owner_id" = ?"#, 1, "a text is written 'so', a column [so]"),
        (r#"[owner_id] = "x""#, 14, "a text is written 'so', a column [so]"),
        ("[owner_id] = $1", 14, "a parameter is written `?`"),
        ("[owner_id] = ?1", 14, "a parameter is written `?`, without a number"),
        ("[owner_id] == ?", 12, "equality is written `=`"),
        ("[owner_id] = 'x", 14, "this quote is not closed; a quote inside a text is written ''"),
        ("[owner_id = 'x'", 1, "this bracket is not closed; a column is written [name]"),
        ("([size] = 1", 12, "expected AND, OR or `)`, found the end"),
        ("[size] = 1)", 11, "expected AND, OR or the end, found `)`"),
        ("[size] = 1; DROP TABLE widget", 11, "`;` is not allowed"),
        ("[size] = 1 -- x", 12, "comments are not allowed"),
        ("[size] = 1 /* x */", 12, "comments are not allowed"),
        ("[size] = 1 # x", 12, "comments are not allowed"),
        ("[size] = (SELECT 1)", 10, "expected a column such as [name], `?` or a value, found `(`"),
        ("SELECT 1", 1, "`SELECT` means nothing here; a column is written [SELECT], a text 'SELECT'"),
        ("[size] = 1 UNION SELECT 1", 12, "expected AND, OR or the end, found `UNION`"),
        (
            "SUBSTR([name], 1) = 'a'",
            1,
            "`SUBSTR` is not a function here; there are LOWER, UPPER, LENGTH, COALESCE and ABS",
        ),
        ("LOWER([size]) = 'a'", 7, "LOWER needs a text; [size] holds a whole number of 64 bits"),
        ("LOWER([name], [color]) = 'a'", 6, "LOWER takes one value"),
        ("COALESCE([name]) = 'a'", 9, "COALESCE needs two values or more"),
        ("LENGTH([name]) = 'a'", 18, "LENGTH gives a whole number of 64 bits; 'a' does not fit"),
        ("COALESCE([size], 'x') = 1", 18, "COALESCE gives a whole number of 64 bits; 'x' does not fit"),
        ("COALESCE([tags], ?) IS NULL", 10, "COALESCE can't take JSON; [tags] holds a JSON value"),
        ("ABS([price]) = 1", 5, "ABS needs a number; [price] holds a decimal number as text"),
        ("? = ?", 1, "`?` meets nothing that has a type; compare it with a column"),
        ("? IN (1, 2)", 1, "this condition needs a column such as [name]"),
        ("[size] IN 1", 11, "expected `(` and a list of values, found `1`"),
        ("[size] IN (1,)", 14, "expected a column such as [name], `?` or a value, found `)`"),
        ("[size] NOT = 1", 12, "expected IN, LIKE or BETWEEN, found `=`"),
        ("[size] BETWEEN 1 OR 2", 18, "expected AND and the upper end, found `OR`"),
        ("AND", 1, "expected a column such as [name], `?` or a value, found `AND`"),
        ("[size] = 1 AND", 15, "expected a column such as [name], `?` or a value, found the end"),
        ("[size] =", 9, "expected a column such as [name], `?` or a value, found the end"),
        ("NULL", 1, "NULL may stand behind IS and IS NOT only"),
        ("[größe] = 1", 1, "there is no column [größe]"),
        ("größe = 1", 3, "`ö` is not allowed here"),
        ("[size] = 12abc", 10, "`12abc` is no number"),
        ("[size] = 1.2.3", 10, "`1.2.3` is no number"),
        ("[size] = 1 2", 12, "expected AND, OR or the end, found `2`"),
        ("[size] = -", 10, "`-` is not allowed here"),
        ("[size] + 1 = 2", 8, "`+` is not allowed here"),
        ("[flag] = 1", 10, "[flag] holds true or false; 1 does not fit"),
        ("[due] = '2026-02-30'", 9, "[due] holds a day such as 2026-01-30; '2026-02-30' does not fit"),
        ("[key] = 'x'", 9, "[key] holds a UUID; 'x' does not fit"),
        ("LENGTH([name]) LIKE 'a'", 1, "LENGTH gives a whole number of 64 bits; LIKE needs a text"),
        ("COALESCE", 9, "expected `(` behind COALESCE, found the end"),
        ("'a' = 1", 7, "'a' is a text; 1 does not fit"),
    ];
    for (clause, character, message) in table {
        is_refused(clause, character, message);
    }
}

#[test]
fn a_clause_has_limits_that_no_honest_one_meets() {
    let nested = |depth: usize| format!("{}[flag]{}", "(".repeat(depth), ")".repeat(depth));
    assert!(render(&nested(64), &widget(), &Sqlite, 1).is_ok());
    is_refused(&nested(65), 66, "it is nested deeper than 64 levels");
    is_refused(&format!("{}[flag]", "NOT ".repeat(65)), 261, "it is nested deeper than 64 levels");
    let calls = |depth: usize| format!("{}[name]{} = 'a'", "LOWER(".repeat(depth), ")".repeat(depth));
    assert!(render(&calls(8), &widget(), &Sqlite, 1).is_ok());
    is_refused(&calls(9), 54, "functions are nested deeper than 8 levels");
    let list = |length: usize| format!("[id] IN ({})", vec!["?"; length].join(","));
    assert_eq!(render(&list(1000), &widget(), &Sqlite, 1).expect("the clause is right").wanted, 1000);
    is_refused(&list(1001), 2010, "there are more than 1000 parameters");
    is_refused(&format!("[size] IN ({})", vec!["1"; 1000].join(",")), 2010, "there are more than 1000 values");
    is_refused(&vec!["[flag]"; 501].join(" OR "), 5001, "there are more than 500 conditions");
    is_refused(&format!("[name] = '{}'", "x".repeat(16 * 1024)), 1, "it has 16395 bytes; 16384 are allowed");
    is_refused("[name] = 'a\0b'", 10, "a text can't hold the character NUL");
    is_refused("[name] = 'a' \0", 14, "the character \\u{0} is not allowed here");
    is_refused(&format!("[name] LIKE '{}'", "x".repeat(10_001)), 13, "a pattern of LIKE may have 10000 bytes");
    is_refused(&format!("[{}] = 1", "n".repeat(5000)), 1, &format!("there is no column [{}…]", "n".repeat(40)));
}

#[test]
fn a_rule_of_a_table_has_no_parameters() {
    let rule = |clause| render_check(clause, &widget(), &Postgres).map_err(|error| error.message().to_owned());
    assert_eq!(rule("[color] IN ('red', 'blue')"), Ok(r#""color" IN ('red', 'blue')"#.to_owned()));
    assert_eq!(
        rule("[color] = ?"),
        Err("a rule of a table can't have parameters; write the values in its text".to_owned())
    );
}

#[test]
fn parameters_become_what_they_are_compared_with() {
    let day = jiff::civil::date(2026, 1, 30);
    binds("[size] = ? AND [weight] < ?", [Value::Float(3.0), Value::Int(2)], Ok(&[Value::Int(3), Value::Float(2.0)]));
    binds("[price] IN (?, ?)", [text("01.50"), Value::Int(3)], Ok(&[text("1.5"), text("3")]));
    binds("[due] = ?", [text("2026-01-30")], Ok(&[Value::Date(day)]));
    binds("? BETWEEN [due] AND '2027-01-01'", [text("2026-01-30")], Ok(&[Value::Date(day)]));
    binds("[size] = ?", [Value::Null], Ok(&[Value::Null]));
    binds("[photo] = ?", [text("AAE=")], Ok(&[Value::Bytes(vec![0, 1])]));
    binds("[size] = ?", [text("abc")], Err("parameter 1 must be a whole number of 64 bits"));
    binds("[size] = ? OR [flag] = ?", [Value::Int(1), Value::Int(1)], Err("parameter 2 must be true or false"));
    binds("[name] = ?", [text("a\0")], Err("parameter 1 must not contain the character NUL"));
}

#[test]
fn parameters_are_counted() {
    binds("[size] = ?", [], Err("the where clause has 1 parameter, but 0 were given"));
    binds("[size] = ? OR [size] = ?", [Value::Int(1)], Err("the where clause has 2 parameters, but 1 was given"));
    binds("", [Value::Int(1)], Err("the where clause has 0 parameters, but 1 was given"));
    binds("COALESCE([size], ?) IN ()", [], Err("the where clause has 1 parameter, but 0 were given"));
    binds("COALESCE([size], ?) IN ()", [Value::Int(1)], Ok(&[]));
}

#[test]
fn what_is_the_same_for_every_row_is_worked_out_before_the_database_sees_it() {
    binds("LOWER([name]) = LOWER(?)", [text("ÄBC")], Ok(&[text("Äbc")]));
    binds("[name] = UPPER(?)", [text("straße")], Ok(&[text("STRAßE")]));
    binds("[size] > LENGTH(?)", [text("👩‍👩‍👧‍👦é")], Ok(&[Value::Int(8)]));
    binds("[size] = ABS(?)", [Value::Int(-5)], Ok(&[Value::Int(5)]));
    binds("[size] = ABS(?)", [Value::Int(i64::MIN)], Ok(&[Value::Null]));
    binds("[size] = COALESCE(?, ?, 3)", [Value::Null, Value::Null], Ok(&[Value::Int(3)]));
    binds("? IS NULL OR [size] = ?", [Value::Null, Value::Null], Ok(&[Value::Bool(true), Value::Null]));
    binds("? IS NOT NULL", [text("any")], Ok(&[Value::Bool(true)]));
    binds("? > 2 AND ? < 'b'", [Value::Int(3), Value::Null], Ok(&[Value::Bool(true), Value::Null]));
    binds("?", [Value::Bool(false)], Ok(&[Value::Bool(false)]));
}

#[test]
fn a_pattern_is_checked_before_it_is_sent() {
    let lone = "a pattern of LIKE must not end with a lone backslash";
    binds("[name] LIKE ?", [text(r"50\%")], Ok(&[text(r"50\%")]));
    binds("[name] LIKE ?", [text(r"a\\")], Ok(&[text(r"a\\")]));
    binds("[name] LIKE ?", [text(r"a\")], Err(lone));
    binds("[name] LIKE ?", [text(r"a\\\")], Err(lone));
    binds("[name] LIKE ?", [text(&"x".repeat(10_001))], Err("a pattern of LIKE may have 10000 bytes"));
    binds("[name] LIKE ?", [Value::Int(1)], Err("parameter 1 must be a text"));
    binds("[name] NOT LIKE LOWER(?)", [text("A%")], Ok(&[text("a%")]));
}

pub(super) fn order(text: &str) -> Result<[String; 3], String> {
    let order = parse_order(text, &widget()).map_err(|error| {
        assert_eq!(error.error_code(), "bad_order_by");
        error.message().to_owned()
    })?;
    Ok(DIALECTS.map(|dialect| {
        let mut sql = String::new();
        order.print(dialect, &mut sql);
        sql
    }))
}

/// Promise: C3
#[test]
fn an_order_ends_with_the_identifier_and_takes_null_for_the_smallest() {
    let table = [
        ("", [r#""id" ASC"#, r#""id" ASC"#, "`id` ASC"]),
        ("[id] desc", [r#""id" DESC"#, r#""id" DESC"#, "`id` DESC"]),
        (
            "[name], [count] DESC",
            [
                r#""name" ASC, "count" DESC, "id" ASC"#,
                r#""name" ASC, "count" DESC, "id" ASC"#,
                "`name` ASC, `count` DESC, `id` ASC",
            ],
        ),
        ("[size]", [r#""size" ASC, "id" ASC"#, r#""size" ASC NULLS FIRST, "id" ASC"#, "`size` ASC, `id` ASC"]),
        ("[size] DESC", [r#""size" DESC, "id" ASC"#, r#""size" DESC NULLS LAST, "id" ASC"#, "`size` DESC, `id` ASC"]),
        (
            "[size] nulls last",
            [
                r#""size" ASC NULLS LAST, "id" ASC"#,
                r#""size" ASC NULLS LAST, "id" ASC"#,
                "`size` IS NULL ASC, `size` ASC, `id` ASC",
            ],
        ),
        (
            "[deleted_at] DESC NULLS FIRST",
            [
                r#""deleted_at" DESC NULLS FIRST, "id" ASC"#,
                r#""deleted_at" DESC NULLS FIRST, "id" ASC"#,
                "`deleted_at` IS NULL DESC, `deleted_at` DESC, `id` ASC",
            ],
        ),
        ("[name] DESC NULLS FIRST", [r#""name" DESC, "id" ASC"#, r#""name" DESC, "id" ASC"#, "`name` DESC, `id` ASC"]),
    ];
    for (text, expected) in table {
        assert_eq!(order(text), Ok(expected.map(str::to_owned)), "{text}");
    }
}

#[test]
fn a_wrong_order_is_told_where_and_what_was_expected() {
    let table = [
        ("name", 1, "expected a column such as [name], found `name`"),
        ("[nmae]", 1, "there is no column [nmae]; did you mean [name]?"),
        ("[name],", 8, "expected a column such as [name], found the end"),
        ("[name] UP", 8, "expected ASC, DESC, NULLS, `,` or the end, found `UP`"),
        ("[name] ASC DESC", 12, "expected NULLS, `,` or the end, found `DESC`"),
        ("[name] NULLS", 13, "expected FIRST or LAST, found the end"),
        ("[name] NULLS LAST ASC", 19, "expected `,` or the end, found `ASC`"),
        ("[name]; DROP TABLE widget", 7, "`;` is not allowed"),
        ("[name], [name] DESC", 9, "[name] stands there twice"),
        ("[tags]", 1, "[tags] can't order rows: JSON has no order"),
        ("[photo]", 1, "[photo] can't order rows: bytes have no order"),
        (
            "[price]",
            1,
            "[price] can't order rows: a decimal number is kept as text and has no order; keep cents in an i64 to order or sum",
        ),
    ];
    for (text, character, message) in table {
        assert_eq!(order(text), Err(format!("the order is wrong at character {character}: {message}")), "{text}");
    }
}
