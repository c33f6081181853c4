//! What webhooks decide without looking anything up: what an event may be, what becomes of a delivery, when a webhook is given up.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::base::clock::{Timestamp, format_timestamp};
use crate::base::error::{Error, Result};
use crate::store::db::entity::Entity;

/// The waits after each failed try, before jitter.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];
/// After so long with failures only, a webhook is disabled.
const LONGEST_STREAK: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Failures further apart than this are not of one streak: longer than the longest wait between two tries.
pub(super) const LONGEST_GAP: SignedDuration = SignedDuration::from_hours(36);
/// The longest name of an event, in characters.
const LONGEST_EVENT: usize = 128;
/// The longest body that is sent, in bytes.
const LONGEST_BODY: usize = 256 << 10;
/// The longest text that is kept of an answer, in bytes.
const LONGEST_KEPT: usize = 1024;
/// The longest description of a webhook, in characters.
const LONGEST_DESCRIPTION: usize = 500;

/// Where a delivery is; see the [module](super) for the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent, or to be tried again.
    Pending,
    /// The receiver has answered 2xx.
    Delivered,
    /// Given up. Can be sent once more.
    Failed,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A status of 2xx.
    Delivered,
    /// Another status.
    Refused,
    /// No status within 15 seconds.
    Timeout,
    /// No connection, or it broke before there was a status.
    Unreachable,
    /// The address is not a public one.
    NotAdmitted,
    /// Nothing was sent: the webhook was disabled or deleted.
    Disabled,
    /// Nothing was sent: the secret is sealed under a `JWT_SECRET` that the service does not have any more.
    SecretUnreadable,
}

/// Why a webhook is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBecause {
    /// Somebody wanted that.
    ByHand,
    /// The receiver answered 410: it wants no more of it.
    Gone,
    /// Every try of five days has failed.
    Failing,
}

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Delivered,
    Again(Duration),
    Failed,
}

/// What follows a try that ended so, which makes `failures` in a row for this delivery. `chance` from 0 to 1 is the jitter.
pub(super) fn after(outcome: Outcome, status: Option<u16>, failures: u32, chance: f64) -> Next {
    match outcome {
        Outcome::Delivered => Next::Delivered,
        Outcome::Disabled => Next::Failed,
        _ if status == Some(410) => Next::Failed,
        _ => match WAITS.get(failures.saturating_sub(1) as usize) {
            // A tenth less or more, so that those who failed together do not come back together.
            Some(wait) => Next::Again(wait.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))),
            None => Next::Failed,
        },
    }
}

/// Whether a status is success.
pub(super) fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Whether a try disables its webhook: it was answered so, or the streak of failures that it is part of has lasted for too long.
pub(super) fn disables(
    status: Option<u16>,
    failing_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<DisabledBecause> {
    if status == Some(410) {
        return Some(DisabledBecause::Gone);
    }
    failing_since.filter(|since| now.duration_since(*since) >= LONGEST_STREAK).map(|_| DisabledBecause::Failing)
}

/// The body of an event: the bytes that are sent, in every try.
pub(super) fn body(event: &str, data: &impl Serialize, now: Timestamp) -> Result<String> {
    let refused = |problem: String| Err(Error::invalid(problem).code("invalid_event"));
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if !(1..=LONGEST_EVENT).contains(&event.len()) || !event.chars().all(fits) {
        return refused(format!(
            "an event's name must be 1 to {LONGEST_EVENT} of the characters A-Z, a-z, 0-9 and _ - . : /, such as `deployment.created`"
        ));
    }
    let data = match serde_json::to_value(data) {
        Ok(data @ Json::Object(_)) => data,
        Ok(_) => return refused("an event's data must be a JSON object, so that fields can be added later".to_owned()),
        Err(error) => return refused(format!("the event's data is no JSON: {error}")),
    };
    let body = json!({ "event": event, "data": data, "timestamp": format_timestamp(now) }).to_string();
    if body.len() > LONGEST_BODY {
        return Err(Error::invalid(format!(
            "the event has {} bytes; {LONGEST_BODY} are the most. Send an id, and let receivers ask for the rest",
            body.len()
        ))
        .code("event_too_large"));
    }
    Ok(body)
}

/// What is wrong with a description.
pub(super) fn problem_with_description(text: &str) -> Option<&'static str> {
    if text.chars().count() > LONGEST_DESCRIPTION {
        return Some("must have at most 500 characters");
    }
    text.chars().any(|c| c.is_control() && c != '\n').then_some("must not contain control characters")
}

/// The beginning of an answer, as text that every database holds.
pub(super) fn kept(answer: &[u8]) -> Option<String> {
    let start = &answer[..answer.len().min(LONGEST_KEPT)];
    let text: String = String::from_utf8_lossy(start)
        .chars()
        .map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c })
        .collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-30T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_failure_is_tried_again_nine_times_over_three_days() {
        let waits: Vec<Next> = (1..=10).map(|n| after(Outcome::Refused, Some(500), n, 0.5)).collect();
        let hours = |hours: u64| Next::Again(Duration::from_secs(hours * 3600));
        let secs = |secs: u64| Next::Again(Duration::from_secs(secs));
        let wanted = [
            secs(5),
            secs(300),
            secs(1800),
            hours(2),
            hours(5),
            hours(10),
            hours(14),
            hours(20),
            hours(24),
            Next::Failed,
        ];
        assert_eq!(waits, wanted);
        for outcome in [Outcome::Timeout, Outcome::Unreachable, Outcome::NotAdmitted, Outcome::SecretUnreadable] {
            assert_eq!(after(outcome, None, 1, 0.0), Next::Again(Duration::from_millis(4500)), "{outcome:?}");
            assert_eq!(after(outcome, None, 1, 1.0), Next::Again(Duration::from_millis(5500)), "{outcome:?}");
        }
        assert_eq!(after(Outcome::Delivered, Some(204), 0, 0.5), Next::Delivered);
        assert_eq!(after(Outcome::Refused, Some(410), 1, 0.5), Next::Failed);
        assert_eq!(after(Outcome::Disabled, None, 1, 0.5), Next::Failed);
    }

    #[test]
    fn success_is_2xx_and_nothing_else() {
        let successes: Vec<u16> = (100..600).filter(|status| is_success(*status)).collect();
        assert_eq!((successes.len(), successes[0], successes[99]), (100, 200, 299));
    }

    #[test]
    fn a_webhook_is_given_up_after_410_or_five_days_of_failures() {
        let ago = |hours| Some(now() - SignedDuration::from_hours(hours));
        assert_eq!(disables(Some(410), None, now()), Some(DisabledBecause::Gone));
        assert_eq!(disables(Some(500), ago(119), now()), None);
        assert_eq!(disables(None, ago(120), now()), Some(DisabledBecause::Failing));
        assert_eq!(disables(Some(500), None, now()), None);
    }

    /// Promise: O3
    #[test]
    fn a_body_is_event_data_and_timestamp_in_this_order() {
        let sent = body("deployment.succeeded", &json!({ "version": 42, "service": "api" }), now()).expect("a body");
        assert_eq!(
            sent,
            r#"{"event":"deployment.succeeded","data":{"version":42,"service":"api"},"timestamp":"2026-01-30T12:00:00.000000Z"}"#
        );
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_cure() {
        let refusal = |event: &str, data: Json| body(event, &data, now()).expect_err("a refusal");
        for event in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(refusal(event, json!({})).error_code(), "invalid_event", "{event:?}");
        }
        for data in [json!(null), json!([]), json!("text"), json!(1)] {
            assert!(refusal("a", data.clone()).message().contains("must be a JSON object"), "{data}");
        }
        let large = refusal("a", json!({ "text": "x".repeat(LONGEST_BODY) }));
        assert_eq!(large.error_code(), "event_too_large");
        assert!(body(&"x".repeat(128), &json!({ "text": "x".repeat(LONGEST_BODY - 500) }), now()).is_ok());
    }

    #[test]
    fn an_answer_is_kept_short_and_harmless() {
        assert_eq!(kept(b""), None);
        assert_eq!(kept(b"ok\0\x1b[31m\n").as_deref(), Some("ok\u{fffd}\u{fffd}[31m\n"));
        assert_eq!(kept("ä".repeat(1000).as_bytes()).map(|text| text.len()), Some(1024));
        assert_eq!(kept(&[b'x'; 5000]).map(|text| text.len()), Some(1024));
    }
}
