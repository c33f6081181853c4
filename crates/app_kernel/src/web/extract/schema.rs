//! The JSON Schema of a type, made once, and the way through it along a path of keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// A type's JSON Schema, as it is read from input.
#[derive(Debug)]
pub(crate) struct Schema(pub(super) Value);

impl Schema {
    /// The schema of `T`, made once.
    pub(crate) fn of<T: JsonSchema>() -> Arc<Schema> {
        static KNOWN: LazyLock<RwLock<HashMap<Cow<'static, str>, Arc<Schema>>>> = LazyLock::new(RwLock::default);
        let id = T::schema_id();
        if let Some(schema) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Arc::clone(schema);
        }
        let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        let schema = Arc::new(Schema(generator.into_root_schema_for::<T>().to_value()));
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&schema));
        schema
    }

    /// The schema itself.
    pub(crate) fn root(&self) -> SchemaAt<'_> {
        SchemaAt { root: &self.0, node: &self.0 }
    }
}

/// A place in a schema, for those who follow a path through it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaAt<'a> {
    root: &'a Value,
    node: &'a Value,
}

impl<'a> SchemaAt<'a> {
    fn at(self, node: &'a Value) -> Self {
        SchemaAt { node, ..self }
    }

    /// This place and all alternatives at it, references followed.
    fn views(self) -> Vec<SchemaAt<'a>> {
        let (mut open, mut views) = (vec![self], Vec::new());
        while let Some(place) = open.pop() {
            if views.len() == 64 {
                break;
            }
            views.push(place);
            let target = place.node.get("$ref").and_then(Value::as_str).and_then(|to| resolve(self.root, to));
            open.extend(target.map(|node| self.at(node)));
            for word in ["allOf", "anyOf", "oneOf"] {
                let branches = place.node.get(word).and_then(Value::as_array).into_iter().flatten();
                open.extend(branches.rev().map(|node| self.at(node)));
            }
        }
        views
    }

    /// The property of this name, or else the one that only differs in case, `_` and `-` (a field that serde renames).
    pub(crate) fn property(self, name: &str) -> Option<(&'a str, SchemaAt<'a>)> {
        let properties =
            || self.views().into_iter().filter_map(|view| view.node.get("properties")?.as_object()).flatten();
        let found = properties().find(|(key, _)| *key == name).or_else(|| {
            let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
            let wanted = plain(name);
            properties().find(|(key, _)| plain(key) == wanted)
        });
        found.map(|(key, node)| (key.as_str(), self.at(node)))
    }

    /// What values of a map hold.
    pub(crate) fn map_value(self) -> Option<SchemaAt<'a>> {
        let node = |view: SchemaAt<'a>| view.node.get("additionalProperties").filter(|node| node.is_object());
        self.views().into_iter().find_map(node).map(|node| self.at(node))
    }

    /// What the elements of a list hold.
    pub(crate) fn element(self) -> Option<SchemaAt<'a>> {
        self.views().into_iter().find_map(|view| view.node.get("items")).map(|node| self.at(node))
    }

    /// Whether a value of this JSON type may stand here.
    pub(crate) fn allows(self, wanted: &str) -> bool {
        self.views().into_iter().any(|view| {
            let is_type = view.node.as_object().is_some_and(|node| types(node).any(|ty| ty == wanted));
            let is_choice = |value: &Value| type_of(value) == wanted;
            is_type
                || view.node.get("const").is_some_and(is_choice)
                || view.node.get("enum").and_then(Value::as_array).is_some_and(|all| all.iter().any(is_choice))
        })
    }
}

pub(super) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// The names of the types that a value may have.
pub(super) fn types(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let ty = schema.get("type");
    let list = ty.and_then(Value::as_array).into_iter().flatten();
    ty.into_iter().chain(list).filter_map(Value::as_str)
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn a_renamed_property_is_found_by_its_plain_name() {
        #[derive(Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        #[allow(dead_code)]
        struct Renamed {
            first_name: String,
            list_items: Vec<Item>,
        }
        #[derive(Deserialize, JsonSchema)]
        #[allow(dead_code)]
        struct Item {
            price: f64,
        }
        let schema = Schema::of::<Renamed>();
        assert_eq!(schema.root().property("first_name").expect("a property").0, "firstName");
        let (_, items) = schema.root().property("list_items").expect("a property");
        assert_eq!(items.element().expect("elements").property("price").expect("a property").0, "price");
        assert!(schema.root().property("last_name").is_none());
    }
}
