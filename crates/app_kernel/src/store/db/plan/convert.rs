//! From one type of column to another: which values can go there, and how. Each target gets exactly what saving would have written.

use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::value::ColumnType;

/// How a column of one type becomes one of another, over an expression for the old value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversion {
    /// The new value.
    pub(super) expression: String,
    /// True for the rows whose value can't go; none where all can.
    pub(super) unfit: Option<String>,
    /// Whether there is a way at all; without one only null can go.
    pub(super) is_known: bool,
    /// MySQL: whether its own way, by MODIFY, gives the same.
    pub(super) is_native: bool,
}

/// Up to here, each whole number is a float of its own.
const EXACT: &str = "9007199254740992";

/// The way from `from` to `to` for the value `x`.
pub(super) fn conversion(from: ColumnType, to: ColumnType, x: &str, dialect: &dyn Dialect) -> Conversion {
    use ColumnType::{Bool, Date, Decimal, Float, Int, Json, Text, Time, Timestamp, Uuid};
    let words = Words(dialect.backend());
    let all = |expression: String| Conversion { expression, unfit: None, is_known: true, is_native: true };
    let some = |unfit: String, expression: String| Conversion { unfit: Some(unfit), ..all(expression) };
    let by_expression = |conversion: Conversion| Conversion { is_native: false, ..conversion };
    match (from, to) {
        _ if from == to => all(x.to_owned()),
        (Uuid | Decimal, Text) => all(x.to_owned()),
        (Text, Uuid) => some(words.is_no_uuid(x), x.to_owned()),
        (Text, Decimal) => some(words.is_no_decimal(x), x.to_owned()),
        (Int, Text | Decimal) => all(words.cast(x, "TEXT", "TEXT", "CHAR")),
        (Text | Decimal, Int) => some(words.is_no_integer(x), words.cast(x, "INTEGER", "BIGINT", "SIGNED")),
        (Bool, Int) => all(words.of(x, &format!("CAST(CAST({x} AS INTEGER) AS BIGINT)"), x)),
        (Int, Bool) => some(format!("{x} NOT IN (0, 1)"), words.of(x, &format!("({x} <> 0)"), x)),
        (Bool, Text) => by_expression(all(format!("CASE WHEN {x} THEN 'true' WHEN NOT {x} THEN 'false' END"))),
        (Text, Bool) => by_expression(some(
            format!("{x} NOT IN ('true', 'false')"),
            match dialect.backend() {
                Backend::Sqlite => format!("CASE {x} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"),
                Backend::Postgres | Backend::MySql => {
                    format!("CASE {x} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END")
                }
            },
        )),
        (Int, Float) => some(
            format!("{x} NOT BETWEEN -{EXACT} AND {EXACT}"),
            words.of(&format!("CAST({x} AS REAL)"), &format!("CAST({x} AS DOUBLE PRECISION)"), &format!("({x} + 0e0)")),
        ),
        (Float, Int) => {
            let whole = words.of(&format!("CAST({x} AS INTEGER)"), &format!("floor({x})"), &format!("FLOOR({x})"));
            some(
                format!("({x} NOT BETWEEN -{EXACT} AND {EXACT} OR {x} <> {whole})"),
                words.cast(x, "INTEGER", "BIGINT", "SIGNED"),
            )
        }
        (Timestamp, Text) => by_expression(all(words.of(
            x,
            &format!("to_char({x} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"),
            &format!("DATE_FORMAT({x}, '%Y-%m-%dT%H:%i:%s.%fZ')"),
        ))),
        (Date, Text) => all(words.of(x, &format!("to_char({x}, 'YYYY-MM-DD')"), &format!("CAST({x} AS CHAR)"))),
        (Time, Text) => all(words.of(x, &format!("to_char({x}, 'HH24:MI:SS.US')"), &format!("CAST({x} AS CHAR)"))),
        (Date, Timestamp) => all(words.of(
            &format!("{x} || 'T00:00:00.000000Z'"),
            &format!("(CAST({x} AS TIMESTAMP) AT TIME ZONE 'UTC')"),
            &format!("CAST({x} AS DATETIME(6))"),
        )),
        (Json, Text) => all(words.of(x, &format!("CAST({x} AS TEXT)"), x)),
        _ => Conversion {
            expression: "NULL".to_owned(),
            unfit: Some(format!("{x} IS NOT NULL")),
            is_known: false,
            is_native: true,
        },
    }
}

struct Words(Backend);

impl Words {
    fn of(&self, sqlite: &str, postgres: &str, mysql: &str) -> String {
        match self.0 {
            Backend::Sqlite => sqlite,
            Backend::Postgres => postgres,
            Backend::MySql => mysql,
        }
        .to_owned()
    }

    fn cast(&self, x: &str, sqlite: &str, postgres: &str, mysql: &str) -> String {
        format!("CAST({x} AS {})", self.of(sqlite, postgres, mysql))
    }

    /// True where a text does not match: a regular expression, or for SQLite, which has none, a condition.
    fn no_match(&self, x: &str, pattern: &str, sqlite: &str) -> String {
        match self.0 {
            Backend::Sqlite => format!("NOT ({sqlite})"),
            Backend::Postgres => format!("{x} !~ '{pattern}'"),
            Backend::MySql => format!("{x} NOT REGEXP '{pattern}'"),
        }
    }

    fn is_no_uuid(&self, x: &str) -> String {
        let glob = [8, 4, 4, 4, 12].map(|digits| "[0-9a-f]".repeat(digits)).join("-");
        let pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
        self.no_match(x, pattern, &format!("{x} GLOB '{glob}'"))
    }

    /// As it is written without any freedom: no plus, no needless zero. Of 19 digits, the first half of all.
    fn is_no_integer(&self, x: &str) -> String {
        let digits = format!("ltrim({x}, '-')");
        let sqlite = format!(
            "{x} NOT LIKE '--%' AND {digits} <> '' AND {digits} NOT GLOB '*[^0-9]*' AND length({x}) - length({digits}) <= 1 \
             AND ({x} = '0' OR {digits} NOT LIKE '0%') AND length({digits}) <= 19"
        );
        let form = self.no_match(x, "^(0|-?[1-9][0-9]{0,18})$", &sqlite);
        let length = self.of("length", "char_length", "CHAR_LENGTH");
        format!(
            "({form} OR ({length}({x}) = 19 AND {x} NOT LIKE '-%' AND {x} > '{}') \
             OR ({length}({x}) = 20 AND {x} > '{}'))",
            i64::MAX,
            i64::MIN
        )
    }

    fn is_no_decimal(&self, x: &str) -> String {
        let digits = format!("ltrim({x}, '-')");
        let sqlite = format!(
            "{x} NOT LIKE '--%' AND length({x}) - length({digits}) <= 1 AND {digits} GLOB '[0-9]*' AND {digits} NOT GLOB '*[^0-9.]*' \
             AND {digits} NOT GLOB '*.*.*' AND {digits} NOT GLOB '0[0-9]*' AND ({digits} NOT LIKE '%.%' OR {digits} GLOB '*.*[1-9]') \
             AND {x} <> '-0'"
        );
        let form = self.no_match(x, "^(0|-?[1-9][0-9]*|-?(0|[1-9][0-9]*)[.][0-9]*[1-9])$", &sqlite);
        let length = self.of("length", "char_length", "CHAR_LENGTH");
        format!("({form} OR {length}(REPLACE(REPLACE({x}, '-', ''), '.', '')) > 28)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::dialect::{MySql, Postgres, Sqlite};
    use super::*;

    #[test]
    fn the_ways_are_the_same_on_all_databases() {
        let mut ways = Vec::new();
        for (from, to) in ColumnType::ALL
            .into_iter()
            .flat_map(|from| ColumnType::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from != to)
        {
            let [a, b, c] =
                [&Sqlite as &dyn Dialect, &Postgres, &MySql].map(|dialect| conversion(from, to, "x", dialect));
            assert_eq!((a.is_known, a.unfit.is_some()), (b.is_known, b.unfit.is_some()), "{from:?} to {to:?}");
            assert_eq!((a.is_known, a.unfit.is_some()), (c.is_known, c.unfit.is_some()), "{from:?} to {to:?}");
            if a.is_known {
                ways.push(format!("{from:?} → {to:?}{}", if a.unfit.is_some() { " where it fits" } else { "" }));
            }
        }
        let wanted = [
            "Text → Bool where it fits",
            "Text → Int where it fits",
            "Text → Decimal where it fits",
            "Text → Uuid where it fits",
            "Bool → Text",
            "Bool → Int",
            "Int → Text",
            "Int → Bool where it fits",
            "Int → Float where it fits",
            "Int → Decimal",
            "Float → Int where it fits",
            "Decimal → Text",
            "Decimal → Int where it fits",
            "Timestamp → Text",
            "Date → Text",
            "Date → Timestamp",
            "Time → Text",
            "Uuid → Text",
            "Json → Text",
        ];
        assert_eq!(ways, wanted);
    }
}
