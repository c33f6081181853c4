//! Pages by key: a cursor holds the place of the last row seen, and the next page is what lies strictly after it. Rows that come or go
//! meanwhile shift nothing. A cursor is good for the order it was made with and no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use super::coerce::coerce;
use super::dialect::Dialect;
use super::filter::{Order, OrderTerm};
use super::value::{ColumnType, Value, from_json};
use crate::base::error::{Error, Result};

/// The first element of each cursor; another one when its form changes.
const FORMAT: u64 = 1;
/// The longest cursor, in bytes: it travels in URLs.
const LONGEST: usize = 8 * 1024;

/// Writes and reads the text of cursors: base64, safe in URLs, of a small JSON array.
#[derive(Debug)]
pub(crate) struct Cursor;

impl Cursor {
    /// The cursor of a row, from the values of the order's terms in that row.
    ///
    /// # Errors
    /// `bad_cursor`, where a text in the row is too long to travel in a URL.
    pub(crate) fn encode(order: &Order, values: &[Value]) -> Result<String> {
        debug_assert_eq!(order.terms().len(), values.len());
        let values: Vec<Json> = values.iter().map(encoded).collect();
        let text = URL_SAFE_NO_PAD.encode(serde_json::json!([FORMAT, order.fingerprint(), values]).to_string());
        if text.len() > LONGEST {
            return Err(bad_cursor(
                "the last row's texts are too long for a cursor; order by shorter columns, or use an offset",
            ));
        }
        Ok(text)
    }

    /// The values in a cursor, one for each of the order's terms.
    ///
    /// # Errors
    /// `bad_cursor`, where it is none, or one of another order.
    pub(crate) fn decode(text: &str, order: &Order) -> Result<Vec<Value>> {
        let broken = || bad_cursor("the cursor can't be read; take the one that came with the page before, unchanged");
        if text.len() > LONGEST {
            return Err(broken());
        }
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
        let (format, fingerprint, values): (u64, u32, Vec<Json>) =
            serde_json::from_slice(&json).map_err(|_| broken())?;
        if format != FORMAT {
            return Err(broken());
        }
        if fingerprint != order.fingerprint() || values.len() != order.terms().len() {
            return Err(bad_cursor("the cursor belongs to another order; begin again without one"));
        }
        order.terms().iter().zip(values).map(|(term, json)| decoded(term, json).ok_or_else(broken)).collect()
    }
}

fn bad_cursor(message: &'static str) -> Error {
    Error::invalid(message).code("bad_cursor")
}

fn encoded(value: &Value) -> Json {
    match value {
        // As text: the reader of JSON numbers may miss the last bit.
        Value::Float(x) => format!("{x:e}").into(),
        value => serde_json::to_value(value).unwrap_or_default(),
    }
}

fn decoded(term: &OrderTerm, json: Json) -> Option<Value> {
    let value = match (term.ty, json) {
        (_, Json::Null) => return term.nullable.then_some(Value::Null),
        (ColumnType::Float, Json::String(text)) => Value::Float(text.parse().ok()?),
        (_, json) => from_json(json),
    };
    coerce(value, term.ty).ok()
}

/// The condition that a row lies strictly after `values` in the order, and its parameters. Right for descending terms and for nulls at
/// either end; can stand on a side of AND.
pub(crate) fn keyset(
    order: &Order,
    values: &[Value],
    dialect: &dyn Dialect,
    first_param: usize,
) -> (String, Vec<Value>) {
    debug_assert_eq!(order.terms().len(), values.len());
    let mut keyset = Keyset { dialect, first_param, sql: String::new(), params: Vec::new() };
    let places: Vec<Place<'_>> = order.terms().iter().zip(values).map(|(term, value)| Place { term, value }).collect();
    if places.len() > 1 && places[0].is_a_bound() {
        // The bound on the first column alone is what lets a database start in the middle of an index.
        let comparison = if places[0].term.descending { " <= " } else { " >= " };
        keyset.compare(&places[0], comparison);
        keyset.sql.push_str(" AND ");
    }
    keyset.after(&places);
    (keyset.sql, keyset.params)
}

/// A term of the order, and its value in the last row seen.
struct Place<'a> {
    term: &'a OrderTerm,
    value: &'a Value,
}

impl Place<'_> {
    /// Whether all rows after this one can be found by comparing the column with the value.
    fn is_a_bound(&self) -> bool {
        !self.value.is_null() && !self.has_nulls_after()
    }

    fn has_nulls_after(&self) -> bool {
        self.term.nullable && !self.term.nulls_first && !self.value.is_null()
    }

    /// Whether no other value of this column can lie after this one.
    fn is_last(&self) -> bool {
        self.value.is_null() && !self.term.nulls_first
    }
}

struct Keyset<'a> {
    dialect: &'a dyn Dialect,
    first_param: usize,
    sql: String,
    params: Vec<Value>,
}

impl Keyset<'_> {
    /// After in the first of the places; or equal there, and after in the others.
    fn after(&mut self, places: &[Place<'_>]) {
        match places {
            [] => self.sql.push_str("1 = 0"),
            [last] if last.is_last() => self.sql.push_str("1 = 0"),
            [last] => self.strictly_after(last),
            [first, rest @ ..] if first.is_last() => {
                self.equal(first);
                self.sql.push_str(" AND ");
                self.after(rest);
            }
            [first, rest @ ..] => {
                self.sql.push('(');
                self.strictly_after(first);
                self.sql.push_str(" OR (");
                self.equal(first);
                self.sql.push_str(" AND ");
                self.after(rest);
                self.sql.push_str("))");
            }
        }
    }

    fn strictly_after(&mut self, place: &Place<'_>) {
        if place.value.is_null() {
            self.column(place);
            return self.sql.push_str(" IS NOT NULL");
        }
        let comparison = if place.term.descending { " < " } else { " > " };
        if !place.has_nulls_after() {
            return self.compare(place, comparison);
        }
        self.sql.push('(');
        self.compare(place, comparison);
        self.sql.push_str(" OR ");
        self.column(place);
        self.sql.push_str(" IS NULL)");
    }

    fn equal(&mut self, place: &Place<'_>) {
        if place.value.is_null() {
            self.column(place);
            self.sql.push_str(" IS NULL");
        } else {
            self.compare(place, " = ");
        }
    }

    fn compare(&mut self, place: &Place<'_>, comparison: &str) {
        self.column(place);
        self.sql.push_str(comparison);
        self.dialect.placeholder(self.first_param + self.params.len(), &mut self.sql);
        self.params.push(place.value.clone());
    }

    fn column(&mut self, place: &Place<'_>) {
        self.dialect.quote(&place.term.column, &mut self.sql);
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{MySql, Postgres, Sqlite};
    use super::super::entity::{ColumnDef, EntityDef};
    use super::super::filter::parse_order;
    use super::*;

    fn widget() -> EntityDef {
        let column = |name: &'static str, ty, nullable| ColumnDef { nullable, ..ColumnDef::new(name, ty) };
        let mut entity = EntityDef::new("widget");
        entity.columns = vec![
            column("name", ColumnType::Text, false),
            column("size", ColumnType::Int, true),
            column("weight", ColumnType::Float, true),
            column("seen", ColumnType::Timestamp, false),
            column("due", ColumnType::Date, false),
            column("opens", ColumnType::Time, false),
            column("flag", ColumnType::Bool, false),
        ];
        entity
    }

    fn order(text: &str) -> Order {
        parse_order(text, &widget()).expect("the order is right")
    }

    #[track_caller]
    fn after(order_by: &str, values: &[Value], expected: &str) {
        let (sql, params) = keyset(&order(order_by), values, &Sqlite, 1);
        assert_eq!(sql, expected, "{order_by}");
        assert_eq!(params.len(), sql.matches('?').count());
    }

    fn id() -> Value {
        "x".into()
    }

    #[test]
    fn the_condition_of_a_page_starts_in_the_middle_of_an_index() {
        after("", &[id()], r#""id" > ?1"#);
        after("[id] DESC", &[id()], r#""id" < ?1"#);
        let (by_name, name) = ("[name] DESC", [Value::from("gear"), id()]);
        after(by_name, &name, r#""name" <= ?1 AND ("name" < ?2 OR ("name" = ?3 AND "id" > ?4))"#);
        let (sql, params) = keyset(&order(by_name), &name, &Postgres, 3);
        assert_eq!(sql, r#""name" <= $3 AND ("name" < $4 OR ("name" = $5 AND "id" > $6))"#);
        assert_eq!(params, ["gear".into(), "gear".into(), "gear".into(), id()]);
        let (sql, _) = keyset(&order(by_name), &name, &MySql, 3);
        assert_eq!(sql, "`name` <= ? AND (`name` < ? OR (`name` = ? AND `id` > ?))");
    }

    #[test]
    fn nulls_lie_where_the_order_puts_them() {
        let (five, null) = ([Value::Int(5), id()], [Value::Null, id()]);
        after("[size]", &five, r#""size" >= ?1 AND ("size" > ?2 OR ("size" = ?3 AND "id" > ?4))"#);
        after("[size]", &null, r#"("size" IS NOT NULL OR ("size" IS NULL AND "id" > ?1))"#);
        after("[size] NULLS LAST", &five, r#"(("size" > ?1 OR "size" IS NULL) OR ("size" = ?2 AND "id" > ?3))"#);
        after("[size] NULLS LAST", &null, r#""size" IS NULL AND "id" > ?1"#);
        after("[size] DESC", &five, r#"(("size" < ?1 OR "size" IS NULL) OR ("size" = ?2 AND "id" > ?3))"#);
        after("[size] DESC NULLS FIRST", &five, r#""size" <= ?1 AND ("size" < ?2 OR ("size" = ?3 AND "id" > ?4))"#);
    }

    fn one_of_each() -> (Order, Vec<Value>) {
        let order = order("[name], [size], [weight] DESC, [seen], [due], [opens], [flag]");
        let values = vec![
            "\"ß\u{10FFFF}\\".into(),
            Value::Int(i64::MIN),
            Value::Float(5e-324),
            Value::Timestamp("1969-12-31T23:59:59.999999Z".parse().expect("a time")),
            Value::Date(jiff::civil::date(1, 1, 1)),
            Value::Time(jiff::civil::time(23, 59, 59, 999_999_000)),
            Value::Bool(true),
            id(),
        ];
        (order, values)
    }

    #[test]
    fn a_cursor_brings_back_each_value_to_the_last_bit() {
        let (order, values) = one_of_each();
        let text = Cursor::encode(&order, &values).expect("it is short");
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{text}");
        assert_eq!(Cursor::decode(&text, &order).expect("it is ours"), values);
        for float in [0.1, 1.0 / 3.0, 1e308, -2.5, 1.797_693_134_862_315_7e308] {
            let order = self::order("[weight]");
            let text = Cursor::encode(&order, &[Value::Float(float), id()]).expect("it is short");
            assert_eq!(Cursor::decode(&text, &order).expect("it is ours"), [Value::Float(float), id()]);
        }
    }

    #[track_caller]
    fn is_refused(text: &str, order_by: &str, message: &str) {
        let error = Cursor::decode(text, &order(order_by)).expect_err(text);
        assert_eq!((error.error_code(), error.http_status(), error.message()), ("bad_cursor", 400, message));
    }

    const UNREADABLE: &str = "the cursor can't be read; take the one that came with the page before, unchanged";

    #[test]
    fn a_cursor_of_another_order_is_refused() {
        let text = Cursor::encode(&order("[size]"), &[Value::Int(1), id()]).expect("it is short");
        for other in ["", "[size] DESC", "[size] NULLS LAST", "[weight]", "[size], [name]"] {
            is_refused(&text, other, "the cursor belongs to another order; begin again without one");
        }
        let mut other_table = widget();
        other_table.table = "gadget".into();
        let order = parse_order("[size]", &other_table).expect("the order is right");
        assert!(Cursor::decode(&text, &order).is_err());
    }

    #[test]
    fn a_cursor_holds_nothing_but_values_of_its_order() {
        let by_name = order("[name]");
        let made = |format: u64, values: Json| {
            URL_SAFE_NO_PAD.encode(serde_json::json!([format, by_name.fingerprint(), values]).to_string())
        };
        assert!(Cursor::decode(&made(1, serde_json::json!(["a", "x"])), &by_name).is_ok());
        let wrong = [
            made(2, serde_json::json!(["a", "x"])),
            made(1, serde_json::json!([null, "x"])),
            made(1, serde_json::json!([1, "x"])),
            made(1, serde_json::json!(["a\0", "x"])),
            made(1, serde_json::json!([["a"], "x"])),
            made(1, serde_json::json!("a")),
            URL_SAFE_NO_PAD.encode("[".repeat(4000)),
            "A".repeat(LONGEST + 1),
            "not base64!".to_owned(),
            String::new(),
        ];
        for text in wrong {
            is_refused(&text, "[name]", UNREADABLE);
        }
    }

    #[test]
    fn a_row_with_too_long_a_text_gives_no_cursor() {
        let error = Cursor::encode(&order("[name]"), &["x".repeat(10_000).into(), id()]).expect_err("it is long");
        assert_eq!(error.error_code(), "bad_cursor");
    }

    /// Promise: R-29
    #[test]
    fn no_change_of_a_cursor_is_a_panic_or_a_wrong_type() {
        let (order, values) = one_of_each();
        let text = Cursor::encode(&order, &values).expect("it is short").into_bytes();
        for at in 0..text.len() {
            for change in [1, 2, 32, 77] {
                let mut changed = text.clone();
                changed[at] = changed[at].wrapping_add(change) & 0x7F;
                let changed = String::from_utf8(changed).expect("it is ASCII");
                if let Ok(values) = Cursor::decode(&changed, &order) {
                    for (term, value) in order.terms().iter().zip(values) {
                        assert_eq!(coerce(value.clone(), term.ty), Ok(value), "{changed}");
                    }
                }
            }
        }
    }
}
