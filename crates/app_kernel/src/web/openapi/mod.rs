//! The description of a service: an OpenAPI 3.1 document made from the types of its handlers, and a page to try it on.
//! A handler is described by its signature and by nothing else. What can't be reached from the network is not needed:
//! the page works offline.

mod before;
mod document;
mod page;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use aide::axum::ApiRouter;
use aide::openapi::{
    HeaderStyle, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle, ReferenceOr,
    SchemaObject, SecurityRequirement, StatusCode,
};
use aide::transform::TransformOperation;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::extract::request_body;
use crate::base::error::{Error, Result};
use crate::base::panic::text_of;
use crate::kernel::Kernel;

pub(crate) use before::Before;
pub(crate) use document::Document;

/// Where the schemas that an operation needs travel with it, until [`document`] puts them all in one place.
/// (aide would keep them per thread, and lose those of a router that was built on another.)
const CARRIED: &str = "x-carried-schemas";
/// What axum's extractors take where nothing else is said, in bytes.
const AXUM_BODY_LIMIT: usize = 2 << 20;
/// The security scheme of a token in the `Authorization` header.
const BEARER: &str = "bearer";
/// The security scheme of an API key in a header of its own.
const API_KEY: &str = "api_key";
/// The security scheme that gets such a token by name and password.
const PASSWORD: &str = "password";

/// Puts the service's routes together: `api` at the prefix and, where the configuration says so, at the root too; `at_root` at the root only;
/// beside them `/openapi.json` and `/docs`. The document says too what stands before them.
///
/// # Errors
/// Where two handlers want the same path; the message names it.
pub(crate) fn assemble(
    api: ApiRouter<Kernel>,
    at_root: ApiRouter<Kernel>,
    kernel: &Kernel,
    name: &str,
    version: &str,
    before: &Before<'_>,
) -> Result<(Router, Document)> {
    let config = kernel.config();
    let prefix = config.api_prefix.as_str();
    without_conflicts(|| {
        let mut open_api = OpenApi::default();
        let mut router = Router::new();
        if !prefix.is_empty() && config.root_alias {
            router = router.merge(Router::from(api.clone()));
        }
        let documented = if prefix.is_empty() { api } else { ApiRouter::new().nest(prefix, api) };
        router = router.merge(documented.merge(at_root).finish_api(&mut open_api));
        let document = Document::new(open_api, prefix, name, version, before);
        if config.max_body_bytes != AXUM_BODY_LIMIT {
            router = router.layer(DefaultBodyLimit::max(config.max_body_bytes));
        }
        (router.with_state(kernel.clone()).merge(page::routes(name, &document)), document)
    })
}

/// Runs what puts routes together. axum panics where two handlers want one path; that becomes an error that says which.
///
/// # Errors
/// Where `build` panicked, with its words.
pub(crate) fn without_conflicts<R>(build: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(build)).map_err(|panic| {
        let words = text_of(&*panic).unwrap_or("no reason was given");
        Error::internal(format!("the routes can't be put together: {}", words.trim()))
    })
}

/// For extractors that need a signed-in caller: the operation asks for a token.
pub fn require_token(operation: &mut Operation) {
    for scheme in [BEARER, PASSWORD] {
        let requirement = SecurityRequirement::from_iter([(scheme.to_owned(), Vec::new())]);
        if !operation.security.contains(&requirement) {
            operation.security.push(requirement);
        }
    }
}

/// For extractors that take API keys beside tokens: the operation says so, and which scope the key needs.
pub(crate) fn take_api_keys(operation: &mut Operation, scope: Option<&str>) {
    let scopes = scope.into_iter().map(str::to_owned).collect();
    operation.security.push(SecurityRequirement::from_iter([(API_KEY.to_owned(), scopes)]));
}

/// A refusal that depends on who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
}

impl Refusal {
    /// The status, and the name of its description in the document.
    fn parts(self) -> (u16, &'static str) {
        match self {
            Refusal::Forbidden => (403, "Forbidden"),
            Refusal::NotFound => (404, "NotFound"),
        }
    }
}

/// For extractors that turn some callers away: the operation says so.
pub(crate) fn may_refuse(operation: &mut Operation, refusal: Refusal) {
    let (status, name) = refusal.parts();
    let reference = format!("#/components/responses/{name}");
    let answers = &mut operation.responses.get_or_insert_default().responses;
    answers.insert(StatusCode::Code(status), ReferenceOr::Reference { reference, summary: None, description: None });
}

/// What an operation is, in words.
pub(crate) fn says(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| operation.summary(summary).description(description)
}

/// The same for an operation that, beside what its extractors refuse, turns some callers away itself.
pub(crate) fn refusing(
    refusals: &'static [Refusal],
    said: impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_>,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| {
        let mut operation = said(operation);
        for refusal in refusals {
            may_refuse(operation.inner_mut(), *refusal);
        }
        operation
    }
}

/// A header that may be given.
pub(crate) fn add_header_parameter(operation: &mut Operation, name: &str, description: &str) {
    let schema = serde_json::json!({ "type": "string", "description": description });
    let parameter_data = parameter(name, false, &schema);
    operation.parameters.push(ReferenceOr::Item(Parameter::Header { parameter_data, style: HeaderStyle::Simple }));
}

/// The schema of what an operation reads.
pub(crate) fn input_schema<T: JsonSchema>(operation: &mut Operation) -> Schema {
    carry::<T>(operation, Contract::Deserialize)
}

/// The schema of what an operation writes.
pub(crate) fn output_schema<T: JsonSchema>(operation: &mut Operation) -> Schema {
    carry::<T>(operation, Contract::Serialize)
}

/// Makes the schema of `T`, and has the operation carry all that it refers to.
fn carry<T: JsonSchema>(operation: &mut Operation, contract: Contract) -> Schema {
    let carried = operation.extensions.entry(CARRIED.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(loads) = carried else {
        return Schema::default();
    };
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = format!("/{CARRIED}/{}", loads.len()).into();
            settings.contract = contract;
        })
        .into_generator();
    let schema = generator.subschema_for::<T>();
    let is_output = *generator.contract() == Contract::Serialize;
    loads.push(serde_json::json!({ "is_output": is_output, "schemas": generator.take_definitions(true) }));
    schema
}

/// The schema that a reference of [`carry`] leads to; any other as it is.
fn resolved<'a>(operation: &'a Operation, schema: &'a Value) -> &'a Value {
    let target = || {
        let (load, name) = schema
            .get("$ref")?
            .as_str()?
            .strip_prefix("#/")?
            .strip_prefix(CARRIED)?
            .strip_prefix('/')?
            .split_once('/')?;
        operation.extensions.get(CARRIED)?.get(load.parse::<usize>().ok()?)?.get("schemas")?.get(name)
    };
    target().unwrap_or(schema)
}

pub(crate) fn set_body(operation: &mut Operation, media: &str, schema: Schema) {
    operation.request_body = Some(ReferenceOr::Item(request_body(media, schema)));
}

/// A parameter for each field of `T`.
pub(crate) fn parameters<T: JsonSchema>(operation: &mut Operation) -> Vec<ParameterData> {
    let schema = input_schema::<T>(operation).to_value();
    let object = resolved(operation, &schema);
    let is_required = |name: &str| object["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    let fields = object["properties"].as_object().into_iter().flatten();
    fields.map(|(name, schema)| parameter(name, is_required(name), schema)).collect()
}

/// The parameters of a route: a struct names them, a tuple or a single value has them in their order.
pub(crate) fn add_path_parameters<T: JsonSchema>(operation: &mut Operation) {
    let schema = input_schema::<T>(operation).to_value();
    let target = resolved(operation, &schema);
    let found: Vec<ParameterData> = match (target["properties"].as_object(), target["prefixItems"].as_array()) {
        (Some(fields), _) => fields.iter().map(|(name, schema)| parameter(name, true, schema)).collect(),
        (None, Some(items)) => {
            (0..).zip(items).map(|(i, schema)| parameter(&document::nth_name(i), true, schema)).collect()
        }
        (None, None) => vec![parameter(&document::nth_name(0), true, &schema)],
    };
    let parameters =
        found.into_iter().map(|parameter_data| Parameter::Path { parameter_data, style: PathStyle::Simple });
    operation.parameters.extend(parameters.map(ReferenceOr::Item));
}

fn parameter(name: &str, required: bool, schema: &Value) -> ParameterData {
    let mut schema = schema.clone();
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    ParameterData {
        name: name.to_owned(),
        description: description.as_ref().and_then(Value::as_str).map(str::to_owned),
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(SchemaObject {
            json_schema: Schema::try_from(schema).unwrap_or_default(),
            external_docs: None,
            example: None,
        }),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    }
}
