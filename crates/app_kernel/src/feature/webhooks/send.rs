//! One request to a receiver: bounded in time and in what is read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use tokio::time::timeout;

use super::model::{Outcome, is_success, kept};
use crate::engine::outbound::{Outbound, OutboundError};

/// How long a try may take in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of an answer is read.
const MOST: usize = 64 << 10;
/// Who asks.
const AGENT: &str = concat!("app_kernel-webhooks/", env!("CARGO_PKG_VERSION"));

/// What came of a try.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    /// The beginning of the answer.
    pub(super) answer: Option<String>,
    /// Why there is none.
    pub(super) error: Option<String>,
    pub(super) took: Duration,
}

impl Sent {
    /// Nothing was sent.
    pub(super) fn nothing(outcome: Outcome) -> Self {
        Sent { outcome, status: None, answer: None, error: None, took: Duration::ZERO }
    }

    fn without_answer(outcome: Outcome, error: &impl ToString) -> Self {
        Sent { error: kept(error.to_string().as_bytes()), ..Sent::nothing(outcome) }
    }
}

/// Sends a body, and takes the status as the answer. What follows the status is read for the log alone: a receiver that says 200 and then
/// falls silent has it.
pub(super) async fn send(outbound: &Outbound, url: &str, headers: &[(&'static str, String)], body: String) -> Sent {
    let began = Instant::now();
    let request = Request::post(url).header(CONTENT_TYPE, "application/json").header(USER_AGENT, AGENT);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let sent = match request.body(Full::new(Bytes::from(body))) {
        Ok(request) => exchange(outbound, request).await,
        Err(error) => Sent::without_answer(Outcome::Unreachable, &error),
    };
    Sent { took: began.elapsed(), ..sent }
}

async fn exchange(outbound: &Outbound, request: Request<Full<Bytes>>) -> Sent {
    let began = Instant::now();
    let response = match outbound.send(request, PATIENCE).await {
        Ok(response) => response,
        Err(error) => {
            let outcome = match &error {
                OutboundError::TooSlow => Outcome::Timeout,
                OutboundError::NotAdmitted(_) => Outcome::NotAdmitted,
                OutboundError::Unreachable(_) | OutboundError::TooLong => Outcome::Unreachable,
            };
            return Sent::without_answer(outcome, &error);
        }
    };
    let status = response.status().as_u16();
    let outcome = if is_success(status) { Outcome::Delivered } else { Outcome::Refused };
    let mut answer = Vec::new();
    // Cut short, what was read is kept all the same.
    drop(timeout(PATIENCE.saturating_sub(began.elapsed()), read_some(response.into_body(), &mut answer)).await);
    Sent { status: Some(status), answer: kept(&answer), ..Sent::nothing(outcome) }
}

/// Reads until the end, or until it is enough; whoever sends more is hung up on.
async fn read_some(mut body: Incoming, answer: &mut Vec<u8>) {
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            answer.extend_from_slice(&data[..data.len().min(MOST - answer.len())]);
        }
        if answer.len() >= MOST {
            return;
        }
    }
}
