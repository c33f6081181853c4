//! What a request works with: the kernel, the database on behalf of whoever asks, and who that is.

use std::convert::Infallible;

use aide::OperationInput;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::Extensions;
use axum::http::request::Parts;

use crate::base::caller::Caller;
use crate::base::error::{Error, Result};
use crate::engine::jobs::Jobs;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::web::edge::{self, ClientAddress, RequestId};

/// Whoever asks; anonymous where nobody said.
pub(crate) fn caller_of(extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(Caller::anonymous)
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
        Ok(Kernel::from_ref(state).db()?.with_caller(caller_of(&parts.extensions)))
    }
}

/// Enqueues jobs on behalf of the request's caller.
impl<S> FromRequestParts<S> for Jobs
where
    Kernel: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let kernel = Kernel::from_ref(state);
        Ok(kernel.jobs()?.on(&kernel.db()?.with_caller(caller_of(&parts.extensions))))
    }
}

/// Whoever asks; anonymous where nobody said.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(caller_of(&parts.extensions))
    }
}

impl OperationInput for Kernel {}
impl OperationInput for Db {}
impl OperationInput for Jobs {}
impl OperationInput for Caller {}
impl OperationInput for RequestId {}
impl OperationInput for ClientAddress {}

/// Puts what the edge found out about a request into a handler's hands.
macro_rules! from_the_edge {
    ($name:ident, $find:path) => {
        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
                $find(&parts.extensions)
                    .ok_or_else(|| Error::internal("these routes are served without the kernel's edge"))
            }
        }
    };
}

from_the_edge!(RequestId, edge::request_id);
from_the_edge!(ClientAddress, edge::client_address);
