//! The two tables.

use loco_rs::schema::{ColType, create_table, drop_table};
use sea_orm_migration::prelude::*;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Widgets)]
    }
}

struct Widgets;

impl MigrationName for Widgets {
    fn name(&self) -> &str {
        "m20260101_000001_widgets"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Widgets {
    async fn up(&self, m: &SchemaManager) -> Result<(), DbErr> {
        let widgets = [
            ("id", ColType::PkUuid),
            ("owner_id", ColType::String),
            ("name", ColType::String),
            ("color", ColType::String),
            ("size", ColType::BigInteger),
            ("weight", ColType::Double),
            ("deleted_at", ColType::TimestampWithTimeZoneNull),
        ];
        create_table(m, "widgets", &widgets, &[]).await?;
        let by_owner = Index::create().name("idx_widgets_owner_id").table("widgets").col("owner_id").to_owned();
        m.create_index(by_owner).await?;
        let versions = [
            ("id", ColType::PkAuto),
            ("widget_id", ColType::Uuid),
            ("version", ColType::BigInteger),
            ("operation", ColType::String),
            ("data", ColType::JsonBinary),
        ];
        create_table(m, "widget_versions", &versions, &[]).await?;
        let by_widget = Index::create().name("idx_widget_versions_widget_id").table("widget_versions").col("widget_id").to_owned();
        m.create_index(by_widget).await
    }

    async fn down(&self, m: &SchemaManager) -> Result<(), DbErr> {
        drop_table(m, "widget_versions").await?;
        drop_table(m, "widgets").await
    }
}
