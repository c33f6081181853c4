//! From a row as the history kept it to what a stream's handle reads rows as.

use serde_json::{Map, Value as Json};

use crate::store::db::api::shape::Shape;
use crate::store::db::coerce::coerce;
use crate::store::db::driver::{RowRef, kept};
use crate::store::db::entity::ColumnDef;
use crate::store::db::history::REDACTED_TEXT;
use crate::store::db::table::Table;
use crate::store::db::value::{ColumnType, Value, from_json};

/// Reads a version's row. None where it does not fit the columns or the struct of today, which is told to the log.
pub(super) fn read<S: Shape>(table: &Table, row: &Map<String, Json>) -> Option<S::Item> {
    let values: Option<Vec<Value>> = table
        .columns
        .iter()
        .zip(&table.types)
        .map(|(name, ty)| value(table.def.column(name), *ty, row.get(name.as_ref())))
        .collect();
    let read =
        |values: Vec<Value>| S::read(table, &RowRef::Kept(kept::RowRef { columns: &table.columns, values: &values }));
    let name = &table.def.table;
    match values.map(read) {
        Some(Ok(row)) => Some(row),
        Some(Err(error)) => {
            tracing::debug!(%error, "a version of `{name}` does not fit its struct any more and is told without its row");
            None
        }
        None => {
            tracing::debug!("a version of `{name}` does not fit its columns any more and is told without its row");
            None
        }
    }
}

/// What a column holds, in the form that drivers give. None where it can't be had from this.
fn value(column: Option<&ColumnDef>, ty: ColumnType, kept: Option<&Json>) -> Option<Value> {
    let Some(kept) = kept else {
        // It came later.
        return Some(column.and_then(|column| column.default.clone()).unwrap_or(Value::Null));
    };
    if column.is_some_and(|column| column.secret) {
        let is_told = ty == ColumnType::Text && !kept.is_null();
        return Some(if is_told { Value::from(REDACTED_TEXT) } else { Value::Null });
    }
    match (ty, kept) {
        (_, Json::Null) => Some(Value::Null),
        (ColumnType::Json, kept) => Some(Value::Text(kept.to_string())),
        (ty, kept) => coerce(from_json(kept.clone()), ty).ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::db::api::shape::{Typed, Untyped};
    use crate::store::db::dialect::Sqlite;
    use crate::store::db::entity::Entity;
    use crate::store::db::row::Saved;

    #[derive(Debug, PartialEq, Entity)]
    struct Parcel {
        number: String,
        weight: f64,
        is_paid: bool,
        stops: Vec<String>,
        price: rust_decimal::Decimal,
        picture: Vec<u8>,
        day: Option<jiff::civil::Date>,
        #[entity(default = 7)]
        shelf: i64,
        #[entity(secret)]
        pin: Option<i64>,
        #[entity(secret)]
        word: Option<String>,
    }

    fn table() -> Table {
        Table::new(Parcel::definition().clone(), &Sqlite, true)
    }

    fn kept() -> Map<String, Json> {
        let row = json!({
            "id": "p1", "number": "7", "weight": 2, "is_paid": true, "stops": ["a", "b"], "price": "1.5", "picture": "AAE=",
            "day": "2026-01-30", "pin": "[redacted]", "word": "[redacted]", "created_at": "2026-01-30T12:00:00.000001Z",
            "updated_at": "2026-01-30T12:00:00Z", "deleted_at": null, "version": 2, "gone": 1
        });
        row.as_object().expect("an object").clone()
    }

    #[test]
    fn a_kept_row_is_what_a_read_would_give_but_for_its_secrets() {
        let Saved { id, entity, created_at, deleted_at, version, .. } =
            read::<Typed<Parcel>>(&table(), &kept()).expect("it fits");
        let wanted = Parcel {
            number: "7".to_owned(),
            weight: 2.0,
            is_paid: true,
            stops: vec!["a".to_owned(), "b".to_owned()],
            price: "1.5".parse().expect("a number"),
            picture: vec![0, 1],
            day: Some("2026-01-30".parse().expect("a day")),
            shelf: 7,
            pin: None,
            word: Some(REDACTED_TEXT.to_owned()),
        };
        assert_eq!((id.as_str(), entity, deleted_at, version), ("p1", wanted, None, 2));
        assert_eq!(created_at, "2026-01-30T12:00:00.000001Z".parse().expect("a time"));
    }

    #[test]
    fn the_same_without_a_struct() {
        let row = read::<Untyped>(&table(), &kept()).expect("it fits");
        assert_eq!(row["stops"], Value::Json(Box::new(json!(["a", "b"]))));
        assert_eq!(row.get("gone"), None);
        assert_eq!((&row["word"], &row["pin"]), (&Value::from(REDACTED_TEXT), &Value::Null));
    }

    #[test]
    fn what_does_not_fit_any_more_is_no_row() {
        let mut row = kept();
        row.insert("is_paid".to_owned(), json!("perhaps"));
        assert_eq!(read::<Typed<Parcel>>(&table(), &row), None);
        let mut row = kept();
        row.remove("number");
        assert_eq!(read::<Typed<Parcel>>(&table(), &row), None, "a required column that came later has no value");
    }
}
