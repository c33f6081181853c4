//! Values that are the same for every row: literals, parameters, and functions of these. They are worked out here, by the rules of
//! the databases, so that none of them has to guess the type of a lone `?`.

use std::cmp::Ordering;

use super::tree::{Comparison, Function};
use crate::store::db::coerce::{Problem, coerce};
use crate::store::db::value::{ColumnType, Value};

/// The longest pattern of LIKE, in bytes: SQLite allows 50,000.
const LONGEST_PATTERN: usize = 10_000;

/// A value that is known once the parameters are.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    Value(Value),
    Parameter { number: usize, ty: ColumnType },
    /// A parameter of which only matters whether it is null.
    Presence { number: usize },
    /// A pattern of LIKE.
    Pattern(Box<Constant>),
    Call(Function, Vec<Constant>),
    Compare(Comparison, Box<(Constant, Constant)>),
    IsNull { operand: Box<Constant>, negated: bool },
}

impl Constant {
    pub(super) fn has_parameter(&self) -> bool {
        match self {
            Constant::Value(_) => false,
            Constant::Parameter { .. } | Constant::Presence { .. } => true,
            Constant::Pattern(inner) | Constant::IsNull { operand: inner, .. } => inner.has_parameter(),
            Constant::Call(_, arguments) => arguments.iter().any(Constant::has_parameter),
            Constant::Compare(_, sides) => sides.0.has_parameter() || sides.1.has_parameter(),
        }
    }

    /// The value. Takes the parameters it needs out of `params`, each of which is needed in one place only.
    pub(super) fn evaluate(&self, params: &mut [Value]) -> Result<Value, Problem> {
        let mut take = |number: usize| params.get_mut(number - 1).map_or(Value::Null, |value| std::mem::replace(value, Value::Null));
        match self {
            Constant::Value(value) => Ok(value.clone()),
            Constant::Parameter { number, ty } => {
                coerce(take(*number), *ty).map_err(|problem| format!("parameter {number} {problem}").into())
            }
            Constant::Presence { number } => Ok(take(*number)),
            Constant::Pattern(inner) => checked_pattern(inner.evaluate(params)?),
            Constant::Call(function, arguments) => {
                let values = arguments.iter().map(|argument| argument.evaluate(params)).collect::<Result<Vec<_>, _>>()?;
                Ok(called(*function, values))
            }
            Constant::Compare(comparison, sides) => {
                let (left, right) = (sides.0.evaluate(params)?, sides.1.evaluate(params)?);
                Ok(compared(&left, &right).map_or(Value::Null, |ordering| Value::Bool(comparison.holds(ordering))))
            }
            Constant::IsNull { operand, negated } => Ok(Value::Bool(operand.evaluate(params)?.is_null() != *negated)),
        }
    }
}

/// PostgreSQL refuses a pattern whose last backslash escapes nothing; the others each do something else.
fn checked_pattern(pattern: Value) -> Result<Value, Problem> {
    let Value::Text(text) = &pattern else { return Ok(pattern) };
    if text.len() > LONGEST_PATTERN {
        return Err(format!("a pattern of LIKE may have {LONGEST_PATTERN} bytes").into());
    }
    let backslashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if backslashes % 2 == 1 { Err("a pattern of LIKE must not end with a lone backslash".into()) } else { Ok(pattern) }
}

fn called(function: Function, mut values: Vec<Value>) -> Value {
    match function {
        Function::Coalesce => values.into_iter().find(|value| !value.is_null()).unwrap_or(Value::Null),
        _ => match (function, values.pop()) {
            (Function::Lower, Some(Value::Text(text))) => Value::Text(text.to_ascii_lowercase()),
            (Function::Upper, Some(Value::Text(text))) => Value::Text(text.to_ascii_uppercase()),
            (Function::Length, Some(Value::Text(text))) => Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX)),
            // -2^63 has no absolute value of 64 bits; rows answer null for it too.
            (Function::Abs, Some(Value::Int(n))) => n.checked_abs().map_or(Value::Null, Value::Int),
            (Function::Abs, Some(Value::Float(x))) => Value::Float(x.abs()),
            _ => Value::Null,
        },
    }
}

/// The order of two values of one type; none where one is null.
fn compared(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
