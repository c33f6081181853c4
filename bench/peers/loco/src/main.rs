//! The requests of bench/server as a Loco app: models by SeaORM, its own sign-in by JWT, its own configuration and log.
//!
//! `loco_peer start` serves; `loco_peer task seed rows:100000` fills an empty database.
#![forbid(unsafe_code)]

mod app;
mod migration;
mod models;
mod seed;
mod widgets;

#[tokio::main]
async fn main() -> loco_rs::Result<()> {
    loco_rs::cli::main::<app::App, migration::Migrator>().await
}
