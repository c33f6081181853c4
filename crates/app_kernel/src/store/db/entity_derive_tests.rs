//! `#[derive(Entity)]` as services use it: what the definition says, what is stored, what is refused.
//! That rows come back as they went is shown on the databases themselves.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::entity::{ColumnDef, Entity, EntityDef, EntityValue, ForeignKey, IndexDef};
use super::value::{ColumnType, Value};
use crate::base::secret::Secret;

#[derive(Debug, Clone, PartialEq, Entity)]
enum Status {
    Active,
    OnHold,
    #[entity(rename = "finished")]
    Done,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Settings {
    dark: bool,
}

type Amount = i64;

/// Something that somebody works on.
#[derive(Debug, Clone, Entity)]
#[entity(table = "projects", renamed_from = "plans", history = false)]
#[entity(index(owner_id, created_at), unique(owner_id, slug))]
struct Project {
    /// Its name.
    name: String,
    #[entity(rename = "slug", renamed_from = "short_name")]
    short: Option<String>,
    #[entity(default = "on_hold", index, check = "[status] IN ('active', 'on_hold', 'finished')")]
    status: Status,
    last_status: Option<Status>,
    #[entity(foreign_key = "users.id")]
    owner_id: String,
    #[entity(foreign_key = "projects", unique)]
    parent: Option<Uuid>,
    r#type: bool,
    #[entity(default = 2 * 60)]
    pause_secs: u32,
    #[entity(default = -1)]
    balance: Amount,
    #[entity(default = 9_223_372_036_854_775_807)]
    most: u64,
    #[entity(default = 1)]
    weight: f64,
    #[entity(default = -0.5 * 3.0)]
    slope: Option<f32>,
    #[entity(default = "0.50")]
    price: Decimal,
    #[entity(default = "2026-01-30")]
    day: Date,
    #[entity(default = "12:30:00.5")]
    hour: Time,
    #[entity(default = "2026-01-30T12:00:00Z")]
    due: Timestamp,
    key: Secret,
    old_key: Option<Secret>,
    #[entity(secret)]
    note: String,
    picture: Vec<u8>,
    thumbnail: Option<Vec<u8>>,
    #[entity(default = "[]")]
    tags: Vec<String>,
    counts: Option<HashMap<String, u64>>,
    place: (f64, f64),
    anything: serde_json::Value,
    #[entity(json, default = "{}")]
    settings: Settings,
    #[entity(json, secret)]
    old_settings: std::option::Option<Settings>,
}

fn project() -> Project {
    Project {
        name: "Gear".into(),
        short: None,
        status: Status::Done,
        last_status: Some(Status::OnHold),
        owner_id: "u1".into(),
        parent: Some(Uuid::nil()),
        r#type: true,
        pause_secs: 7,
        balance: -5,
        most: 3,
        weight: 0.1,
        slope: Some(0.25),
        price: Decimal::new(1_250, 3),
        day: Date::constant(2026, 1, 30),
        hour: Time::constant(12, 30, 0, 0),
        due: Timestamp::UNIX_EPOCH,
        key: Secret::new("hunter2"),
        old_key: None,
        note: String::new(),
        picture: vec![1, 2],
        thumbnail: None,
        tags: vec!["a".into()],
        counts: None,
        place: (0.5, 1.0),
        anything: json!({ "n": 1 }),
        settings: Settings { dark: true },
        old_settings: None,
    }
}

fn column(name: &'static str, ty: ColumnType) -> ColumnDef {
    ColumnDef::new(name, ty)
}

fn nullable(name: &'static str, ty: ColumnType) -> ColumnDef {
    ColumnDef { nullable: true, ..column(name, ty) }
}

fn with_default(name: &'static str, ty: ColumnType, default: impl Into<Value>) -> ColumnDef {
    ColumnDef { default: Some(default.into()), ..column(name, ty) }
}

fn id_of(table: &'static str) -> Option<ForeignKey> {
    Some(ForeignKey { table: table.into(), column: "id".into() })
}

/// Promise: C1, C2
#[test]
fn a_definition_says_what_the_struct_says() {
    let expected = EntityDef {
        table: "projects".into(),
        columns: vec![
            column("name", ColumnType::Text),
            ColumnDef { renamed_from: Some("short_name".into()), ..nullable("slug", ColumnType::Text) },
            ColumnDef {
                index: true,
                check: Some("[status] IN ('active', 'on_hold', 'finished')".into()),
                ..with_default("status", ColumnType::Text, "on_hold")
            },
            nullable("last_status", ColumnType::Text),
            ColumnDef { foreign_key: id_of("users"), ..column("owner_id", ColumnType::Text) },
            ColumnDef { foreign_key: id_of("projects"), unique: true, ..nullable("parent", ColumnType::Uuid) },
            column("type", ColumnType::Bool),
            with_default("pause_secs", ColumnType::Int, 120),
            with_default("balance", ColumnType::Int, -1),
            with_default("most", ColumnType::Int, i64::MAX),
            with_default("weight", ColumnType::Float, 1.0),
            ColumnDef { default: Some(Value::Float(-1.5)), ..nullable("slope", ColumnType::Float) },
            with_default("price", ColumnType::Decimal, "0.5"),
            with_default("day", ColumnType::Date, Date::constant(2026, 1, 30)),
            with_default("hour", ColumnType::Time, Time::constant(12, 30, 0, 500_000_000)),
            with_default("due", ColumnType::Timestamp, Timestamp::constant(1_769_774_400, 0)),
            ColumnDef { secret: true, ..column("key", ColumnType::Text) },
            ColumnDef { secret: true, ..nullable("old_key", ColumnType::Text) },
            ColumnDef { secret: true, ..column("note", ColumnType::Text) },
            column("picture", ColumnType::Bytes),
            nullable("thumbnail", ColumnType::Bytes),
            with_default("tags", ColumnType::Json, json!([])),
            nullable("counts", ColumnType::Json),
            column("place", ColumnType::Json),
            column("anything", ColumnType::Json),
            with_default("settings", ColumnType::Json, json!({})),
            ColumnDef { secret: true, ..nullable("old_settings", ColumnType::Json) },
        ],
        indexes: vec![
            IndexDef { columns: vec!["owner_id".into(), "created_at".into()], unique: false },
            IndexDef { columns: vec!["owner_id".into(), "slug".into()], unique: true },
        ],
        renamed_from: Some("plans".into()),
        history: false,
        dynamic: false,
    };
    for (found, expected) in Project::definition().columns.iter().zip(&expected.columns) {
        assert_eq!(found, expected);
    }
    assert_eq!(*Project::definition(), expected);
}

#[test]
fn the_values_stand_in_the_order_of_the_columns() {
    let values = project().to_values().expect("all of it can be stored");
    let expected: Vec<Value> = vec![
        "Gear".into(),
        Value::Null,
        "finished".into(),
        "on_hold".into(),
        "u1".into(),
        "00000000-0000-0000-0000-000000000000".into(),
        true.into(),
        7.into(),
        (-5).into(),
        3.into(),
        0.1.into(),
        0.25.into(),
        "1.25".into(),
        Date::constant(2026, 1, 30).into(),
        Time::constant(12, 30, 0, 0).into(),
        Timestamp::UNIX_EPOCH.into(),
        "hunter2".into(),
        Value::Null,
        "".into(),
        Value::Bytes(vec![1, 2]),
        Value::Null,
        json!(["a"]).into(),
        Value::Null,
        json!([0.5, 1.0]).into(),
        json!({ "n": 1 }).into(),
        json!({ "dark": true }).into(),
        Value::Null,
    ];
    assert_eq!(values, expected);

    let filled = Project {
        thumbnail: Some(vec![3]),
        counts: Some(HashMap::from([("a".into(), 1)])),
        old_settings: Some(Settings::default()),
        ..project()
    };
    let values = filled.to_values().expect("all of it can be stored");
    assert_eq!(values[20], Value::Bytes(vec![3]));
    assert_eq!(values[22], Value::from(json!({ "a": 1 })));
    assert_eq!(values[26], Value::from(json!({ "dark": false })));
}

#[test]
fn a_value_that_no_column_holds_is_an_error_that_names_its_field() {
    let too_large = Project { most: u64::MAX, ..project() };
    let error = too_large.to_values().expect_err("2^64 - 1 fits no column");
    assert_eq!(error.http_status(), 422);
    assert_eq!(error.to_string(), "the entity can't be stored: /most is larger than 2^63 - 1");

    #[derive(Entity)]
    struct Odd {
        #[entity(json, rename = "odd_map")]
        map: Option<BTreeMap<Vec<u8>, u8>>,
    }
    let odd = Odd { map: Some(BTreeMap::from([(vec![1], 1)])) };
    let error = odd.to_values().expect_err("JSON has no keys but texts");
    assert_eq!(
        error.to_string(),
        "the entity can't be stored: /odd_map can't be written as JSON: key must be a string"
    );
}

#[test]
fn an_enum_is_stored_by_name_and_can_be_a_parameter() {
    assert_eq!(Status::TYPE, ColumnType::Text);
    assert_eq!(Status::NAMES, ["active", "on_hold", "finished"]);
    assert_eq!(<Option<Status>>::NAMES, Status::NAMES);
    assert_eq!(Status::OnHold.to_value(), Ok(Value::Text("on_hold".into())));
    assert_eq!(Value::from(Status::Done), *"finished");
    assert_eq!(Value::from(&Status::Active), *"active");
    assert_eq!(Value::from(None::<Status>), Value::Null);
}

#[test]
fn a_table_is_named_after_its_struct() {
    #[derive(Entity)]
    struct Widget {}
    #[derive(Entity)]
    struct Category {}
    #[derive(Entity)]
    struct Box {}
    #[derive(Entity)]
    struct UserKey {}
    #[derive(Entity)]
    struct HTTPStatus {}
    #[derive(Entity)]
    struct r#Try {}

    let names: Vec<&Cow<'_, str>> = [
        Widget::definition(),
        Category::definition(),
        Box::definition(),
        UserKey::definition(),
        HTTPStatus::definition(),
        r#Try::definition(),
    ]
    .map(|definition| &definition.table)
    .into();
    assert_eq!(names, ["widgets", "categories", "boxes", "user_keys", "http_statuses", "tries"]);
    assert_eq!(*Widget::definition(), EntityDef::new("widgets"));
    assert_eq!(Widget {}.to_values().expect("nothing to store").len(), 0);
}

/// Written in a room where the usual names mean something else.
#[test]
fn the_derive_does_not_depend_on_what_names_mean_where_it_stands() {
    #[expect(dead_code, reason = "they only hide the usual ones")]
    mod hidden {
        pub(super) struct Value;
        pub(super) struct Cow;
        pub(super) struct Result;
        pub(super) enum Maybe {
            Some,
            None,
            Ok,
            Err,
        }
    }
    #[allow(unused_imports)]
    use hidden::Maybe::*;
    #[allow(unused_imports)]
    use hidden::{Cow, Result, Value};

    #[derive(super::entity::Entity)]
    struct Plain {
        row: Option<Vec<u8>>,
        first: u8,
        value: bool,
    }
    #[derive(super::entity::Entity)]
    enum Plainer {
        Some,
        None,
    }

    let plain = Plain { row: Option::None, first: 1, value: false };
    use super::value::Value as Stored;
    assert_eq!(
        plain.to_values().expect("all of it can be stored"),
        [Stored::Null, Stored::Int(1), Stored::Bool(false)]
    );
    assert_eq!(Stored::from(Plainer::Some), *"some");
    assert_eq!(Stored::from(Plainer::None), *"none");
}
