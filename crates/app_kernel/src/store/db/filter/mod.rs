//! The language of where clauses and orders: `[owner_id] = ? AND ([size] > 3 OR [name] LIKE 'a%')`. A small language of its own, read into a
//! tree and printed anew for each database, so that a clause means the same on all three and can never become another statement.
//!
//! - `[column]`, `?`, `'text'` with `''` for a quote, numbers, `TRUE`, `FALSE`; words in any case.
//! - `= != <> < <= > >=`, `AND OR NOT`, `[NOT] IN (..)`, `[NOT] LIKE`, `[NOT] BETWEEN .. AND ..`, `IS [NOT] NULL`, parentheses.
//! - `LOWER` and `UPPER` (of the letters A to Z), `LENGTH` (in characters), `COALESCE`, `ABS` (null for -2^63).
//!
//! What is compared has one type. A column gives its type to the literals and parameters beside it. Texts are ordered byte by byte; LIKE
//! sees case, and a backslash escapes in it. JSON can only be null or not; bytes, decimals and truth values only equal or not.
//!
//! Nulls follow SQL: a comparison with null is neither true nor false, so `[a] = ?` with a null parameter finds no row, nor does
//! `[a] != ?`. An empty list holds nothing: `IN ()` is false for each row, `NOT IN ()` true. An empty clause is true for each row.

mod constant;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod hostile;
mod lexer;
mod order;
mod parser;
mod print;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use order::{Order, OrderTerm, parse_order};

use constant::Constant;
use lexer::Mistake;
use print::Printer;
use tree::{Clause, Comparison, Operand, OperandKind};

use super::dialect::Dialect;
use super::entity::EntityDef;
use super::value::Value;
use crate::base::error::{Error, Result};

/// A clause as one database reads it. It can stand on a side of AND.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    /// The text. Its parameters are numbered from the `first_param` it was rendered with.
    pub(crate) sql: String,
    slots: Vec<Constant>,
    wanted: usize,
    /// Whether [`Bound::column`] must have a value, which [`Condition::bind`] takes apart from the clause's own parameters.
    is_bound: bool,
}

/// A column that must have one value in every row found, whatever the clause says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) column: &'static str,
}

/// Reads a clause and writes it for one database. Costs some microseconds; the answer is good for as long as the entity stays the same.
///
/// # Errors
/// `bad_where_clause`, with the place and the cure.
pub(crate) fn render(clause: &str, entity: &EntityDef, dialect: &dyn Dialect, first_param: usize) -> Result<Condition> {
    render_bound(clause, None, entity, dialect, first_param)
}

/// The same, for rows that have one value in the bound's column only.
///
/// # Errors
/// `bad_where_clause`, with the place and the cure.
pub(crate) fn render_bound(
    clause: &str,
    bound: Option<Bound>,
    entity: &EntityDef,
    dialect: &dyn Dialect,
    first_param: usize,
) -> Result<Condition> {
    rendered(clause, bound, entity, dialect, first_param).map_err(|mistake| explained(clause, &mistake))
}

/// Writes a clause without parameters, for a check or a partial index.
///
/// # Errors
/// `bad_where_clause`, with the place and the cure.
pub(crate) fn render_check(clause: &str, entity: &EntityDef, dialect: &dyn Dialect) -> Result<String> {
    let condition = render(clause, entity, dialect, 1)?;
    if condition.wanted > 0 {
        return Err(bad_clause("a rule of a table can't have parameters; write the values in its text".to_owned()));
    }
    Ok(condition.sql)
}

fn rendered(
    text: &str,
    bound: Option<Bound>,
    entity: &EntityDef,
    dialect: &dyn Dialect,
    first_param: usize,
) -> Result<Condition, Mistake> {
    let parsed = parser::parse(text)?;
    let mut printer = Printer::new(entity, dialect, first_param);
    let clause = match bound {
        Some(bound) => Some(bounded(bound, parsed.parameters + 1, parsed.clause)),
        None => parsed.clause,
    };
    match &clause {
        Some(clause) => printer.clause(clause)?,
        None => printer.sql.push_str("1 = 1"),
    }
    Ok(Condition { sql: printer.sql, slots: printer.slots, wanted: parsed.parameters, is_bound: bound.is_some() })
}

/// The clause, and the bound beside it: in the tree, so that no clause can reach around it.
fn bounded<'a>(bound: Bound, parameter: usize, clause: Option<Clause<'a>>) -> Clause<'a> {
    let operand = |kind| Operand { at: 0, kind };
    let holds = Clause::Compare {
        left: operand(OperandKind::Column(bound.column)),
        comparison: Comparison::Equal,
        right: operand(OperandKind::Parameter(parameter)),
    };
    match clause {
        Some(clause) => Clause::And(vec![holds, clause]),
        None => holds,
    }
}

impl Condition {
    /// How many values [`Condition::bind`] answers: fewer than there are `?` where several are worked out into one.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The values to bind, in the order of their places: each parameter as the type of what it is compared with. `bound` is the value of the
    /// bound's column.
    ///
    /// # Errors
    /// `bad_where_clause`, where there are too many or too few, or one does not fit.
    pub(crate) fn bind(&self, mut params: Vec<Value>, bound: Option<&str>) -> Result<Vec<Value>> {
        debug_assert_eq!(self.is_bound, bound.is_some());
        if params.len() != self.wanted {
            let wanted = counted(self.wanted, "parameter");
            let given = if params.len() == 1 { "1 was" } else { &format!("{} were", params.len()) };
            return Err(bad_clause(format!("the where clause has {wanted}, but {given} given")));
        }
        // Without its value, a bound holds for no row.
        params.extend(bound.map(Value::from));
        let values = self.slots.iter().map(|slot| slot.evaluate(&mut params));
        values.collect::<Result<_, _>>().map_err(|problem| bad_clause(problem.into_owned()))
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn bad_clause(message: String) -> Error {
    Error::invalid(message).code("bad_where_clause")
}

fn explained(clause: &str, mistake: &Mistake) -> Error {
    bad_clause(format!("the where clause is wrong at character {}: {}", character(clause, mistake.at), mistake.message))
}

/// Which character begins at the byte, from 1.
fn character(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.chars().count() + 1)
}
