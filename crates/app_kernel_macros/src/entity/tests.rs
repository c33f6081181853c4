//! Inputs and the messages that they get, word for word; and what a few good ones become.

use proc_macro2::TokenStream;
use quote::quote;

use super::expand;

fn messages(input: &str) -> Vec<String> {
    let input: TokenStream = input.parse().expect("the input is made of tokens");
    match expand(input) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
    }
}

/// Code as text, whatever spaces and last commas it was written with.
fn text_of(code: &TokenStream) -> String {
    code.to_string().replace([' ', '\n'], "").replace(",)", ")").replace(",}", "}")
}

fn check(cases: &[(&str, &[&str])]) {
    for (input, expected) in cases {
        assert_eq!(messages(input), *expected, "{input}");
    }
}

/// A struct with one field, where most cases need no more.
fn check_field(cases: &[(&str, &str)]) {
    for (field, expected) in cases {
        let input = format!("struct Widget {{ {field} }}");
        assert_eq!(messages(&input), [*expected], "{field}");
    }
}

/// Promise: C1
#[test]
fn an_entity_is_a_struct_with_named_fields_and_without_parameters() {
    check(&[
        (
            "struct Widget(String);",
            &[
                "struct `Widget`: an entity's fields have names, which become its columns; write struct Name { field: Type }",
            ],
        ),
        (
            "struct Widget;",
            &[
                "struct `Widget`: an entity's fields have names, which become its columns; write struct Name { field: Type }",
            ],
        ),
        ("union Widget { a: u8 }", &["`Widget` is a union; an entity is a struct with named fields"]),
        (
            "struct Widget<T> { a: T }",
            &[
                "`Widget` is generic; one entity is one table, so name the types in its fields and write a struct for each table",
            ],
        ),
        (
            "struct Widget<'a> { a: &'a str }",
            &[
                "`Widget` is generic; one entity is one table, so name the types in its fields and write a struct for each table",
            ],
        ),
        (
            "struct Widget where String: Clone { a: String }",
            &[
                "`Widget` is generic; one entity is one table, so name the types in its fields and write a struct for each table",
            ],
        ),
        ("struct Widget {}", &[]),
    ]);
}

#[test]
fn a_key_that_is_not_known_gets_the_list_and_the_nearest() {
    check_field(&[
        (
            "#[entity(indx)] a: String",
            "field `a`: there is no key `indx`; did you mean `index`? a field takes index, unique, default, check, foreign_key, renamed_from, rename, secret, json",
        ),
        (
            "#[entity(primary)] a: String",
            "field `a`: there is no key `primary`; a field takes index, unique, default, check, foreign_key, renamed_from, rename, secret, json",
        ),
        (
            "#[entity(table = \"x\")] a: String",
            "field `a`: `table` belongs to a struct; a field takes index, unique, default, check, foreign_key, renamed_from, rename, secret, json",
        ),
        ("#[entity(nullable)] a: String", "field `a`: `nullable` is said by the type: use Option<T>"),
        ("#[entity(nullable = true)] a: String", "field `a`: `nullable` is said by the type: use Option<T>"),
    ]);
    check(&[
        (
            "#[entity(tabel = \"x\")] struct Widget { a: String }",
            &[
                "struct `Widget`: there is no key `tabel`; did you mean `table`? a struct takes table, renamed_from, index, unique, history",
            ],
        ),
        (
            "#[entity(check = \"[a] > 0\")] struct Widget { a: String }",
            &[
                "struct `Widget`: `check` belongs to a field; a struct takes table, renamed_from, index, unique, history",
            ],
        ),
        (
            "#[entity(rename_all = \"x\")] enum Color { Red }",
            &["enum `Color`: there is no key `rename_all`; an enum takes no keys, its variants take `rename`"],
        ),
        (
            "enum Color { #[entity(name = \"r\")] Red }",
            &["variant `Red`: there is no key `name`; did you mean `rename`? a variant takes `rename` only"],
        ),
    ]);
}

#[test]
fn a_key_says_what_must_follow_it() {
    check_field(&[
        (
            "#[entity(index = true)] a: String",
            "field `a`: `index` stands alone here, without a value; an index over several columns is said at the struct, as index(a, b)",
        ),
        ("#[entity(secret = true)] a: String", "field `a`: `secret` stands alone here, without a value"),
        ("#[entity(default)] a: String", "field `a`: `default` needs a value, such as default = \"blue\""),
        ("#[entity(default = )] a: String", "field `a`: `default =` lacks its value"),
        ("#[entity(check = 5)] a: String", "field `a`: `check` is a text in quotes, such as check = \"[size] > 0\""),
        (
            "#[entity(foreign_key = projects)] a: String",
            "field `a`: `foreign_key` is a text in quotes, such as foreign_key = \"projects\"",
        ),
        ("#[entity(index, unique, index)] a: String", "field `a`: `index` stands here twice; keep one"),
        ("#[entity(index)] #[entity(index)] a: String", "field `a`: `index` stands here twice; keep one"),
        ("#[entity()] a: String", "field `a`: `#[entity()]` says nothing; take it away"),
        ("#[entity] a: String", "field `a`: expected attribute arguments in parentheses: #[entity(...)]"),
        ("#[entity(index unique)] a: String", "field `a`: expected `,`"),
    ]);
    check(&[
        (
            "#[entity(history = \"no\")] struct Widget { a: String }",
            &["struct `Widget`: `history` is true or false, such as history = false"],
        ),
        (
            "#[entity(table)] struct Widget { a: String }",
            &["struct `Widget`: `table` needs a value, such as table = \"projects\""],
        ),
    ]);
}

#[test]
fn names_are_checked_before_a_database_sees_them() {
    let long = "a".repeat(55);
    let problem = "can't be the name of a column: use letters a to z, digits and _, and no digit first";
    check_field(&[
        (
            "id: String",
            "field `id`: the store keeps `id` in every table; leave this field out and find it on `Saved<Widget>`",
        ),
        (
            "Created_At: String",
            "field `Created_At`: the store keeps `created_at` in every table; leave this field out and find it on `Saved<Widget>`",
        ),
        (
            "#[entity(rename = \"version\")] a: i64",
            "field `a`: the store keeps `version` in every table; leave this field out and find it on `Saved<Widget>`",
        ),
        ("xmin: i64", "field `xmin`: PostgreSQL keeps a column `xmin` of its own in every table; choose another name"),
        ("größe: i64", &format!("field `größe`: `größe` {problem}")),
        ("#[entity(rename = \"a b\")] a: i64", &format!("field `a`: `a b` {problem}")),
        ("#[entity(rename = \"1st\")] a: i64", &format!("field `a`: `1st` {problem}")),
        ("#[entity(rename = \"\")] a: i64", "field `a`: the name of a column can't be empty"),
        (
            &format!("{long}: i64"),
            &format!(
                "field `{long}`: `{long}` is too long for the name of a column: it has 55 letters, 54 fit all three databases"
            ),
        ),
    ]);
    check(&[
        (
            "struct Übung { a: String }",
            &[
                "struct `Übung`: `übungs` can't be the name of a table: use letters a to z, digits and _, and no digit first, with #[entity(table = \"..\")]",
            ],
        ),
        (
            "#[entity(table = \"x; DROP TABLE y\")] struct Widget { a: String }",
            &[
                "struct `Widget`: `x; DROP TABLE y` can't be the name of a table: use letters a to z, digits and _, and no digit first",
            ],
        ),
        (
            "#[entity(table = \"Kernel_users\")] struct Widget { a: String }",
            &[
                "struct `Widget`: `Kernel_users` starts with `kernel_`, as the kernel's own tables do; choose another name",
            ],
        ),
        ("#[entity(kernel, table = \"kernel_users\")] struct Widget { a: String }", &[]),
        (
            "#[entity(table = \"pg_class\")] struct Widget { a: String }",
            &["struct `Widget`: `pg_class` starts with `pg_`, which PostgreSQL keeps for itself; choose another name"],
        ),
        (
            "#[entity(table = \"widget_history\")] struct Widget { a: String }",
            &[
                "struct `Widget`: `widget_history` ends in `_history`, as the tables of versions do; choose another name",
            ],
        ),
        (
            "struct SqliteStat { a: String }",
            &[
                "struct `SqliteStat`: `sqlite_stats` starts with `sqlite_`, which SQLite keeps for itself; choose another name, with #[entity(table = \"..\")]",
            ],
        ),
        (
            "struct Widget { name: String, #[entity(rename = \"Name\")] title: String }",
            &[
                "field `title`: the column `name` is there already, of field `name`; columns must differ in more than case",
            ],
        ),
        ("struct Widget { r#type: String, order: i64, select: bool }", &[]),
    ]);
}

#[test]
fn what_moves_here_must_be_gone_from_where_it_was() {
    check_field(&[
        (
            "#[entity(renamed_from = \"a\")] a: i64",
            "field `a`: `renamed_from` names the column's present name `a`; it names the former one",
        ),
        (
            "#[entity(renamed_from = \"ID\")] a: i64",
            "field `a`: `renamed_from` names `ID`, which is still a column; only a column that is gone can move here",
        ),
        (
            "#[entity(renamed_from = \"a-b\")] a: i64",
            "field `a`: `a-b` can't be the name of a column: use letters a to z, digits and _, and no digit first",
        ),
    ]);
    check(&[
        (
            "struct Widget { #[entity(renamed_from = \"b\")] a: i64, b: i64 }",
            &["field `a`: `renamed_from` names `b`, which is still a column; only a column that is gone can move here"],
        ),
        (
            "struct Widget { #[entity(renamed_from = \"c\")] a: i64, #[entity(renamed_from = \"c\")] b: i64 }",
            &["field `b`: field `a` was renamed from `c` too; the values can move to one of them only"],
        ),
        (
            "#[entity(renamed_from = \"widgets\")] struct Widget { a: i64 }",
            &["struct `Widget`: `renamed_from` names the table's present name `widgets`; it names the former one"],
        ),
    ]);
}

#[test]
fn a_default_is_of_its_fields_type() {
    check_field(&[
        ("#[entity(default = 5)] a: String", "field `a`: the default of this type is a text, such as \"blue\""),
        (
            "#[entity(default = \"5\")] a: Option<u32>",
            "field `a`: the default of this type is a whole number, such as 0",
        ),
        ("#[entity(default = 0.5)] a: i64", "field `a`: the default of this type is a whole number, such as 0"),
        ("#[entity(default = 1)] a: bool", "field `a`: the default of this type is true or false"),
        ("#[entity(default = true)] a: f64", "field `a`: the default of this type is a number, such as 0.5"),
        (
            "#[entity(default = 0)] a: rust_decimal::Decimal",
            "field `a`: the default of this type is a decimal number of at most 28 digits as a text, such as \"0.50\"",
        ),
        (
            "#[entity(default = \"2026-02-30\")] a: Date",
            "field `a`: the default of this type is a day as a text, such as \"2026-01-30\"",
        ),
        (
            "#[entity(default = \"now\")] a: Timestamp",
            "field `a`: the default of this type is a time in UTC as a text, such as \"2026-01-30T12:00:00Z\"",
        ),
        ("#[entity(default = \"x\")] a: Vec<u8>", "field `a`: bytes have no default; make the field an Option"),
        ("#[entity(default = \"{}\")] a: Vec<String>", "field `a`: the default of a field stored as JSON is \"[]\""),
        (
            "#[entity(default = \"[]\")] a: HashMap<String, u8>",
            "field `a`: the default of a field stored as JSON is \"{}\"",
        ),
        (
            "#[entity(json, default = 5)] a: Settings",
            "field `a`: the default of a field stored as JSON is \"[]\" or \"{}\"",
        ),
        (
            "#[entity(default = Color::Red)] a: Color",
            "field `a`: the default is a literal: a text, a number, true or false; anything else is for the code that saves",
        ),
        (
            "#[entity(default = \"a\\0b\")] a: String",
            "field `a`: the default can't hold a NUL, which PostgreSQL doesn't store",
        ),
        (
            "#[entity(default = String::new())] a: String",
            "field `a`: the default is a literal: a text, a number, true or false; anything else is for the code that saves",
        ),
        (
            "#[entity(default = 1 + 0.5)] a: f64",
            "field `a`: the default is a literal: a text, a number, true or false; anything else is for the code that saves",
        ),
    ]);
    check(&[(
        "struct Widget {
            #[entity(default = -60 * (2 << 3))] a: i64,
            #[entity(default = 1)] b: f64,
            #[entity(default = -0.5)] c: Option<f32>,
            #[entity(default = \"0.50\")] d: Decimal,
            #[entity(default = \"12:30:00\")] e: jiff::civil::Time,
            #[entity(default = \"red\")] f: Color,
            #[entity(default = \"[]\")] g: BTreeSet<String>,
            #[entity(json, default = \"{}\")] h: Settings,
        }",
        &[],
    )]);
}

/// Promise: C2, C3
#[test]
fn a_check_names_columns_in_brackets() {
    check_field(&[
        (
            "#[entity(check = \"[sise] > 0\")] size: i64",
            "field `size`: there is no column `sise`; did you mean `size`?",
        ),
        (
            "#[entity(check = \"[size > 0\")] size: i64",
            "field `size`: a bracket in `check` does not close: ] is missing",
        ),
        (
            "#[entity(rename = \"weight\", check = \"[size] > 0\")] size: i64",
            "field `size`: there is no column `size`; there are weight, id, created_at, updated_at, deleted_at, version",
        ),
    ]);
    check(&[("struct Widget { #[entity(check = \"[least] <= [most]\")] least: i64, most: i64 }", &[])]);
}

#[test]
fn a_foreign_key_points_to_the_id_of_a_table() {
    check_field(&[
        (
            "#[entity(foreign_key = \"projects.slug\")] a: String",
            "field `a`: a foreign key points to the `id` of a row; write foreign_key = \"projects\"",
        ),
        ("#[entity(foreign_key = \"\")] a: String", "field `a`: the name of a table can't be empty"),
        (
            "#[entity(foreign_key = \"my projects\")] a: String",
            "field `a`: `my projects` can't be the name of a table: use letters a to z, digits and _, and no digit first",
        ),
        (
            "#[entity(foreign_key = \"projects\")] a: Vec<String>",
            "field `a`: a foreign key holds the id of a row, so its field is a String, a Uuid or an Option of one",
        ),
    ]);
}

#[test]
fn an_index_names_columns_that_can_have_one() {
    let at = |attribute: &str| {
        format!(
            "#[entity({attribute})] struct Widget {{ a: i64, #[entity(rename = \"c\")] b: i64, tags: Vec<String> }}"
        )
    };
    let cases = [
        (
            "index(a, d)",
            "struct `Widget`: there is no column `d`; there are a, c, tags, id, created_at, updated_at, deleted_at, version",
        ),
        ("index(a, b)", "struct `Widget`: the column of field `b` is `c`; an index names columns"),
        ("unique(a, a)", "struct `Widget`: the index names `a` twice"),
        (
            "index(a, tags)",
            "struct `Widget`: `tags`: JSON and bytes can't have an index; store what is searched for in a column of its own",
        ),
        (
            "unique(a)",
            "struct `Widget`: `unique(..)` is for two columns and more; over one, `unique` stands at the field",
        ),
        (
            "index",
            "struct `Widget`: `index` names its columns here, such as index(a, b); over one column it stands at the field",
        ),
        ("index(\"a\", \"c\")", "struct `Widget`: `index(..)` names columns without quotes, such as index(a, b)"),
    ];
    for (attribute, expected) in cases {
        assert_eq!(messages(&at(attribute)), [expected], "{attribute}");
    }
    check_field(&[(
        "#[entity(unique)] a: Vec<u8>",
        "field `a`: JSON and bytes can't have an index; store what is searched for in a column of its own",
    )]);
    assert_eq!(messages(&at("index(a, created_at), unique(a, c), index(c, a)")), [""; 0]);
    check(&[("#[entity(index(r#type, order))] struct Widget { r#type: i64, order: i64 }", &[])]);
}

#[test]
fn a_type_that_would_not_come_back_as_it_was_is_refused() {
    check_field(&[
        (
            "a: Option<Option<String>>",
            "field `a`: `None` and `Some(None)` would both be stored as null; one Option is enough",
        ),
        (
            "a: &'static str",
            "field `a`: a row can't be read back into a reference; own the value, as in String or Vec<u8>",
        ),
        (
            "a: [u8; 16]",
            "field `a`: an array of u8 could be bytes or a list of numbers; use Vec<u8> for bytes, or mark the field `json`",
        ),
        (
            "a: Vec<Secret>",
            "field `a`: a Secret within JSON would be stored as the text `[secret]`; give it a field of its own",
        ),
        (
            "a: HashMap<String, base::Secret>",
            "field `a`: a Secret within JSON would be stored as the text `[secret]`; give it a field of its own",
        ),
    ]);
    check(&[("struct Widget { #[entity(json)] a: [u8; 16], b: (i64, String), c: [f64; 3], d: Option<Secret> }", &[])]);
}

#[test]
fn an_enum_has_variants_without_data_and_with_names_that_differ() {
    check(&[
        ("enum Color {}", &["enum `Color`: there are no variants, so there is nothing to store; write the first"]),
        (
            "enum Color { Rgb(u8, u8, u8), Named { name: String }, None }",
            &[
                "variant `Rgb`: an enum stored as text has variants without data; keep the data in a field of its own, or mark fields of this type `json`",
                "variant `Named`: an enum stored as text has variants without data; keep the data in a field of its own, or mark fields of this type `json`",
            ],
        ),
        (
            "enum Color { Red, #[entity(rename = \"red\")] Rouge }",
            &["variant `Rouge`: variant `Red` is stored as `red` already; give one of them another name"],
        ),
        ("enum Color { #[entity(rename = \"\")] Red }", &["variant `Red`: the text it is stored as can't be empty"]),
        (
            "enum Color { #[entity(rename = \"\\0\")] Red }",
            &["variant `Red`: the text it is stored as can't hold a NUL"],
        ),
        (
            &format!("enum Color {{ #[entity(rename = \"{}\")] Red }}", "r".repeat(256)),
            &["variant `Red`: the text it is stored as has 256 characters; 255 is the most"],
        ),
        ("enum Color { #[entity(rename)] Red }", &["variant `Red`: `rename` needs a value, such as rename = \"name\""]),
        (
            "enum Color<T> { Red }",
            &[
                "`Color` is generic; one entity is one table, so name the types in its fields and write a struct for each table",
            ],
        ),
    ]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    check(&[(
        "#[entity(tables = \"x\", index(b, a, a))]
        struct Widget {
            id: String,
            #[entity(nullable, default = 5)]
            a: String,
            b: &'static str,
            #[entity(check = \"[c\", foreign_key = \"x.y\", index = 1)]
            c: String,
        }",
        &[
            "struct `Widget`: there is no key `tables`; did you mean `table`? a struct takes table, renamed_from, index, unique, history",
            "field `id`: the store keeps `id` in every table; leave this field out and find it on `Saved<Widget>`",
            "field `a`: `nullable` is said by the type: use Option<T>",
            "field `a`: the default of this type is a text, such as \"blue\"",
            "field `b`: a row can't be read back into a reference; own the value, as in String or Vec<u8>",
            "field `c`: `index` stands alone here, without a value; an index over several columns is said at the struct, as index(a, b)",
            "field `c`: a bracket in `check` does not close: ] is missing",
            "field `c`: a foreign key points to the `id` of a row; write foreign_key = \"x\"",
            "struct `Widget`: the index names `a` twice",
        ],
    )]);
}

#[test]
fn other_attributes_and_docs_are_passed_over() {
    check(&[(
        "/// A thing.
        #[serde(rename_all = \"camelCase\")]
        struct Widget {
            /// Its name.
            #[serde(default, rename = \"id\")]
            #[garde(length(min = 1))]
            name: String,
        }",
        &[],
    )]);
}

#[test]
fn a_struct_becomes_its_definition_and_both_ways_of_a_row() {
    let expanded = expand(quote! {
        struct UserKey {
            #[entity(index)]
            owner_id: String,
            tags: Option<Vec<String>>,
        }
    })
    .expect("a good struct");
    let expected = quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl ::app_kernel::store::db::entity::Entity for UserKey {
            fn definition() -> &'static ::app_kernel::store::db::entity::EntityDef {
                static DEFINITION: ::std::sync::OnceLock<::app_kernel::store::db::entity::EntityDef> =
                    ::std::sync::OnceLock::new();
                DEFINITION.get_or_init(|| ::app_kernel::store::db::entity::EntityDef {
                    columns: ::std::vec![
                        {
                            const _: () = ::core::assert!(
                                    ::core::matches!(
                                        <String as ::app_kernel::store::db::entity::EntityValue>::TYPE,
                                        ::app_kernel::store::db::value::ColumnType::Json
                                            | ::app_kernel::store::db::value::ColumnType::Bytes
                                    ) == false,
                                    "field `owner_id`: JSON and bytes can't have an index; store what is searched for in a column of its own"
                                );
                            ::app_kernel::store::db::entity::ColumnDef {
                                nullable: <String as ::app_kernel::store::db::entity::EntityValue>::NULLABLE,
                                secret: <String as ::app_kernel::store::db::entity::EntityValue>::SECRET,
                                index: true,
                                ..::app_kernel::store::db::entity::ColumnDef::new(
                                    "owner_id",
                                    <String as ::app_kernel::store::db::entity::EntityValue>::TYPE
                                )
                            }
                        },
                        {
                            ::app_kernel::store::db::entity::ColumnDef {
                                nullable: true,
                                secret: false,
                                ..::app_kernel::store::db::entity::ColumnDef::new(
                                    "tags",
                                    ::app_kernel::store::db::value::ColumnType::Json
                                )
                            }
                        }
                    ],
                    indexes: ::std::vec![],
                    history: true,
                    ..::app_kernel::store::db::entity::EntityDef::new("user_keys")
                })
            }

            fn to_values(&self) -> ::app_kernel::base::error::Result<::std::vec::Vec<::app_kernel::store::db::value::Value>> {
                ::core::result::Result::Ok(::std::vec![
                    <String as ::app_kernel::store::db::entity::EntityValue>::to_value(&self.owner_id)
                        .map_err(|problem| ::app_kernel::store::db::entity::field_error("owner_id", &problem))?,
                    match &self.tags {
                        ::core::option::Option::Some(value) => ::app_kernel::store::db::entity::json::to_value(value),
                        ::core::option::Option::None => ::core::result::Result::Ok(::app_kernel::store::db::value::Value::Null),
                    }
                    .map_err(|problem| ::app_kernel::store::db::entity::field_error("tags", &problem))?
                ])
            }

            fn from_row(
                row: &::app_kernel::store::db::row::RowRef<'_>,
                first: usize,
            ) -> ::core::result::Result<Self, ::app_kernel::store::db::row::DecodeError> {
                ::core::result::Result::Ok(Self {
                    owner_id: <String as ::app_kernel::store::db::entity::EntityValue>::from_column(row, first)?,
                    tags: if row.is_null(first + 1usize)? {
                        ::core::option::Option::None
                    } else {
                        ::core::option::Option::Some(
                            ::app_kernel::store::db::entity::json::from_column::<Vec<String>>(row, first + 1usize)?
                        )
                    }
                })
            }
        }
    };
    assert_eq!(text_of(&expanded), text_of(&expected));
}

#[test]
fn a_struct_that_says_its_workspace_can_be_put_into_one() {
    let function = quote! {
        fn enter_workspace(&mut self, id: &str) {
            if let ::core::option::Option::Some(id) =
                <Option<String> as ::app_kernel::store::db::entity::EntityValue>::from_text(id)
            {
                self.place = id;
            }
        }
    };
    let has_it = |input| text_of(&expand(input).expect("a good struct")).contains(&text_of(&function));
    assert!(has_it(quote!(
        struct Note {
            text: String,
            #[entity(rename = "workspace_id")]
            place: Option<String>,
        }
    )));
    assert!(!has_it(quote!(
        struct Note {
            text: String,
            place: Option<String>,
        }
    )));
}

#[test]
fn an_enum_becomes_a_value_both_ways() {
    let expanded = expand(quote! {
        enum Status {
            InProgress,
            #[entity(rename = "finished")]
            Done,
        }
    })
    .expect("a good enum");
    let expected = quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl ::app_kernel::store::db::entity::EntityValue for Status {
            const TYPE: ::app_kernel::store::db::value::ColumnType = ::app_kernel::store::db::value::ColumnType::Text;
            const NAMES: &'static [&'static str] = &["in_progress", "finished"];

            fn to_value(&self) -> ::core::result::Result<::app_kernel::store::db::value::Value, ::std::borrow::Cow<'static, str>> {
                ::core::result::Result::Ok(::core::convert::From::from(self))
            }

            fn from_column(
                row: &::app_kernel::store::db::row::RowRef<'_>,
                index: usize
            ) -> ::core::result::Result<Self, ::app_kernel::store::db::row::DecodeError> {
                match row.text(index)? {
                    "in_progress" => ::core::result::Result::Ok(Self::InProgress),
                    "finished" => ::core::result::Result::Ok(Self::Done),
                    _ => ::core::result::Result::Err(row.unfit(index, "is none of in_progress, finished")),
                }
            }
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl ::core::convert::From<&Status> for ::app_kernel::store::db::value::Value {
            fn from(name: &Status) -> Self {
                let text = match name {
                    Status::InProgress => "in_progress",
                    Status::Done => "finished",
                };
                ::app_kernel::store::db::value::Value::Text(::std::string::String::from(text))
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<Status> for ::app_kernel::store::db::value::Value {
            fn from(name: Status) -> Self {
                ::core::convert::From::from(&name)
            }
        }
    };
    assert_eq!(text_of(&expanded), text_of(&expected));
}
