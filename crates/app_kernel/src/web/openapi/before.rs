//! What stands before the routes and answers in their place: the limit on requests, and the answers that are kept for an `Idempotency-Key`.
//! Limits of single routes are layers within the routes, of which nobody knows at start; the document says nothing of those.

use serde_json::{Map, Value, json};

use super::document::problem_response;
use crate::web::edge::EdgeRules;
use crate::web::rate_limit::RequestLimits;

const WRITES: [&str; 4] = ["post", "put", "patch", "delete"];

/// What is known at start of what requests pass before they reach a route.
pub(crate) struct Before<'a> {
    /// Which requests are counted.
    pub(crate) limits: &'a RequestLimits,
    /// Which answers are secret, and so are not kept.
    pub(crate) rules: &'a EdgeRules,
    /// Whether answers are kept at all.
    pub(crate) keeps_answers: bool,
}

impl Before<'_> {
    fn keeps_answers_of(&self, path: &str, method: &str) -> bool {
        self.keeps_answers && WRITES.contains(&method) && !self.rules.is_secret(path)
    }

    /// Adds the answers and the header to an operation.
    pub(super) fn describe(&self, operation: &mut Map<String, Value>, path: &str, method: &str) {
        if self.limits.counts(path) {
            add_answer(operation, "429", "TooManyRequests");
        }
        if self.keeps_answers_of(path, method) {
            add_answer(operation, "409", "Conflict");
            add_answer(operation, "422", "Unprocessable");
            let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
            if let Some(parameters) = parameters.as_array_mut() {
                parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
            }
        }
    }

    /// Adds what operations refer to.
    pub(super) fn describe_components(&self, components: &mut Value) {
        if self.limits.are_on() {
            components["responses"]["TooManyRequests"] = too_many_requests();
        }
        if self.keeps_answers {
            components["responses"]["Conflict"] = conflict();
            components["parameters"] = json!({ "IdempotencyKey": idempotency_key() });
        }
    }
}

/// One that the handler describes itself stands.
fn add_answer(operation: &mut Map<String, Value>, status: &str, name: &str) {
    let answers = operation.entry("responses").or_insert_with(|| json!({}));
    if let Some(answers) = answers.as_object_mut() {
        answers.entry(status).or_insert_with(|| json!({ "$ref": format!("#/components/responses/{name}") }));
    }
}

fn header(ty: &str, description: &str) -> Value {
    json!({ "description": description, "schema": { "type": ty } })
}

fn too_many_requests() -> Value {
    let mut answer = problem_response("Too many requests; `Retry-After` says when the next one is let through");
    answer["headers"] = json!({
        "Retry-After": header("integer", "Seconds until the next request is let through"),
        "RateLimit": header("string", "Where the caller stands, by policy: requests that are left, and seconds until one comes back"),
        "RateLimit-Policy": header("string", "The policies: how many requests in how many seconds"),
        "X-RateLimit-Limit": header("integer", "How many requests are allowed"),
        "X-RateLimit-Remaining": header("integer", "How many are left"),
        "X-RateLimit-Reset": header("integer", "When one comes back, as a Unix time in seconds"),
    });
    answer
}

fn conflict() -> Value {
    let mut answer = problem_response(
        "It stands against the present state; or a write with this `Idempotency-Key` is under way, or nobody knows whether it took effect",
    );
    answer["headers"] = json!({ "Retry-After": header("integer", "Seconds after which the same request may be sent again, where that helps") });
    answer
}

fn idempotency_key() -> Value {
    json!({
        "in": "header",
        "name": "Idempotency-Key",
        "required": false,
        "description": "Of your choice, a new one for each write, such as a UUID: sent again with the same key, the write is done once, and the \
                        answer comes again with `Idempotency-Replayed: true`. With another request it is refused with 422",
        "schema": { "type": "string", "pattern": "^[!#-~][!-~]{0,254}$" }
    })
}
