//! What a request works with: the kernel, the database on behalf of whoever asks, and who that is.

use std::convert::Infallible;
use std::sync::Arc;

use aide::OperationInput;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use crate::base::caller::Caller;
use crate::base::error::{Error, Result};
use crate::kernel::Kernel;
use crate::store::db::Db;

/// The request's identifier, as in the `X-Request-ID` header and the log; empty where there is no edge to give one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn caller(parts: &Parts) -> Caller {
    parts.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::anonymous)
}

impl<S> FromRequestParts<S> for Kernel
where
    Kernel: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Kernel::from_ref(state))
    }
}

/// The database, on behalf of the request's caller.
impl<S> FromRequestParts<S> for Db
where
    Kernel: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Ok(Kernel::from_ref(state).db()?.with_caller(caller(parts)))
    }
}

/// Whoever asks; anonymous where nobody said.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(caller(parts))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(RequestId(caller(parts).request_id().unwrap_or_default().into()))
    }
}

impl OperationInput for Kernel {}
impl OperationInput for Db {}
impl OperationInput for Caller {}
impl OperationInput for RequestId {}
