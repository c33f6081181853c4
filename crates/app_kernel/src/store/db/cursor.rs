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
            return Err(bad_cursor("the last row's texts are too long for a cursor; order by shorter columns, or use an offset"));
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
        let (format, fingerprint, values): (u64, u32, Vec<Json>) = serde_json::from_slice(&json).map_err(|_| broken())?;
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
pub(crate) fn keyset(order: &Order, values: &[Value], dialect: &dyn Dialect, first_param: usize) -> (String, Vec<Value>) {
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
