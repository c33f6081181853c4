//! JSON bodies, in and out.

use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, RequestBody, SchemaObject};
use aide::{OperationInput, OperationOutput};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{media_type, read_body, serde_fault, unprocessable, unsupported_media_type, wrapper};
use crate::base::error::{Error, Result};
use crate::web::openapi;

/// How deep arrays and objects may lie within each other.
pub const MAX_JSON_DEPTH: usize = 64;
/// What most answers fit into.
const USUAL_ANSWER_BYTES: usize = 512;

/// A JSON body: in an argument, what the client sent; as a result, the answer.
///
/// Refuses another `Content-Type` with 415, a body that is too long with 413, text that is not JSON with 400, and JSON
/// that does not fit `T` with 422 and every field that is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

wrapper!(Json);

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Json(value)
    }
}

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + JsonSchema,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if !media_type(request.headers()).is_some_and(|media| is_json(&media)) {
            return Err(unsupported_media_type("application/json"));
        }
        parse(&read_body(request, state).await?).map(Json)
    }
}

/// `Option<Json<T>>` is nothing where the body is empty.
impl<T, S> OptionalFromRequest<S> for Json<T>
where
    T: DeserializeOwned + JsonSchema,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>> {
        let is_json = media_type(request.headers()).is_some_and(|media| is_json(&media));
        let body = read_body(request, state).await?;
        match body.is_empty() {
            true => Ok(None),
            false if is_json => parse(&body).map(|value| Some(Json(value))),
            false => Err(unsupported_media_type("application/json")),
        }
    }
}

fn is_json(media: &str) -> bool {
    let subtype = media.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || (subtype.len() > 5 && subtype.ends_with("+json")))
}

fn parse<T: DeserializeOwned + JsonSchema>(body: &Bytes) -> Result<T> {
    let text = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
    if is_deeper_than(body, MAX_JSON_DEPTH) {
        return Err(Error::invalid(format!("the body is nested deeper than {MAX_JSON_DEPTH} levels")).code("too_deep"));
    }
    serde_json::from_str(text).or_else(|error| explain(text, &error))
}

/// The slow way, for input that was refused: finds out all that is wrong with it.
#[cold]
fn explain<T: DeserializeOwned + JsonSchema>(text: &str, error: &serde_json::Error) -> Result<T> {
    if error.is_syntax() || error.is_eof() {
        return Err(malformed(error));
    }
    let value: Value = serde_json::from_str(text).map_err(malformed)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fault = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err();
    let fault = fault.map(|fault| serde_fault(fault.path(), fault.inner()));
    Err(unprocessable::<T>("the body", &value, fault))
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the body is not valid JSON: {why}")).code("malformed_json")
}

/// Whether brackets outside of texts lie deeper than `limit`. Looks at each byte once and knows no other rule of JSON.
fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    if json.len() <= limit {
        return false;
    }
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut json = Vec::with_capacity(USUAL_ANSWER_BYTES);
        if let Err(error) = serde_json::to_writer(&mut json, &self.0) {
            return Error::internal("the answer can't be written as JSON").cause(error).into_response();
        }
        let mut response = Response::new(Body::from(json));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl<T: JsonSchema> OperationInput for Json<T> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        let schema = openapi::input_schema::<T>(operation);
        openapi::set_body(operation, "application/json", schema);
    }
}

impl<T: JsonSchema> OperationOutput for Json<T> {
    type Inner = T;

    fn operation_response(_: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        let json_schema = openapi::output_schema::<T>(operation);
        let media = MediaType {
            schema: Some(SchemaObject { json_schema, external_docs: None, example: None }),
            ..MediaType::default()
        };
        Some(aide::openapi::Response {
            description: "The answer".to_owned(),
            content: [("application/json".to_owned(), media)].into_iter().collect(),
            ..aide::openapi::Response::default()
        })
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|response| (Some(200), response)).into_iter().collect()
    }
}

/// The body's description, for those who build one.
pub(crate) fn request_body(media: &str, json_schema: schemars::Schema) -> RequestBody {
    let media_type = MediaType {
        schema: Some(SchemaObject { json_schema, external_docs: None, example: None }),
        ..MediaType::default()
    };
    RequestBody {
        required: true,
        content: [(media.to_owned(), media_type)].into_iter().collect(),
        ..RequestBody::default()
    }
}
