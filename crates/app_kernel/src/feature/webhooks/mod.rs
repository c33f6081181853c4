//! Webhooks: a workspace's addresses that are told of events, by [Standard Webhooks](https://www.standardwebhooks.com).
//!
//! - An event goes to every enabled webhook of its workspace; receivers decide which events matter to them. It is written in the caller's
//!   transaction, so one that is rolled back was never sent, and delivered by jobs, so no request waits for a receiver.
//! - **At least once.** The body is `{"event", "data", "timestamp"}`, the same bytes in every try; `webhook-id` is the event's in every
//!   try, too, so that receivers know what they have seen.
//! - A request is signed by the webhook's secret (`whsec_…`), told when it is made or rotated. For a day after a rotation, requests carry the
//!   signature of the former secret too. Secrets lie sealed in the database (see `base/vault.rs`).
//! - A try takes 15 s at most and succeeds by a status of 2xx. Redirects are not followed. After a failure it is tried again nine times,
//!   over three days. A 410, or five days in which every try has failed, disables the webhook.
//! - Webhooks do not wait for each other: each has so many requests under way at most, and those that fail at present have a queue of their
//!   own, so that deliveries to those that work never stand behind them.
//! - A webhook reaches the public internet only: see [`Guard`]. `WEBHOOK_ALLOW_PRIVATE=true` is for development.
//! - Each try is kept with its answer for 30 days; until then a delivery can be sent once more.
//! - Owners and admins of the workspace manage its webhooks; to members they are none of their business, because addresses often hold secrets.
//!
//! A delivery is one event to one webhook:
//!
//! ```text
//!   trigger ──► pending ──── 2xx ────────────────────────────────► delivered
//!                ▲  │  ▲                                               │
//!                │  └──┘ another answer or none: tried again,          │
//!                │  │    nine times at most                            │
//!                │  └── the tenth failure, 410, webhook disabled ──► failed
//!                │                                                     │
//!                └──────── redelivered (either), recovered (failed) ◄──┘
//! ```

mod deliver;
mod deliveries;
mod events;
mod flows;
mod mailed;
mod model;
mod place;
mod routes;
mod send;
mod sign;
mod store;
mod worker;

use std::sync::Arc;

pub(crate) use self::deliver::tasks;
pub use self::deliveries::{
    ListDeliveries, WebhookAttemptInfo, WebhookDeliveryDetails, WebhookDeliveryInfo, list_webhook_deliveries,
    read_webhook_delivery, recover_webhook, redeliver_webhook,
};
pub use self::events::{TriggeredEvent, test_webhook, trigger_webhook_event};
pub use self::flows::{
    CreateWebhook, NewWebhook, RotateWebhookSecret, UpdateWebhook, WebhookInfo, create_webhook, delete_webhook,
    list_webhooks, read_webhook, rotate_webhook_secret, update_webhook,
};
pub use self::model::{DeliveryState, DisabledBecause, Outcome};
use self::place::Rules;
pub(crate) use self::routes::routes;
pub(crate) use self::store::entities;
pub use self::store::{Webhook, WebhookAttempt, WebhookDelivery, WebhookEvent};
pub(crate) use self::worker::Worker;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::vault::Vault;
use crate::engine::outbound::{Guard, Outbound};
use crate::store::db::Db;

/// What webhooks are made, signed and sent with. Attached to the service's database, so that whoever has a handle to it has webhooks.
#[derive(Debug)]
pub(crate) struct Webhooks {
    vault: Vault,
    rules: Rules,
    outbound: Outbound,
}

impl Webhooks {
    /// As the configuration says; `guard` in place of the one that it asks for.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub(crate) fn attach(config: &ServiceConfig, db: &Db, guard: Option<Guard>) -> Result<()> {
        let allow_private = config.webhook_allow_private;
        let usual = || if allow_private { Guard::with_private() } else { Guard::public_only() };
        let guard = guard.unwrap_or_else(usual);
        let vault = Vault::new("webhooks", &config.signing_secrets());
        let outbound = Outbound::guarded(guard.clone())?;
        let rules = Rules { https_only: config.production && !allow_private, any_port: allow_private, guard };
        db.attach(Arc::new(Webhooks { vault, rules, outbound }));
        Ok(())
    }

    /// Those of the service whose database this is.
    fn of(db: &Db) -> Result<Arc<Self>> {
        let off = || {
            Error::unavailable("webhooks are off: they need DATABASE_URL and JWT_SECRET, and AUTH_ENABLED not false")
        };
        db.attached().ok_or_else(off)
    }
}
