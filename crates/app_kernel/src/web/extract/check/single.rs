//! What is wrong with a single value: its type, its choices, the limits of a number or a text.

use serde_json::{Map, Value};

use super::What;
use crate::web::extract::schema::{type_of, types};

/// With its article, as it stands after `must be`.
fn described(ty: &str) -> &'static str {
    match ty {
        "null" => "null",
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        "string" => "a text",
        "array" => "a list",
        _ => "an object",
    }
}

pub(super) fn mismatch(schema: &Map<String, Value>, value: &Value) -> Option<What> {
    let actual = type_of(value);
    let wanted: Vec<&str> = types(schema).collect();
    if !wanted.is_empty() && !wanted.iter().any(|ty| *ty == actual || (*ty == "number" && actual == "integer")) {
        let names: Vec<_> = wanted.into_iter().filter(|ty| *ty != "null").map(described).collect();
        return Some(What::Type(if names.is_empty() { vec!["null"] } else { names }));
    }
    let choices = match (schema.get("const"), schema.get("enum")) {
        (Some(only), _) => std::slice::from_ref(only),
        (None, Some(Value::Array(all))) => all.as_slice(),
        _ => return None,
    };
    (!choices.contains(value)).then(|| {
        let named = choices.iter().filter(|choice| !choice.is_null());
        What::Choice(
            named
                .map(|choice| format!("`{}`", choice.as_str().map_or_else(|| choice.to_string(), str::to_owned)))
                .collect(),
        )
    })
}

pub(super) fn number_fault(schema: &Map<String, Value>, number: &serde_json::Number) -> Option<What> {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => (Some(Value::from(i32::MIN)), Some(Value::from(i32::MAX))),
        Some("int64" | "int") => (None, Some(Value::from(i64::MAX))),
        Some("uint32") => (Some(Value::from(0)), Some(Value::from(u32::MAX))),
        _ => (None, None),
    };
    let bound = |word: &str, of_type: Option<Value>| schema.get(word).cloned().or(of_type);
    let compared = |limit: &Value| compare(number, limit.as_number()?);
    if let Some(least) = bound("minimum", least).filter(|least| compared(least).is_some_and(std::cmp::Ordering::is_lt))
    {
        return Some(What::Other(format!("must be at least {least}")));
    }
    let most = bound("maximum", most).filter(|most| compared(most).is_some_and(std::cmp::Ordering::is_gt))?;
    Some(What::Other(format!("must be at most {most}")))
}

fn compare(a: &serde_json::Number, b: &serde_json::Number) -> Option<std::cmp::Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

pub(super) fn text_fault(schema: &Map<String, Value>, text: &str) -> Option<What> {
    let other = |message: String| Some(What::Other(message));
    let bound = |word: &str| schema.get(word).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let length = || text.chars().count();
    if let Some(least) = bound("minLength").filter(|least| length() < *least) {
        return other(format!("must have at least {}", counted(least, "character")));
    }
    if let Some(most) = bound("maxLength").filter(|most| length() > *most) {
        return other(format!("must have at most {}", counted(most, "character")));
    }
    match schema.get("format").and_then(Value::as_str)? {
        "date-time" if text.parse::<jiff::Timestamp>().is_err() => {
            other("must be a time such as 2026-01-30T12:00:00Z".to_owned())
        }
        "date" if text.parse::<jiff::civil::Date>().is_err() => other("must be a day such as 2026-01-30".to_owned()),
        "partial-time" if text.parse::<jiff::civil::Time>().is_err() => {
            other("must be a time of day such as 12:30:00".to_owned())
        }
        "uuid" if uuid::Uuid::try_parse(text).is_err() => other("must be a UUID".to_owned()),
        "ipv4" if text.parse::<std::net::Ipv4Addr>().is_err() => other("must be an IPv4 address".to_owned()),
        "ipv6" if text.parse::<std::net::Ipv6Addr>().is_err() => other("must be an IPv6 address".to_owned()),
        "ip" if text.parse::<std::net::IpAddr>().is_err() => other("must be an IP address".to_owned()),
        _ => None,
    }
}

pub(super) fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
