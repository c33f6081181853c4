//! The `{names}` of a route.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::check::push_key;
use super::wrapper;
use crate::base::error::{Error, Result};
use crate::web::openapi;

/// The `{names}` of the route: one value, a tuple in their order, or a struct with their names.
/// One that does not fit is answered 422 with its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Path<T>(pub T);

wrapper!(Path);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(rejection) => Err(refusal(rejection, &names(parts).await)),
        }
    }
}

async fn names(parts: &mut Parts) -> Vec<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    params.map(|params| params.iter().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
}

fn refusal(rejection: PathRejection, names: &[String]) -> Error {
    let wrong = |name: &str, why: String| {
        let mut pointer = String::new();
        push_key(&mut pointer, name);
        Error::invalid("the path does not fit").field(pointer, why)
    };
    let mismatch = |expected: &str| format!("must be {}", described(expected));
    let failed = match rejection {
        PathRejection::FailedToDeserializePathParams(failed) => failed,
        other => return Error::internal("the route has no such parameters").cause(other),
    };
    let name_at = |index: usize| names.get(index).map_or("", String::as_str);
    match failed.kind() {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => wrong(key, mismatch(expected_type)),
        ErrorKind::ParseErrorAtIndex { index, expected_type, .. } => wrong(name_at(*index), mismatch(expected_type)),
        ErrorKind::ParseError { expected_type, .. } => wrong(name_at(0), mismatch(expected_type)),
        ErrorKind::DeserializeError { key, message, .. } => wrong(key, format!("can't be read: {message}")),
        ErrorKind::Message(message) if names.len() == 1 => wrong(name_at(0), format!("can't be read: {message}")),
        ErrorKind::Message(message) => Error::invalid(format!("the path can't be read: {message}")).status(422),
        ErrorKind::InvalidUtf8InPathParam { .. } => {
            Error::invalid("the path is not UTF-8").code("malformed_parameters")
        }
        _ => Error::internal("the route's parameters don't fit its handler").cause(failed.body_text()),
    }
}

fn described(rust_type: &str) -> &'static str {
    match rust_type {
        "bool" => "true or false",
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number from 0 up that is not too large",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number that is not too large",
        "char" => "one character",
        _ => "of another kind",
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        openapi::add_path_parameters::<T>(operation);
    }
}
