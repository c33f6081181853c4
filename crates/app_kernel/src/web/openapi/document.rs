//! From what aide collected to the document that is served: names for operations and schemas that do not change with the
//! order of things, and on every operation the answers that it may always give.

use std::collections::{BTreeMap, BTreeSet};

use aide::openapi::OpenApi;
use axum::body::Bytes;
use axum::http::HeaderValue;
use serde_json::{Map, Value, json};

use super::before::Before;
use super::{API_KEY, BEARER, CARRIED, PASSWORD};
use crate::web::etag;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const SCHEMAS: &str = "#/components/schemas/";

/// The finished document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// As it is served.
    pub(crate) json: Bytes,
    /// Changes when the document does.
    pub(crate) etag: HeaderValue,
}

impl Document {
    /// Finishes what aide collected for a service of this name.
    pub(crate) fn new(open_api: OpenApi, prefix: &str, name: &str, version: &str, before: &Before<'_>) -> Self {
        let mut document = serde_json::to_value(open_api).unwrap_or_default();
        document["info"] = json!({ "title": name, "version": version });
        document["servers"] = json!([{ "url": "/" }]);
        let mut paths = document["paths"].as_object_mut().map(std::mem::take).unwrap_or_default();
        let has_login = paths.contains_key(&format!("{prefix}/auth/login"));
        let mut schemas =
            Schemas::new(document["components"]["schemas"].as_object_mut().map(std::mem::take).unwrap_or_default());

        let mut tags = Vec::new();
        let mut ids = BTreeSet::new();
        let (mut is_secured, mut takes_api_keys) = (false, false);
        for_each_operation(&mut paths, |_, _, operation| schemas.collect(operation));
        schemas.name_all();
        for_each_operation(&mut paths, |path, method, operation| {
            schemas.settle(operation);
            let route = path.strip_prefix(prefix).unwrap_or(path);
            name_operation(operation, method, route, &mut ids);
            tag_operation(operation, route, &mut tags);
            describe_parameters(operation, path);
            is_secured |= secure(operation, has_login);
            takes_api_keys |= names_scheme(operation, API_KEY);
            before.describe(operation, path, method);
            describe_answers(operation);
        });
        let wildcards_plain = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item));
        document["paths"] = Value::Object(wildcards_plain.collect());
        document["tags"] = tags.iter().map(|tag| json!({ "name": tag })).collect();
        document["components"] = json!({ "responses": problem_responses() });
        before.describe_components(&mut document["components"]);
        if is_secured {
            document["components"]["securitySchemes"] = security_schemes(prefix, has_login);
        }
        if takes_api_keys {
            document["components"]["securitySchemes"][API_KEY] = json!({
                "type": "apiKey", "in": "header", "name": "X-API-Key",
                "description": "An API key; as `Authorization: Bearer …` it does as well"
            });
        }
        let used = schemas.used_by(&document);
        document["components"]["schemas"] = Value::Object(used);

        let json = Bytes::from(document.to_string());
        let etag = etag::of(&json);
        Document { json, etag }
    }
}

fn for_each_operation(paths: &mut Map<String, Value>, mut visit: impl FnMut(&str, &str, &mut Map<String, Value>)) {
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) {
                visit(path, method, operation);
            }
        }
    }
}

/// `get` and `/widgets/{id}/parts` make `get_widgets_by_id_parts`: the same name as long as the route is the same.
fn name_operation(operation: &mut Map<String, Value>, method: &str, route: &str, ids: &mut BTreeSet<String>) {
    let mut id = operation.get("operationId").and_then(Value::as_str).map(str::to_owned).unwrap_or_else(|| {
        let word = |segment: &str| match parameter_name(segment) {
            Some(name) => format!("_by_{name}"),
            None => format!("_{segment}"),
        };
        let words: String = route.split('/').filter(|segment| !segment.is_empty()).map(word).collect();
        let id: String = words.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("{method}{}", if id.is_empty() { "_root" } else { &id })
    });
    let base = id.clone();
    let mut n = 2;
    while !ids.insert(id.clone()) {
        id = format!("{base}_{n}");
        n += 1;
    }
    operation.insert("operationId".to_owned(), id.into());
}

fn tag_operation(operation: &mut Map<String, Value>, route: &str, tags: &mut Vec<String>) {
    let first = route.split('/').find(|segment| !segment.is_empty() && parameter_name(segment).is_none());
    let own = operation.entry("tags").or_insert_with(|| json!([first.unwrap_or("root")]));
    for tag in own.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
}

/// `id` for `{id}` and for `{*id}`.
fn parameter_name(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.strip_prefix('*').unwrap_or(name))
}

/// What the nth parameter of a path is called until the path is known. No real one has such a name.
pub(super) fn nth_name(n: usize) -> String {
    format!("{{{n}}}")
}

/// Gives parameters without a name the one they have in the path, and describes those that no extractor named.
fn describe_parameters(operation: &mut Map<String, Value>, path: &str) {
    let names: Vec<&str> = path.split('/').filter_map(parameter_name).collect();
    let mut described: Vec<Value> = match operation.remove("parameters") {
        Some(Value::Array(parameters)) => parameters,
        _ => Vec::new(),
    };
    // Two extractors may read the same parameter; the first description stands.
    let mut seen = BTreeSet::new();
    described.retain_mut(|parameter| {
        if parameter["in"] == "path" {
            if let Some(n) = (0..names.len()).find(|n| parameter["name"] == nth_name(*n)) {
                parameter["name"] = names[n].into();
            }
            parameter["required"] = true.into();
            if !names.iter().any(|name| parameter["name"] == *name) {
                return false;
            }
        }
        seen.insert((parameter["in"].to_string(), parameter["name"].to_string()))
    });
    for name in &names {
        if !described.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == *name) {
            described.push(json!({ "in": "path", "name": name, "required": true, "schema": { "type": "string" } }));
        }
    }
    if !described.is_empty() {
        described.sort_by_key(|parameter| {
            names.iter().position(|name| parameter["in"] == "path" && parameter["name"] == *name).unwrap_or(names.len())
        });
        operation.insert("parameters".to_owned(), described.into());
    }
}

/// Whether the operation needs a token. Without a login route nobody can get one by name and password.
fn secure(operation: &mut Map<String, Value>, has_login: bool) -> bool {
    let Some(Value::Array(requirements)) = operation.get_mut("security") else {
        return false;
    };
    requirements.retain(|requirement| has_login || requirement.get(PASSWORD).is_none());
    !requirements.is_empty()
}

fn names_scheme(operation: &Map<String, Value>, scheme: &str) -> bool {
    let requirements = operation.get("security").and_then(Value::as_array).into_iter().flatten();
    requirements.into_iter().any(|requirement| requirement.get(scheme).is_some())
}

fn describe_answers(operation: &mut Map<String, Value>) {
    let has_query = |operation: &Map<String, Value>| {
        operation.get("parameters").and_then(Value::as_array).is_some_and(|all| all.iter().any(|p| p["in"] == "query"))
    };
    let reads = operation.contains_key("requestBody") || has_query(operation);
    let is_secured = operation.contains_key("security");
    let answers = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(answers) = answers.as_object_mut() else {
        return;
    };
    if !answers.keys().any(|status| status.starts_with(['1', '2', '3'])) {
        answers.insert("200".to_owned(), json!({ "description": "The answer" }));
    }
    let mut add = |status: &str, is_given: bool, name: &str| {
        if is_given {
            answers.entry(status).or_insert_with(|| json!({ "$ref": format!("#/components/responses/{name}") }));
        }
    };
    add("401", is_secured, "Unauthenticated");
    add("422", reads, "Unprocessable");
    let is_ours = |answer: &Value| answer.pointer("/content/application~1problem+json").is_some();
    if answers.get("default").is_none_or(is_ours) {
        answers.shift_remove("default");
        answers.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    }
}

/// A problem document, about what this says.
pub(super) fn problem_response(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } }
    })
}

fn problem_responses() -> Value {
    let answer = problem_response;
    json!({
        "Problem": answer("What went wrong (RFC 9457)"),
        "Unauthenticated": answer("Nobody is signed in"),
        "Forbidden": answer("Whoever asks may not do this"),
        "NotFound": answer("It is not there, or not for whoever asks"),
        "Unprocessable": answer("The input does not fit; `errors` names every field"),
    })
}

fn security_schemes(prefix: &str, has_login: bool) -> Value {
    let mut schemes = json!({
        BEARER: { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token, or an API key" }
    });
    if has_login {
        schemes[PASSWORD] = json!({
            "type": "oauth2",
            "description": "Signs in with address and password",
            "flows": { "password": { "tokenUrl": format!("{prefix}/auth/login"), "scopes": {} } }
        });
    }
    schemes
}

/// All schemas that operations brought along, each once. Two types of one name get two names; so does a type that is
/// read in one shape and written in another: what is only read is called `…Input` then.
struct Schemas {
    /// By final name.
    named: BTreeMap<String, Value>,
    found: Vec<Found>,
}

struct Found {
    base: String,
    name: String,
    /// The schema and all that it refers to, as text: equal for equal types.
    identity: String,
    is_output: bool,
    schema: Value,
    /// What its references are the names of.
    refers: BTreeMap<String, String>,
}

impl Schemas {
    fn new(known: Map<String, Value>) -> Self {
        let mut schemas = Schemas { named: known.into_iter().collect(), found: Vec::new() };
        // Every document describes problems, even where no handler can fail.
        let mut operation = aide::openapi::Operation::default();
        super::output_schema::<crate::web::reply::ProblemBody<'static>>(&mut operation);
        if let Ok(Value::Object(mut operation)) = serde_json::to_value(operation) {
            schemas.collect(&mut operation);
        }
        schemas
    }

    /// Takes the schemas that an operation carries; its references now hold identities until [`Schemas::settle`].
    fn collect(&mut self, operation: &mut Map<String, Value>) {
        let Some(Value::Array(loads)) = operation.shift_remove(CARRIED) else {
            return;
        };
        let mut identities = BTreeMap::new();
        for (n, mut load) in loads.into_iter().enumerate() {
            let is_output = load["is_output"] == true;
            let schemas = load["schemas"].as_object_mut().map(std::mem::take).unwrap_or_default();
            let start = format!("#/{CARRIED}/{n}/");
            let ids: BTreeMap<String, String> =
                schemas.keys().map(|name| (format!("{start}{name}"), identity(&schemas, &start, name))).collect();
            for (name, schema) in &schemas {
                let identity = ids[&format!("{start}{name}")].clone();
                match self.found.iter_mut().find(|found| found.identity == identity) {
                    Some(found) => found.is_output |= is_output,
                    None => self.found.push(Found {
                        base: name.clone(),
                        name: String::new(),
                        identity,
                        is_output,
                        schema: schema.clone(),
                        refers: ids.clone(),
                    }),
                }
            }
            identities.extend(ids);
        }
        for_each_reference(operation.values_mut(), &mut |reference| {
            if let Some(identity) = identities.get(reference) {
                *reference = identity.clone();
            }
        });
    }

    fn name_all(&mut self) {
        // What is written keeps the plain name, whichever operation came first.
        for is_output in [true, false] {
            for i in 0..self.found.len() {
                if self.found[i].is_output != is_output {
                    continue;
                }
                let base = self.found[i].base.clone();
                let is_taken = |name: &str| self.named.contains_key(name);
                let first = if is_output || !is_taken(&base) { base } else { format!("{base}Input") };
                let mut names = std::iter::once(first.clone()).chain((2..).map(|n| format!("{first}{n}")));
                let name = names.find(|name| !is_taken(name)).unwrap_or_default();
                self.named.insert(name.clone(), Value::Null);
                self.found[i].name = name;
            }
        }
        let names: BTreeMap<String, String> =
            self.found.iter().map(|found| (found.identity.clone(), format!("{SCHEMAS}{}", found.name))).collect();
        for found in &mut self.found {
            for_each_reference([&mut found.schema], &mut |reference| {
                if let Some(name) = found.refers.get(reference).and_then(|identity| names.get(identity)) {
                    *reference = name.clone();
                }
            });
            self.named.insert(found.name.clone(), found.schema.clone());
        }
    }

    /// Turns an operation's references into those of the finished document.
    fn settle(&self, operation: &mut Map<String, Value>) {
        for_each_reference(operation.values_mut(), &mut |reference| {
            if let Some(found) = self.found.iter().find(|found| found.identity == *reference) {
                *reference = format!("{SCHEMAS}{}", found.name);
            }
        });
    }

    /// The schemas that the document refers to, directly or not.
    fn used_by(&self, document: &Value) -> Map<String, Value> {
        let mut used = BTreeMap::new();
        let mut open = references(document);
        while let Some(reference) = open.pop() {
            let Some((name, schema)) = reference.strip_prefix(SCHEMAS).and_then(|name| self.named.get_key_value(name))
            else {
                continue;
            };
            if used.insert(name.clone(), schema.clone()).is_none() {
                open.extend(references(schema));
            }
        }
        used.into_iter().collect()
    }
}

/// The name, the schema and everything it leads to, without the place where they were carried.
fn identity(schemas: &Map<String, Value>, start: &str, name: &str) -> String {
    let mut reached = BTreeMap::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        let Some(schema) = schemas.get(&name).filter(|_| !reached.contains_key(&name)) else {
            continue;
        };
        open.extend(references(schema).into_iter().filter_map(|to| to.strip_prefix(start).map(str::to_owned)));
        reached.insert(name, schema.to_string().replace(start, "#/"));
    }
    format!("{name} {reached:?}")
}

fn for_each_reference<'a>(values: impl IntoIterator<Item = &'a mut Value>, visit: &mut impl FnMut(&mut String)) {
    for value in values {
        match value {
            Value::Array(list) => for_each_reference(list.iter_mut(), visit),
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get_mut("$ref") {
                    visit(reference);
                }
                for_each_reference(object.values_mut(), visit);
            }
            _ => {}
        }
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(references).collect(),
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(object.values().flat_map(references)).collect()
        }
        _ => Vec::new(),
    }
}
