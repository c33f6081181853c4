//! The job behind a delivery: one try, kept with what follows from it in one transaction, in which the next try is enqueued too.
//!
//! A job names the number of tries that it was made after. One that finds another number has been overtaken, by itself in another process:
//! it does nothing. What is sent may still be sent twice, where a process ends between sending and keeping.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::{DeliveryState, DisabledBecause, Next, Outcome, after, disables};
use super::send::{Sent, send};
use super::store::{self, Webhook, WebhookAttempt, WebhookDelivery, WebhookEvent};
use super::{Webhooks, mailed, sign};
use crate::base::caller::Caller;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::secret::fill_random;
use crate::engine::jobs::{Jobs, QueueLimits, TaskOptions};
use crate::feature::jobs::{JobContext, JobRegistry};
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// The task's name.
const TASK: &str = "kernel.deliver_webhook";
/// The queue of first tries to webhooks that work, and how many run at once: in each process, and of one webhook in all of them.
const FIRST: (&str, u32, u32) = ("kernel.webhooks", 100, 10);
/// The same for all other tries. Whoever fails waits among those who fail.
const AGAIN: (&str, u32, u32) = ("kernel.webhooks_again", 50, 3);
/// How often a try may begin. Only a try that its process dies in, or that the database can't keep, begins again; what the receiver does
/// is counted by the delivery.
const MOST_BEGINNINGS: u32 = 100;
/// How long a try may take with its statements; sending has a limit of its own.
const LONGEST_TRY: Duration = Duration::from_secs(120);

/// Where a try waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lane {
    First,
    Again,
}

impl Lane {
    /// For the first try of a delivery, to a webhook whose tries fail at present or not.
    pub(super) fn of(is_failing: bool) -> Self {
        if is_failing { Lane::Again } else { Lane::First }
    }

    fn queue(self) -> &'static str {
        match self {
            Lane::First => FIRST.0,
            Lane::Again => AGAIN.0,
        }
    }
}

/// A try that is to be made.
#[derive(Debug)]
pub(super) struct Due {
    delivery_id: String,
    webhook_id: String,
    attempts: i64,
    wait: Duration,
}

impl Due {
    /// Now, after so many tries.
    pub(super) fn new(delivery_id: &str, webhook_id: &str, attempts: i64) -> Self {
        Due { delivery_id: delivery_id.to_owned(), webhook_id: webhook_id.to_owned(), attempts, wait: Duration::ZERO }
    }
}

/// What the job gets.
#[derive(Debug, Serialize, Deserialize)]
struct Try {
    delivery_id: String,
    attempts: i64,
    lane: Lane,
}

/// The tasks of webhooks, and the limits of their queues.
pub(crate) fn tasks() -> JobRegistry {
    let mut registry = JobRegistry::new();
    let options = TaskOptions::default().queue(FIRST.0).max_attempts(MOST_BEGINNINGS).timeout(LONGEST_TRY);
    registry.register(TASK, options, deliver);
    for (queue, slots, per_key) in [FIRST, AGAIN] {
        registry.queue(queue, QueueLimits::default().own_slots(slots).per_key(per_key));
    }
    registry
}

/// Enqueues tries in a lane, all after the same wait.
pub(super) async fn enqueue(tx: &Db, lane: Lane, due: Vec<Due>) -> Result<()> {
    let Some(wait) = due.first().map(|due| due.wait) else { return Ok(()) };
    // In nobody's name: a webhook that is given up was given up by the service.
    let jobs = Jobs::of(&tx.with_caller(Caller::system())).ok_or_else(|| Error::internal("webhooks stand on jobs"))?;
    let (tries, keys): (Vec<Try>, Vec<String>) = due
        .into_iter()
        .map(|due| (Try { delivery_id: due.delivery_id, attempts: due.attempts, lane }, due.webhook_id))
        .unzip();
    jobs.enqueue_many(TASK, tries).queue(lane.queue()).concurrency_keys(keys).delay(wait).await.map(drop)
}

async fn deliver(job: Try, ctx: JobContext) -> Result<()> {
    let db = ctx.kernel().db()?;
    let is_ours = |delivery: &Saved<WebhookDelivery>| {
        delivery.state == DeliveryState::Pending && delivery.attempts == job.attempts
    };
    let Some(delivery) = db.get::<WebhookDelivery>(&job.delivery_id).await?.filter(is_ours) else { return Ok(()) };
    let (event, webhook) = tokio::try_join!(async { db.get::<WebhookEvent>(&delivery.event_id).await }, async {
        db.get::<Webhook>(&delivery.webhook_id).await
    },)?;
    let webhook = webhook.filter(|webhook| webhook.is_enabled);
    if job.lane == Lane::First && webhook.as_ref().is_some_and(|webhook| webhook.failing_since.is_some()) {
        // It has begun to fail since: the places of this lane are for those that work.
        return enqueue(&db, Lane::Again, vec![Due::new(&delivery.id, &delivery.webhook_id, delivery.attempts)]).await;
    }
    let now = ctx.kernel().clock().now();
    let sent = match (&event, &webhook) {
        (Some(event), Some(webhook)) => attempt(&*Webhooks::of(&db)?, event, webhook, now).await,
        _ => Sent::nothing(Outcome::Disabled),
    };
    keep(ctx.kernel(), &delivery, &sent, now).await
}

/// Signs and sends.
async fn attempt(webhooks: &Webhooks, event: &Saved<WebhookEvent>, webhook: &Saved<Webhook>, now: Timestamp) -> Sent {
    let previous = webhook.previous_secret.as_ref().filter(|_| webhook.previous_until.is_some_and(|until| until > now));
    let present = webhooks.vault.open(&webhook.id, &webhook.sealed_secret);
    let Some(present) = present else {
        tracing::error!(
            webhook_id = %webhook.id,
            "the secret of a webhook can't be read: it was sealed under another JWT_SECRET; name that one in JWT_SECRET_PREVIOUS, or rotate the webhook's secret"
        );
        return Sent::nothing(Outcome::SecretUnreadable);
    };
    let secrets: Vec<Vec<u8>> =
        [present].into_iter().chain(previous.and_then(|sealed| webhooks.vault.open(&webhook.id, sealed))).collect();
    let signatures = sign::signatures(&secrets, &event.id, now, &event.body);
    let headers = [
        ("webhook-id", event.id.clone()),
        ("webhook-timestamp", now.as_second().to_string()),
        ("webhook-signature", signatures),
    ];
    send(&webhooks.outbound, &webhook.url, &headers, event.body.clone()).await
}

/// Keeps a try and what follows from it.
async fn keep(kernel: &Kernel, delivery: &Saved<WebhookDelivery>, sent: &Sent, began: Timestamp) -> Result<()> {
    let (db, now) = (kernel.db()?, kernel.clock().now());
    let failures = if sent.outcome == Outcome::Delivered { 0 } else { delivery.failures + 1 };
    let next = after(sent.outcome, sent.status, u32::try_from(failures).unwrap_or(u32::MAX), chance());
    let (state, wait) = match next {
        Next::Delivered => (DeliveryState::Delivered, None),
        Next::Failed => (DeliveryState::Failed, None),
        Next::Again(wait) => (DeliveryState::Pending, Some(wait)),
    };
    let kept = WebhookDelivery {
        state,
        attempts: delivery.attempts + 1,
        failures,
        next_attempt_at: wait.and_then(|wait| Some(now + jiff::SignedDuration::try_from(wait).ok()?)),
        last_status: sent.status.map(i64::from),
        last_outcome: Some(sent.outcome),
        ..delivery.entity.clone()
    };
    let attempt = WebhookAttempt {
        delivery_id: delivery.id.clone(),
        number: kept.attempts,
        started_at: began,
        duration_ms: i64::try_from(sent.took.as_millis()).unwrap_or(i64::MAX),
        outcome: sent.outcome,
        status: kept.last_status,
        answer: sent.answer.clone(),
        error: sent.error.clone(),
    };
    db.transaction(async |tx| {
        if !store::record(&tx, delivery, &kept, now).await? {
            return Ok(());
        }
        tx.save(attempt.clone()).await?;
        match sent.outcome {
            Outcome::Delivered => store::note_success(&tx, &delivery.webhook_id).await?,
            Outcome::Disabled => {}
            _ => note_failure(kernel, &tx, &delivery.webhook_id, sent.status, now).await?,
        }
        let Some(wait) = wait else { return Ok(()) };
        let due = Due { wait, ..Due::new(&delivery.id, &delivery.webhook_id, kept.attempts) };
        enqueue(&tx, Lane::Again, vec![due]).await
    })
    .await
}

/// Goes on with the webhook's streak of failures, and gives the webhook up where that was the last straw; then its owners get a mail.
async fn note_failure(kernel: &Kernel, tx: &Db, webhook_id: &str, status: Option<u16>, now: Timestamp) -> Result<()> {
    store::note_failure(tx, webhook_id, now).await?;
    let Some(mut webhook) = tx.get::<Webhook>(webhook_id).await?.filter(|webhook| webhook.is_enabled) else {
        return Ok(());
    };
    let Some(because) = disables(status, webhook.failing_since, now) else { return Ok(()) };
    let (id, workspace_id) = (webhook.id.clone(), webhook.workspace_id.clone());
    webhook.disable(because, now);
    let webhook = tx.save(webhook).await?;
    mailed::tell_owners(kernel, tx, &webhook, because).await?;
    let why = match because {
        DisabledBecause::Gone => "its receiver answered 410",
        DisabledBecause::Failing => "every try of five days has failed",
        DisabledBecause::ByHand => "somebody wanted that",
    };
    tx.after_commit(move || tracing::warn!(webhook_id = %id, %workspace_id, "a webhook is disabled: {why}"));
    Ok(())
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
