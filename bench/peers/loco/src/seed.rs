//! The rows that all programs are measured on: row `i` has an id made of it, and each owner has a hundred.

use chrono::{DateTime, FixedOffset};
use loco_rs::prelude::*;
use loco_rs::task::Vars;
use uuid::Uuid;

use crate::models::widgets;

pub struct Seed;

#[async_trait]
impl Task for Seed {
    fn task(&self) -> TaskInfo {
        TaskInfo { name: "seed".to_owned(), detail: "fills an empty database: rows:100000".to_owned() }
    }

    async fn run(&self, ctx: &AppContext, vars: &Vars) -> Result<()> {
        let rows: u64 = vars.cli_arg("rows")?.parse().map_err(|_| Error::string("rows is a number"))?;
        if widgets::Entity::find().limit(1).one(&ctx.db).await?.is_some() {
            return Ok(());
        }
        let at: DateTime<FixedOffset> = "2026-01-01T00:00:00Z".parse().map_err(Error::msg)?;
        let all: Vec<u64> = (0..rows).collect();
        for chunk in all.chunks(1000) {
            let new = chunk.iter().map(|i| widgets::ActiveModel {
                id: Set(Uuid::from_u128(0x7000_8000_0000_0000_0000 | u128::from(*i))),
                owner_id: Set(format!("owner-{}", i % (rows / 100))),
                name: Set(format!("widget {i}")),
                color: Set(["blue", "red", "green"][(i % 3) as usize].to_owned()),
                size: Set((i % 1000) as i64),
                weight: Set((i % 997) as f64 * 1.25),
                created_at: Set(at),
                updated_at: Set(at),
                deleted_at: Set(None),
            });
            widgets::Entity::insert_many(new).exec_without_returning(&ctx.db).await?;
        }
        Ok(())
    }
}
