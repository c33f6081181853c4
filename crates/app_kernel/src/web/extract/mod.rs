//! Extractors: the only place that rejects input. Each is axum's of the same name with our errors: a body or a parameter
//! that does not fit is answered 422 with every field that is wrong at once, and handlers never see it.
//!
//! | in a handler | is | refuses with |
//! |---|---|---|
//! | [`Json<T>`] | the body, from JSON | 400, 413, 415, 422 |
//! | [`Form<T>`] | the body of an HTML form | 400, 413, 415, 422 |
//! | [`Query<T>`] | what stands behind `?` | 400, 422 |
//! | [`Path<T>`] | the `{names}` of the route | 400, 422 |
//! | [`Valid<E>`] | any of them, once its own rules ([`garde`]) hold | 422 |
//! | `Db`, `Kernel`, `Caller`, [`RequestId`] | what the request works with | |

pub(crate) mod check;
mod context;
mod json;
mod params;
mod path;
mod schema;
#[cfg(test)]
mod tests;
mod valid;

pub use super::edge::{ClientAddress, RequestId};
pub(crate) use context::caller_of;
pub(crate) use json::request_body;
pub use json::{Json, MAX_JSON_DEPTH};
pub use params::{Form, Query};
pub use path::Path;
pub use valid::Valid;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde_json::Value;

use self::check::push_key;
use self::schema::Schema;
use super::reply::MAX_FIELD_ERRORS;
use crate::base::error::{Error, FieldError, Result};

macro_rules! wrapper {
    ($name:ident) => {
        impl<T> std::ops::Deref for $name<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T> std::ops::DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }
    };
}
use wrapper;

/// The request's media type in lower case, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn unsupported_media_type(wanted: &str) -> Error {
    Error::invalid(format!("the Content-Type must be {wanted}")).status(415).code("unsupported_media_type")
}

/// Reads the body, up to the limit that stands in the request (`DefaultBodyLimit`).
async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Error::invalid("the body is longer than this service takes").status(413).code("body_too_large")
        }
        rejection => interrupted(&rejection),
    })
}

/// A body that broke off. Where the edge ended it with an [`Error`] of its own, such as a time-out, that is the answer.
fn interrupted(rejection: Cause<'_>) -> Error {
    let mut causes = std::iter::successors(Some(rejection), |error| next_cause(*error));
    if let Some(own) = causes.find_map(|error| error.downcast_ref::<Error>()) {
        let answer = Error::new(own.kind(), own.message().to_owned());
        return answer.status(own.http_status()).code(own.error_code().to_owned());
    }
    Error::invalid("the body broke off").code("body_interrupted")
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// What lies behind an error. An I/O error's source is not what was put into it, but the source of that.
fn next_cause(error: Cause<'_>) -> Option<Cause<'_>> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// 422 with everything that is wrong: what the type's schema has to say about `value`, and what serde said of it.
fn unprocessable<T: JsonSchema>(what: &str, value: &Value, serde: Option<FieldError>) -> Error {
    let mut faults = Schema::of::<T>().faults(value);
    let is_covered = |serde: &FieldError| {
        let is_within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        faults
            .iter()
            .any(|fault| is_within(&fault.pointer, &serde.pointer) || is_within(&serde.pointer, &fault.pointer))
    };
    faults.extend(serde.filter(|serde| !is_covered(serde)));
    wrong_fields(what, faults)
}

/// 422 with these fields; says so where there are more than an answer names.
fn wrong_fields(what: &str, faults: Vec<FieldError>) -> Error {
    let message = match faults.len() {
        n if n > MAX_FIELD_ERRORS => {
            format!("{what} does not fit; the first {MAX_FIELD_ERRORS} of its mistakes are listed")
        }
        _ => format!("{what} does not fit"),
    };
    Error::invalid(message).status(422).fields(faults)
}

/// serde's own objection, with its place.
fn serde_fault(path: &serde_path_to_error::Path, error: &dyn std::fmt::Display) -> FieldError {
    use serde_path_to_error::Segment;

    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push_key(&mut pointer, &index.to_string()),
            Segment::Map { key } => push_key(&mut pointer, key),
            Segment::Enum { variant } => push_key(&mut pointer, variant),
            Segment::Unknown => break,
        }
    }
    let text = error.to_string();
    let sentence = text.rsplit_once(" at line ").map_or(text.as_str(), |(sentence, _)| sentence);
    let named = |start: &str| sentence.strip_prefix(start)?.split('`').next();
    let message = if let Some(name) = named("missing field `") {
        push_key(&mut pointer, name);
        "is required".to_owned()
    } else if let Some(name) = named("unknown field `") {
        // The path names the unknown key itself in some formats and its parent in others.
        if !pointer.ends_with(&format!("/{name}")) {
            push_key(&mut pointer, name);
        }
        "is not a known field".to_owned()
    } else if let Some(name) = named("duplicate field `") {
        if !pointer.ends_with(&format!("/{name}")) {
            push_key(&mut pointer, name);
        }
        "is given more than once".to_owned()
    } else {
        format!("can't be read: {sentence}")
    };
    FieldError { pointer, message }
}
