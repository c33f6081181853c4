//! The entities, as `cargo loco db entities` writes them, and what is done with them.

/// A widget.
pub mod widgets {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "widgets")]
    pub struct Model {
        pub created_at: DateTimeWithTimeZone,
        pub updated_at: DateTimeWithTimeZone,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub owner_id: String,
        pub name: String,
        pub color: String,
        pub size: i64,
        #[sea_orm(column_type = "Double")]
        pub weight: f64,
        pub deleted_at: Option<DateTimeWithTimeZone>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A version of a widget.
pub mod widget_versions {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "widget_versions")]
    pub struct Model {
        pub created_at: DateTimeWithTimeZone,
        pub updated_at: DateTimeWithTimeZone,
        #[sea_orm(primary_key)]
        pub id: i64,
        pub widget_id: Uuid,
        pub version: i64,
        pub operation: String,
        #[sea_orm(column_type = "JsonBinary")]
        pub data: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
