//! Who asks, where the proof is an API key: as `Authorization: Bearer sk_live_…` or as `X-API-Key`. Any other proof is left to auth.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use futures_util::future::BoxFuture;

use super::key;
use super::model::{RateLimit, any_covers};
use super::store::{self, ApiKey};
use super::worker::{Uses, Worker};
use crate::base::caller::Caller;
use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::base::secret::token_hash;
use crate::engine::rate_limit::{Limiter, Quota};
use crate::feature::auth::{self, Identity, UserIdentity, bearer};
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::web::identity::Authenticate;

/// The header for a key alone.
static HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// Tells keys from tokens, and knows the keys.
pub(crate) struct ApiKeys {
    people: Arc<auth::Auth>,
    db: Db,
    clock: Clock,
    limits: Limits,
    uses: Uses,
}

/// A key that is good, with what its request needs of it. Rides on the request.
#[derive(Debug)]
pub(super) struct KeyIdentity {
    pub(super) key_id: String,
    /// Whose rights it has.
    pub(super) user: UserIdentity,
    /// The only workspace that it acts in, where it belongs to one.
    pub(super) workspace_id: Option<String>,
    pub(super) scopes: Vec<String>,
}

impl KeyIdentity {
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        any_covers(&self.scopes, scope)
    }
}

/// What a request has in hand.
#[derive(Debug, PartialEq, Eq)]
enum Proof<'a> {
    Key(&'a str),
    /// A token, or nothing that is known here.
    Other,
    TooMany,
}

/// The proof of a request, if it is one.
fn proof(headers: &HeaderMap) -> Proof<'_> {
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if is_repeated(&AUTHORIZATION) || is_repeated(&HEADER) {
        return Proof::TooMany;
    }
    // What is no text is a key too: a bad one.
    let by_header = headers.get(&HEADER).map(|value| value.to_str().unwrap_or_default().trim());
    match (bearer(headers), by_header) {
        (Some(_), Some(_)) => Proof::TooMany,
        (Some(token), None) if key::is_meant(token) => Proof::Key(token),
        (None, Some(key)) => Proof::Key(key),
        (_, None) => Proof::Other,
    }
}

/// How often keys may be used: in all processes together where there is Redis.
struct Limits(Limiter);

impl Limits {
    fn new(kernel: &Kernel) -> Self {
        // Never asked: each key that is limited has a quota of its own.
        let unlimited = Quota { burst: u32::MAX, period: std::time::Duration::from_secs(1) };
        Limits(Limiter::new("api_key", unlimited, kernel.clock(), kernel.redis()))
    }

    /// Counts a request of a key.
    async fn take(&self, key_id: &str, limit: RateLimit) -> Result<()> {
        let quota = Quota { burst: limit.requests, period: limit.window() };
        self.0.take_of(key_id, quota).await.map_err(|wait| {
            Error::too_many_requests("this API key is used more often than it may be; wait a little")
                .retry_after_secs(wait.as_secs())
        })
    }
}

impl ApiKeys {
    /// Finds out who asks as `people` does, and knows API keys. The worker keeps when they are used.
    ///
    /// # Errors
    /// Where the kernel has no database.
    pub(crate) fn new(people: Arc<auth::Auth>, kernel: &Kernel) -> Result<(Arc<Self>, Worker)> {
        let (db, clock) = (kernel.db()?, kernel.clock().clone());
        let (uses, worker) = Worker::new(db.clone(), clock.clone());
        Ok((Arc::new(ApiKeys { people, db, clock, limits: Limits::new(kernel), uses }), worker))
    }

    /// The key, if it is good: one query, and at most once a second another for its maker.
    async fn identify(&self, text: &str) -> Result<KeyIdentity> {
        if !key::is_well_formed(text) {
            return Err(
                Error::unauthenticated("this is no API key: it was cut off or mistyped").code("invalid_api_key")
            );
        }
        let key = store::key_of_hash(&self.db, token_hash(text)).await?.ok_or_else(no_living_key)?;
        let now = self.clock.now();
        if key.is_over(now) {
            return Err(Error::unauthenticated("this API key has expired; make a new one").code("api_key_expired"));
        }
        if let Some(limit) = key.rate_limit() {
            self.limits.take(&key.id, limit).await?;
        }
        let maker = self.people.identity_of(&key.user_id).await?.ok_or_else(no_living_key)?;
        self.uses.note(&key.id, key.last_used_at, now);
        let Saved { id: key_id, entity: ApiKey { workspace_id, scopes, made_with_second_factor, .. }, .. } = key;
        let user = UserIdentity { has_second_factor: made_with_second_factor, ..UserIdentity::clone(&maker) };
        Ok(KeyIdentity { key_id, user, workspace_id, scopes })
    }
}

impl Authenticate for ApiKeys {
    fn has_credentials(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(AUTHORIZATION) || headers.contains_key(&HEADER)
    }

    fn authenticate<'a>(&'a self, parts: &'a mut Parts) -> BoxFuture<'a, Caller> {
        if proof(&parts.headers) == Proof::Other {
            return self.people.authenticate(parts);
        }
        Box::pin(async move {
            let found = match proof(&parts.headers) {
                Proof::Other => return self.people.authenticate(parts).await,
                Proof::TooMany => Err(too_many_proofs()),
                Proof::Key(text) => self.identify(text).await,
            };
            let (for_people, caller) = match found {
                Ok(key) => {
                    let workspace_id = key.workspace_id.as_ref().or(key.user.workspace_id.as_ref());
                    let caller = Caller::api_key(&key.key_id, &key.user.id);
                    let caller = workspace_id.into_iter().fold(caller, Caller::in_workspace);
                    parts.extensions.insert(Arc::new(key));
                    (not_for_keys(), caller)
                }
                Err(error) => (error, Caller::anonymous()),
            };
            parts.extensions.insert(Identity::refused(for_people));
            caller
        })
    }
}

fn too_many_proofs() -> Error {
    Error::unauthenticated("send one proof of who you are: one `Authorization` header, or one `X-API-Key`")
        .code("too_many_credentials")
}

/// One answer for keys that were never made, that are revoked, and whose maker is gone.
pub(super) fn no_living_key() -> Error {
    Error::unauthenticated("this API key is not valid, or not any more").code("invalid_api_key")
}

/// What a key hears from everything that asks for a user.
fn not_for_keys() -> Error {
    Error::forbidden("this takes no API keys; sign in").code("api_key_not_allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: M3
    #[test]
    fn a_request_has_one_proof_or_it_has_too_many() {
        let headers = |list: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in list {
                headers.append(*name, value.parse().expect("a value"));
            }
            headers
        };
        for (sent, expected) in [
            (&[][..], Proof::Other),
            (&[("authorization", "Bearer eyJ.e30.x")], Proof::Other),
            (&[("authorization", "Bearer rt_x")], Proof::Other),
            (&[("authorization", "Basic YW5uOnB3")], Proof::Other),
            (&[("authorization", "Bearer sk_live_x")], Proof::Key("sk_live_x")),
            (&[("authorization", "bearer  sk_live_x ")], Proof::Key("sk_live_x")),
            (&[("authorization", "Bearer sk_test_x")], Proof::Key("sk_test_x")),
            (&[("x-api-key", "sk_live_x")], Proof::Key("sk_live_x")),
            (&[("x-api-key", "eyJ.e30.x")], Proof::Key("eyJ.e30.x")),
            (&[("x-api-key", "")], Proof::Key("")),
            (&[("authorization", "Basic YW5uOnB3"), ("x-api-key", "sk_live_x")], Proof::Key("sk_live_x")),
            (&[("authorization", "Bearer eyJ.e30.x"), ("x-api-key", "sk_live_x")], Proof::TooMany),
            (&[("authorization", "Bearer sk_live_x"), ("x-api-key", "sk_live_x")], Proof::TooMany),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], Proof::TooMany),
            (&[("x-api-key", "a"), ("x-api-key", "a")], Proof::TooMany),
        ] {
            assert_eq!(proof(&headers(sent)), expected, "{sent:?}");
        }
        let mut odd = HeaderMap::new();
        odd.insert(&HEADER, axum::http::HeaderValue::from_bytes(b"sk_live_\xff").expect("a value"));
        assert_eq!(proof(&odd), Proof::Key(""));
    }
}
