//! What is wrong with a JSON value, all at once. serde stops at the first mistake; a client that fills in a form wants
//! to hear of all of them. So when serde refused a value, it is held against the type's own JSON Schema here, and every
//! field that is missing, unknown or of the wrong kind is named.
//!
//! This knows what schemars writes for Rust types, and only ever runs on input that serde has refused already: what it
//! does not know, it lets pass, and serde's own sentence is the answer.

mod single;

use serde_json::{Map, Value};

use self::single::{counted, mismatch, number_fault, text_fault};
use super::schema::{Schema, resolve};
use crate::base::error::FieldError;

/// The most steps that one check takes: a schema of alternatives within alternatives could ask for very many.
const MAX_STEPS: usize = 100_000;
/// How deep a check goes: some steps for each of the levels that JSON may have.
const MAX_DEPTH: usize = 6 * super::MAX_JSON_DEPTH;
/// The most mistakes that are looked for.
const MAX_FAULTS: usize = 1_000;

impl Schema {
    /// Everything that is wrong with `value`; nothing where the schema has no objection.
    pub(crate) fn faults(&self, value: &Value) -> Vec<FieldError> {
        let mut check = Check { root: &self.0, steps: 0, depth: 0 };
        let mut faults = Vec::new();
        check.value(&self.0, value, &mut String::new(), &mut faults);
        if check.steps >= MAX_STEPS {
            return Vec::new(); // An unfinished comparison of alternatives may name the wrong one.
        }
        faults.into_iter().map(Fault::into_field_error).collect()
    }
}

/// A mistake, with what is needed to find out which alternative was meant.
struct Fault {
    pointer: String,
    what: What,
}

enum What {
    Missing,
    Unknown,
    /// It must be one of these types.
    Type(Vec<&'static str>),
    /// It must be one of these values.
    Choice(Vec<String>),
    Other(String),
}

impl Fault {
    fn into_field_error(self) -> FieldError {
        let message = match self.what {
            What::Missing => "is required".to_owned(),
            What::Unknown => "is not a known field".to_owned(),
            What::Type(names) => format!("must be {}", one_of(names.into_iter().map(str::to_owned).collect())),
            What::Choice(choices) if choices.len() == 1 => format!("must be {}", choices[0]),
            What::Choice(choices) => format!("must be one of {}", choices.join(", ")),
            What::Other(message) => message,
        };
        FieldError { pointer: self.pointer, message }
    }

    /// How much this speaks against an alternative that was tried at `pointer`: what lies deeper says little.
    fn weight(&self, pointer: &str) -> usize {
        let below = self.pointer[pointer.len()..].matches('/').count();
        match (&self.what, below) {
            (What::Type(_), 0) => 10_000,
            (What::Choice(_), 0 | 1) => 1_000,
            (_, 0 | 1) => 1,
            _ => 0,
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(mut words: Vec<String>) -> String {
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
}

/// Appends a key to a JSON Pointer (RFC 6901).
pub(crate) fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

struct Check<'a> {
    root: &'a Value,
    steps: usize,
    depth: usize,
}

impl<'a> Check<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, pointer: &mut String, faults: &mut Vec<Fault>) {
        self.steps += 1;
        if self.depth >= MAX_DEPTH {
            self.steps = MAX_STEPS;
        }
        if self.steps >= MAX_STEPS || faults.len() >= MAX_FAULTS {
            return;
        }
        self.depth += 1;
        self.checked(schema, value, pointer, faults);
        self.depth -= 1;
    }

    fn checked(&mut self, schema: &'a Value, value: &Value, pointer: &mut String, faults: &mut Vec<Fault>) {
        let Some(schema) = schema.as_object() else {
            if schema == &Value::Bool(false) {
                faults.push(Fault { pointer: pointer.clone(), what: What::Unknown });
            }
            return;
        };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|to| resolve(self.root, to)) {
            self.value(target, value, pointer, faults);
        }
        if let Some(what) = mismatch(schema, value) {
            faults.push(Fault { pointer: pointer.clone(), what });
            return; // What a thing of another kind should hold is of no interest.
        }
        match value {
            Value::Object(object) => self.object(schema, object, pointer, faults),
            Value::Array(list) => self.array(schema, list, pointer, faults),
            Value::String(text) => {
                faults.extend(text_fault(schema, text).map(|what| Fault { pointer: pointer.clone(), what }))
            }
            Value::Number(number) => {
                faults.extend(number_fault(schema, number).map(|what| Fault { pointer: pointer.clone(), what }));
            }
            Value::Null | Value::Bool(_) => {}
        }
        for part in branches(schema, "allOf") {
            self.value(part, value, pointer, faults);
        }
        for word in ["anyOf", "oneOf"] {
            self.alternatives(branches(schema, word), value, pointer, faults);
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        object: &Map<String, Value>,
        pointer: &mut String,
        faults: &mut Vec<Fault>,
    ) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !object.contains_key(*name)) {
            faults.push(Fault { pointer: below(pointer, name), what: What::Missing });
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties"));
        for (key, value) in object {
            if let Some(property) = properties.and_then(|properties| properties.get(key)).or(others) {
                let length = pointer.len();
                push_key(pointer, key);
                self.value(property, value, pointer, faults);
                pointer.truncate(length);
            }
        }
    }

    fn array(&mut self, schema: &'a Map<String, Value>, list: &[Value], pointer: &mut String, faults: &mut Vec<Fault>) {
        let bound = |word: &str| schema.get(word).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems").unwrap_or(usize::MAX));
        if !(least..=most).contains(&list.len()) {
            let what = match (least, most) {
                (least, most) if least == most => {
                    format!("must have {}", counted(least, "element"))
                }
                (least, _) if list.len() < least => {
                    format!("must have at least {}", counted(least, "element"))
                }
                _ => format!("must have at most {}", counted(most, "element")),
            };
            faults.push(Fault { pointer: pointer.clone(), what: What::Other(what) });
        }
        let mut first = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        for (i, element) in list.iter().take(most).enumerate() {
            let Some(item) = first.next().or_else(|| schema.get("items")) else {
                break;
            };
            let length = pointer.len();
            push_key(pointer, &i.to_string());
            self.value(item, element, pointer, faults);
            pointer.truncate(length);
        }
    }

    /// One alternative must fit. Where none does, the mistakes of the one that was most likely meant are reported.
    fn alternatives(&mut self, branches: &'a [Value], value: &Value, pointer: &mut String, faults: &mut Vec<Fault>) {
        let mut tried: Vec<Vec<Fault>> = Vec::with_capacity(branches.len());
        for branch in branches {
            let mut found = Vec::new();
            self.value(branch, value, pointer, &mut found);
            if found.is_empty() {
                return;
            }
            tried.push(found);
        }
        let weight = |found: &[Fault]| found.iter().map(|fault| fault.weight(pointer)).sum::<usize>();
        let Some(best) = (0..tried.len()).min_by_key(|i| weight(&tried[*i])) else {
            return;
        };
        let mut meant = tried.swap_remove(best);
        widen(&mut meant, &tried, pointer);
        faults.append(&mut meant);
    }
}

/// Where every alternative asks for other values or types at one place, the answer names them all.
fn widen(meant: &mut Vec<Fault>, others: &[Vec<Fault>], pointer: &str) {
    let Some(fault) = meant.iter_mut().find(|fault| fault.weight(pointer) >= 1_000) else {
        return;
    };
    let place = fault.pointer.clone();
    let mut is_choice_everywhere = matches!(fault.what, What::Choice(_));
    for other in others.iter().flatten().filter(|other| other.pointer == place) {
        match (&mut fault.what, &other.what) {
            (What::Choice(choices), What::Choice(more)) => {
                choices.extend(more.iter().filter(|choice| !choices.contains(choice)).cloned().collect::<Vec<_>>());
            }
            (What::Type(names), What::Type(more)) => {
                names.extend(
                    more.iter().filter(|name| **name != "null" && !names.contains(name)).copied().collect::<Vec<_>>(),
                );
            }
            _ => is_choice_everywhere = false,
        }
    }
    // With a wrong tag nobody knows which fields should be there.
    if is_choice_everywhere && place.len() > pointer.len() {
        meant.retain(|fault| fault.pointer == place);
    }
}

fn branches<'a>(schema: &'a Map<String, Value>, word: &str) -> &'a [Value] {
    schema.get(word).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn below(pointer: &str, key: &str) -> String {
    let mut pointer = pointer.to_owned();
    push_key(&mut pointer, key);
    pointer
}

#[cfg(test)]
#[allow(dead_code)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Order {
        name: String,
        color: Color,
        shape: Option<Shape>,
        items: Vec<Item>,
        #[serde(default)]
        labels: BTreeMap<String, i32>,
        size: Option<(u8, u8)>,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Item {
        price: f64,
        count: u32,
        due: Option<jiff::Timestamp>,
        parent: Option<Box<Item>>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Color {
        Red,
        /// As the sky.
        Blue,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Shape {
        Circle { radius: f64 },
        Box { width: f64, height: f64 },
    }

    #[derive(Deserialize, JsonSchema)]
    enum Outer {
        Nothing,
        Circle { radius: f64, x: i32, y: i32 },
        Pair(String, i64),
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Named { name: String },
    }

    fn faults<T: JsonSchema>(value: &Value) -> Vec<String> {
        let faults = Schema::of::<T>().faults(value);
        faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.message)).collect()
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let cases = [
            (json!({ "name": "a", "color": "red", "items": [] }), vec![]),
            (json!(7), vec![" must be an object"]),
            (json!({}), vec!["/name is required", "/color is required", "/items is required"]),
            (
                json!({ "name": 1, "color": "green", "items": {}, "extra": 1 }),
                vec![
                    "/name must be a text",
                    "/color must be one of `red`, `blue`",
                    "/items must be a list",
                    "/extra is not a known field",
                ],
            ),
            (
                json!({ "name": "a", "color": "red", "items": [
                    { "price": "1", "count": 1 }, { "price": 1, "count": -1 }, { "price": 2.5, "count": 1.5 },
                    { "price": 1, "count": 4_294_967_296_u64, "due": "tomorrow" },
                    { "price": 1, "count": 1, "parent": { "price": null, "count": 1 } } ] }),
                vec![
                    "/items/0/price must be a number",
                    "/items/1/count must be at least 0",
                    "/items/2/count must be a whole number",
                    "/items/3/count must be at most 4294967295",
                    "/items/3/due must be a time such as 2026-01-30T12:00:00Z",
                    "/items/4/parent/price must be a number",
                ],
            ),
            (
                json!({ "name": "a", "color": 7, "items": [], "labels": { "a/b": "x", "c~d": 1.5 }, "size": [1, 256] }),
                vec![
                    "/color must be a text",
                    "/labels/a~1b must be a whole number",
                    "/labels/c~0d must be a whole number",
                    "/size/1 must be at most 255",
                ],
            ),
            (
                json!({ "name": "a", "color": "red", "items": [], "size": [1, 2, 3] }),
                vec!["/size must have 2 elements"],
            ),
        ];
        for (value, expected) in cases {
            let mut found = faults::<Order>(&value);
            let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn of_several_alternatives_the_one_that_was_meant_is_explained() {
        let order = |shape: Value| json!({ "name": "a", "color": "red", "items": [], "shape": shape });
        assert_eq!(faults::<Order>(&order(Value::Null)), [""; 0]);
        assert_eq!(faults::<Order>(&order(json!({ "kind": "circle" }))), ["/shape/radius is required"]);
        assert_eq!(
            faults::<Order>(&order(json!({ "kind": "box", "width": "1" }))),
            ["/shape/height is required", "/shape/width must be a number"]
        );
        assert_eq!(
            faults::<Order>(&order(json!({ "kind": "hexagon" }))),
            ["/shape/kind must be one of `circle`, `box`"]
        );
        assert_eq!(faults::<Order>(&order(json!(7))), ["/shape must be an object"]);

        assert_eq!(
            faults::<Outer>(&json!({ "Circle": { "radius": "x", "x": 1.5, "y": true } })),
            ["/Circle/radius must be a number", "/Circle/x must be a whole number", "/Circle/y must be a whole number"]
        );
        assert_eq!(faults::<Outer>(&json!({ "Pair": ["a"] })), ["/Pair must have 2 elements"]);
        assert_eq!(faults::<Outer>(&json!("Nothing")), [""; 0]);
        assert_eq!(faults::<Outer>(&json!("Something")), [" must be `Nothing`"]);

        assert_eq!(faults::<Either>(&json!("x")), [" must be a whole number or an object"]);
        assert_eq!(faults::<Either>(&json!({ "name": 1 })), ["/name must be a text"]);
    }

    /// An alternative that holds itself twice could double the work at each level.
    #[test]
    fn a_check_ends_whatever_the_schema_and_the_value_are() {
        #[derive(Deserialize, JsonSchema)]
        #[serde(untagged)]
        enum Tree {
            A(Vec<Tree>),
            B(Vec<Tree>),
            C(Vec<Tree>),
        }
        let deep = (0..60).fold(json!("leaf"), |inner, _| json!([inner]));
        assert_eq!(faults::<Tree>(&deep), [""; 0]);
        let endless = Schema(json!({ "$ref": "#" }));
        assert_eq!(endless.faults(&json!(1)), []);
    }

    #[test]
    fn a_mistake_on_the_deepest_level_is_named() {
        #[derive(Deserialize, JsonSchema)]
        struct Node {
            next: Option<Box<Node>>,
            n: i32,
        }
        let deep = (1..crate::web::extract::MAX_JSON_DEPTH)
            .fold(json!({ "n": "x" }), |next, _| json!({ "n": 1, "next": next }));
        assert_eq!(faults::<Node>(&deep), [format!("{}/n must be a whole number", "/next".repeat(63))]);
    }
}
