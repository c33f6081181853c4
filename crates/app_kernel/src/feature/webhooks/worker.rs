//! What webhooks do beside requests and jobs: sealing secrets anew after a change of `JWT_SECRET`, and sweeping out what was kept for long
//! enough. Any number of processes may do it at once.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;

use super::Webhooks;
use super::model::DeliveryState;
use super::store::{self, BATCH, Webhook};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::store::db::Db;

/// How long deliveries are kept with their tries.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often is swept.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3600);

/// Works until it is told to stop.
pub(crate) struct Worker {
    db: Db,
}

impl Worker {
    /// For the webhooks of this database.
    pub(crate) fn new(db: Db) -> Self {
        Worker { db }
    }

    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        match self.seal_anew().await {
            Ok(0) => {}
            Ok(sealed) => tracing::info!(sealed, "secrets of webhooks are sealed under the present JWT_SECRET"),
            Err(error) => {
                tracing::warn!("secrets of webhooks could not be sealed anew, the next start tries again: {error:?}")
            }
        }
        loop {
            match self.sweep(self.db.clock().now() - KEPT, &stop).await {
                Ok(0) => {}
                Ok(swept) => tracing::info!(swept, "deliveries of webhooks that are 30 days old are swept out"),
                Err(error) => {
                    tracing::warn!("deliveries could not be swept out, the next hour tries again: {error:?}")
                }
            }
            tokio::select! {
                _told = stop.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(BETWEEN_SWEEPS) => {}
            }
        }
    }

    /// Seals anew what was sealed under a former secret, so that it may be forgotten; answers how many webhooks had some.
    async fn seal_anew(&self) -> Result<usize> {
        let (db, webhooks) = (&self.db, Webhooks::of(&self.db)?);
        let vault = &webhooks.vault;
        let (mut sealed, mut after) = (0, None::<String>);
        loop {
            let find = db.find::<Webhook>("", ()).limit(BATCH as u32);
            let page = after.into_iter().fold(find, |find, cursor| find.after(cursor)).page().await?;
            for webhook in &page.items {
                let secrets = [Some(&webhook.sealed_secret), webhook.previous_secret.as_ref()];
                if secrets.iter().flatten().all(|sealed| vault.is_todays(sealed)) {
                    continue;
                }
                let [present, previous] = secrets.map(|sealed| {
                    sealed
                        .and_then(|sealed| vault.open(&webhook.id, sealed))
                        .map(|secret| vault.seal(&webhook.id, &secret))
                });
                // One that can't be read stays as it is, until its JWT_SECRET is there again or somebody rotates it.
                if let Some(present) = present {
                    store::replace_seals(db, webhook, &present, previous.as_ref()).await?;
                    sealed += 1;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(sealed),
            }
        }
    }

    /// Deletes deliveries from before `until` that are at their end, with their tries, and events without deliveries; answers how many deliveries.
    async fn sweep(&self, until: Timestamp, stop: &watch::Receiver<bool>) -> Result<usize> {
        let (mut swept, mut behind) = (0, String::new());
        loop {
            let oldest = store::oldest_deliveries(&self.db, &behind).await?;
            let old: Vec<_> = oldest.iter().take_while(|delivery| delivery.created_at < until).collect();
            let over = old.iter().filter(|delivery| delivery.state != DeliveryState::Pending);
            let over: Vec<String> = over.map(|delivery| delivery.id.clone()).collect();
            if !over.is_empty() {
                store::delete_deliveries(&self.db, &over).await?;
                swept += over.len();
            }
            match old.last() {
                Some(last) if old.len() == BATCH && !*stop.borrow() => behind.clone_from(&last.id),
                _ => break,
            }
        }
        let mut behind = String::new();
        loop {
            let old = store::oldest_events(&self.db, &behind, until).await?;
            let over = old.iter().filter(|(_, has_deliveries)| !has_deliveries).map(|(id, _)| id.clone());
            let over: Vec<String> = over.collect();
            if !over.is_empty() {
                store::delete_events(&self.db, &over).await?;
            }
            match old.last() {
                Some((last, _)) if old.len() == BATCH && !*stop.borrow() => behind.clone_from(last),
                _ => return Ok(swept),
            }
        }
    }
}
