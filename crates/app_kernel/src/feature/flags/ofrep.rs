//! OpenFeature's remote evaluation protocol (OFREP 0.2, <https://openfeature.dev/specification/appendix-c>): the SDKs of OpenFeature ask here.
//!
//! A person is evaluated as themself. A program with an API key of the scope `flags:evaluate` names the user by the `targetingKey`, in the
//! key's workspace. Failures are problem documents with the members of the protocol.

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use aide::transform::TransformOperation;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::api::{self, evaluate_all};
use super::model::{Evaluation, Reason, Subject};
use crate::base::error::{Error, OrInternal as _, Result};
use crate::feature::api_keys::{Auth, AuthKind, RequireScope, Scope};
use crate::kernel::Kernel;
use crate::web::etag;
use crate::web::extract::{Json, Path};
use crate::web::openapi::{self, Refusal};

/// Asking what feature flags say.
#[derive(Debug)]
struct FlagsEvaluate;

impl Scope for FlagsEvaluate {
    const NAME: &'static str = "flags:evaluate";
}

pub(super) fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route("/ofrep/v1/evaluate/flags/{key}", post_with(evaluate_one, describe_one))
        .api_route("/ofrep/v1/evaluate/flags", post_with(evaluate_every, describe_every))
}

fn describe_one(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let mut operation = operation.summary("Evaluate a feature flag (OFREP)").description(
        "For OpenFeature's SDKs. A person is evaluated as themself, a program names the user by the `targetingKey`.",
    );
    openapi::may_refuse(operation.inner_mut(), Refusal::NotFound);
    describe_body(operation)
}

fn describe_every(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation
        .summary("Evaluate all feature flags (OFREP)")
        .description("For OpenFeature's SDKs. Answers 304 to an `If-None-Match` with the `ETag` of the last answer, where nothing changed.");
    describe_body(operation.response::<200, Json<EveryFlag>>().response::<304, ()>())
}

fn describe_body(mut operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let schema = openapi::input_schema::<EvaluationRequest>(operation.inner_mut());
    openapi::set_body(operation.inner_mut(), "application/json", schema);
    operation
}

/// What an SDK asks.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "OfrepRequest")]
struct EvaluationRequest {
    /// Whom it is about: `targetingKey` is a user's id; what else there is, is not looked at.
    #[serde(default)]
    context: Option<Map<String, Value>>,
}

/// What one flag says.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OfrepFlag")]
struct OneFlag {
    key: String,
    /// Why: `STATIC`, `TARGETING_MATCH`, `SPLIT`, `DISABLED` or `DEFAULT`.
    reason: Reason,
    variant: String,
    value: Value,
}

/// What all flags say.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OfrepFlags")]
struct EveryFlag {
    flags: Vec<OneFlag>,
}

impl OneFlag {
    fn new(key: String, said: Evaluation) -> Self {
        OneFlag { key, reason: said.reason, variant: said.variant, value: said.value }
    }
}

/// A failure in the words of the protocol.
fn failure(error: Error, code: &'static str, key: Option<&str>) -> Error {
    let details = error.message().to_owned();
    let error = error.member("errorCode", code).member("errorDetails", details);
    match key {
        Some(key) => error.member("key", key),
        None => error,
    }
}

/// Whom it is about.
fn subject(auth: &Auth, body: &[u8], key: Option<&str>) -> Result<Subject> {
    // By way of an object: a struct would be read from a list, too.
    let object = if body.iter().all(u8::is_ascii_whitespace) { Ok(Map::new()) } else { serde_json::from_slice(body) };
    let request = object.and_then(|object| EvaluationRequest::deserialize(Value::Object(object)));
    let request = request.map_err(|cause| {
        failure(Error::invalid("the body is not JSON of the form {\"context\": {…}}").cause(cause), "PARSE_ERROR", key)
    })?;
    let targeted = match request.context.as_ref().and_then(|context| context.get("targetingKey")) {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(failure(Error::invalid("`targetingKey` is no text"), "INVALID_CONTEXT", key)),
    };
    let user_id = match auth.kind() {
        AuthKind::ApiKey => targeted,
        AuthKind::User if targeted.as_ref().is_some_and(|id| *id != auth.user_id) => {
            let refusal =
                Error::invalid("people are evaluated as themselves: leave `targetingKey` out, or give your own id");
            return Err(failure(refusal, "INVALID_CONTEXT", key));
        }
        AuthKind::User => Some(auth.user_id.clone()),
    };
    Ok(Subject { user_id, workspace_id: Some(auth.workspace_id.clone()) })
}

async fn evaluate_one(
    auth: RequireScope<FlagsEvaluate>,
    kernel: Kernel,
    Path(key): Path<String>,
    body: Bytes,
) -> Result<Json<OneFlag>> {
    let subject = subject(&auth, &body, Some(&key))?;
    let said = api::evaluate_one(&kernel, &key, &subject)
        .await?
        .ok_or_else(|| failure(Error::not_found("there is no such feature flag"), "FLAG_NOT_FOUND", Some(&key)))?;
    Ok(Json(OneFlag::new(key, said)))
}

async fn evaluate_every(
    auth: RequireScope<FlagsEvaluate>,
    kernel: Kernel,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response> {
    let subject = subject(&auth, &body, None)?;
    let flags = evaluate_all(&kernel, &subject).await?;
    let flags = flags.into_iter().map(|(key, said)| OneFlag::new(key, said)).collect();
    let body = serde_json::to_vec(&EveryFlag { flags }).or_internal("writing what the flags say")?;
    let tag = etag::of(&body);
    let is_current = etag::is_current(headers.get(IF_NONE_MATCH), &tag);
    let mut response = Response::new(if is_current { Body::empty() } else { body.into() });
    if is_current {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}
