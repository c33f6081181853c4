//! The order of rows: `[name] DESC NULLS LAST, [created_at]`. Null is the smallest value unless said otherwise. Every order ends with the
//! identifier, so that no two rows are equal in it.

use super::character;
use super::lexer::{Lexer, Mistake, Token, mistake};
use super::print::unknown_column;
use crate::base::error::{Error, Result};
use crate::store::db::dialect::Dialect;
use crate::store::db::entity::{DELETED_AT, EntityDef, ID};
use crate::store::db::value::ColumnType;

/// How many terms an order may have, the identifier not counted.
const MOST_TERMS: usize = 16;
/// The longest order, in bytes.
const LONGEST: usize = 4096;

/// The order of rows. Total: its last term is the identifier, unless that is one already.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    terms: Vec<OrderTerm>,
    fingerprint: u32,
}

/// One column of an order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrderTerm {
    pub(crate) column: String,
    pub(crate) ty: ColumnType,
    /// Whether there can be nulls at all; where not, their place does not matter.
    pub(crate) nullable: bool,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// Reads an order; an empty one is by the identifier.
///
/// # Errors
/// `bad_order_by`, with the place and the cure.
pub(crate) fn parse_order(text: &str, entity: &EntityDef) -> Result<Order> {
    let mut terms = read_terms(text, entity).map_err(|mistake| {
        let at = character(text, mistake.at);
        Error::invalid(format!("the order is wrong at character {at}: {}", mistake.message)).code("bad_order_by")
    })?;
    if terms.iter().all(|term| term.column != ID) {
        let last = OrderTerm { column: ID.to_owned(), ty: ColumnType::Text, nullable: false, descending: false, nulls_first: true };
        terms.push(last);
    }
    let fingerprint = fingerprint(&terms, entity);
    Ok(Order { terms, fingerprint })
}

impl Order {
    /// The terms, the most important first. The last one makes rows differ.
    pub(crate) fn terms(&self) -> &[OrderTerm] {
        &self.terms
    }

    /// Writes what stands behind ORDER BY.
    pub(crate) fn print(&self, dialect: &dyn Dialect, sql: &mut String) {
        for (i, term) in self.terms.iter().enumerate() {
            if i > 0 {
                sql.push_str(", ");
            }
            let mut column = String::with_capacity(term.column.len() + 2);
            dialect.quote(&term.column, &mut column);
            if term.nullable {
                sql.push_str(&dialect.order_term(&column, term.descending, term.nulls_first));
            } else {
                // Without a word on nulls, each database can take the order from a plain index.
                sql.extend([column.as_str(), if term.descending { " DESC" } else { " ASC" }]);
            }
        }
    }

    /// A number that differs, almost always, between the orders of an application.
    pub(crate) fn fingerprint(&self) -> u32 {
        self.fingerprint
    }
}

/// FNV-1a: the same in every build, as cursors outlive them.
fn fingerprint(terms: &[OrderTerm], entity: &EntityDef) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    };
    add(&entity.table);
    for term in terms {
        add(&term.column);
        add(&format!("{:?} {} {}", term.ty, term.descending, term.nulls_first));
    }
    hash
}

fn read_terms(text: &str, entity: &EntityDef) -> Result<Vec<OrderTerm>, Mistake> {
    if text.len() > LONGEST {
        return mistake(0, format!("it has {} bytes; {LONGEST} are allowed", text.len()));
    }
    let mut lexer = Lexer::new(text);
    let mut terms: Vec<OrderTerm> = Vec::new();
    let (mut token, mut at) = lexer.next()?;
    if token == Token::End {
        return Ok(terms);
    }
    loop {
        let Token::Column(name) = token else { return expected("a column such as [name]", &token, at) };
        if terms.len() == MOST_TERMS {
            return mistake(at, format!("there are more than {MOST_TERMS} columns"));
        }
        if terms.iter().any(|term| term.column == name) {
            return mistake(at, format!("[{name}] stands there twice"));
        }
        let mut term = term(name, at, entity)?;
        (token, at) = lexer.next()?;
        if token.is_word("ASC") || token.is_word("DESC") {
            term.descending = token.is_word("DESC");
            (token, at) = lexer.next()?;
        }
        term.nulls_first = !term.descending;
        if token.is_word("NULLS") {
            (token, at) = lexer.next()?;
            if !token.is_word("FIRST") && !token.is_word("LAST") {
                return expected("FIRST or LAST", &token, at);
            }
            term.nulls_first = token.is_word("FIRST");
            (token, at) = lexer.next()?;
        }
        terms.push(term);
        match token {
            Token::End => return Ok(terms),
            Token::Comma => (token, at) = lexer.next()?,
            _ => return expected("ASC, DESC, NULLS, `,` or the end", &token, at),
        }
    }
}

fn term(name: &str, at: usize, entity: &EntityDef) -> Result<OrderTerm, Mistake> {
    let Some(ty) = entity.column_type(name) else { return mistake(at, unknown_column(name, entity)) };
    let cure = match ty {
        ColumnType::Json => Some("JSON has no order"),
        ColumnType::Bytes => Some("bytes have no order"),
        ColumnType::Decimal => Some("a decimal number is kept as text and has no order; keep cents in an i64 to order or sum"),
        _ => None,
    };
    if let Some(cure) = cure {
        return mistake(at, format!("[{name}] can't order rows: {cure}"));
    }
    let nullable = entity.column(name).map_or(name == DELETED_AT, |column| column.nullable);
    Ok(OrderTerm { column: name.to_owned(), ty, nullable, descending: false, nulls_first: true })
}

fn expected<T>(what: &str, found: &Token<'_>, at: usize) -> Result<T, Mistake> {
    mistake(at, format!("expected {what}, found {}", found.described()))
}
