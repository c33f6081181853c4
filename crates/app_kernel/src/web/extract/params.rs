//! Parameters as `name=value` texts: what stands behind `?`, and the bodies of HTML forms. The texts become numbers and
//! truth values as the type's schema wants them, so lists by repeated names, optional empty fields and flattened structs
//! work as one would think.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Parameter, QueryStyle};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check::push_key;
use super::schema::{Schema, SchemaAt};
use super::{media_type, read_body, serde_fault, unprocessable, unsupported_media_type, wrapper};
use crate::base::error::{Error, FieldError, Result};
use crate::web::openapi;

/// The parameters behind `?`. A repeated name makes a list; unknown names are ignored unless `T` denies them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query<T>(pub T);

wrapper!(Query);

/// The body of an HTML form, `application/x-www-form-urlencoded`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form<T>(pub T);

wrapper!(Form);

const URLENCODED: &str = "application/x-www-form-urlencoded";

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + JsonSchema,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        read("the query", parts.uri.query().unwrap_or_default()).map(Query)
    }
}

impl<T, S> FromRequest<S> for Form<T>
where
    T: DeserializeOwned + JsonSchema,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if media_type(request.headers()).as_deref() != Some(URLENCODED) {
            return Err(unsupported_media_type(URLENCODED));
        }
        let body = read_body(request, state).await?;
        let text = std::str::from_utf8(&body).map_err(|_| not_utf8("the form"))?;
        read("the form", text).map(Form)
    }
}

fn not_utf8(what: &str) -> Error {
    Error::invalid(format!("{what} is not UTF-8")).code("malformed_parameters")
}

fn read<T: DeserializeOwned + JsonSchema>(what: &str, text: &str) -> Result<T> {
    let schema = Schema::of::<T>();
    let (value, repeated) = to_json(schema.root(), pairs(text).ok_or_else(|| not_utf8(what))?);
    if repeated.is_empty()
        && let Ok(read) = T::deserialize(&value)
    {
        return Ok(read);
    }
    let fault = serde_path_to_error::deserialize::<_, T>(&value).err();
    let mut error = unprocessable::<T>(what, &value, fault.map(|fault| serde_fault(fault.path(), fault.inner())));
    error = error.fields(repeated);
    Err(error)
}

/// The names and values of `a=1&b=2`, decoded. None where they are not UTF-8.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Undoes `+` and `%20`. A `%` without two digits behind it stands for itself, as browsers have it.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: Option<&u8>| char::from(*digit?).to_digit(16).and_then(|n| u8::try_from(n).ok());
        rest = match (first, hex(tail.first()), hex(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                &tail[2..]
            }
            _ => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// The parameters as the JSON object that the schema describes, and the names that were given too often.
fn to_json(schema: SchemaAt<'_>, pairs: Vec<(String, String)>) -> (Value, Vec<FieldError>) {
    let (mut object, mut repeated) = (Map::new(), Vec::new());
    for (name, text) in pairs {
        let place = schema.property(&name).filter(|(key, _)| *key == name).map(|(_, place)| place);
        let place = place.or_else(|| schema.map_value());
        let is_list = place.is_some_and(|place| place.allows("array"));
        match object.get_mut(&name) {
            Some(Value::Array(list)) if is_list => list.push(scalar(place.and_then(SchemaAt::element), text)),
            Some(_) if place.is_some() => {
                let mut pointer = String::new();
                push_key(&mut pointer, &name);
                let fault = FieldError { pointer, message: "is given more than once".to_owned() };
                if !repeated.contains(&fault) {
                    repeated.push(fault);
                }
            }
            _ if is_list => {
                let first = scalar(place.and_then(SchemaAt::element), text);
                object.insert(name, Value::Array(vec![first]));
            }
            _ => {
                object.insert(name, scalar(place, text));
            }
        }
    }
    (Value::Object(object), repeated)
}

/// One text as the kind of value that may stand there; as text where it is no such value, so that the check says so.
fn scalar(place: Option<SchemaAt<'_>>, text: String) -> Value {
    let Some(place) = place.filter(|place| !place.allows("string")) else {
        return Value::String(text);
    };
    let number = || text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok();
    let float = || text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
    let value = match text.as_str() {
        "" if place.allows("null") => Some(Value::Null),
        "true" | "false" if place.allows("boolean") => Some(Value::Bool(text == "true")),
        _ if place.allows("integer") => number().or_else(|| float().filter(|_| place.allows("number"))),
        _ if place.allows("number") => number().or_else(float),
        _ => None,
    };
    value.unwrap_or(Value::String(text))
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        for parameter_data in openapi::parameters::<T>(operation) {
            let query = Parameter::Query {
                parameter_data,
                allow_reserved: false,
                style: QueryStyle::Form,
                allow_empty_value: None,
            };
            operation.parameters.push(aide::openapi::ReferenceOr::Item(query));
        }
    }
}

impl<T: JsonSchema> OperationInput for Form<T> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        let schema = openapi::input_schema::<T>(operation);
        openapi::set_body(operation, URLENCODED, schema);
    }
}
