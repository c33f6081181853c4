//! What a where clause says, before anything is known of columns and types. It borrows from the clause; each part knows where it stands.

use std::borrow::Cow;

/// A condition on a row.
#[derive(Debug)]
pub(super) enum Clause<'a> {
    And(Vec<Clause<'a>>),
    Or(Vec<Clause<'a>>),
    Not(Box<Clause<'a>>),
    /// An operand that is itself true or false.
    Alone(Operand<'a>),
    Compare { left: Operand<'a>, comparison: Comparison, right: Operand<'a> },
    In { operand: Operand<'a>, negated: bool, list: Vec<Operand<'a>> },
    Like { operand: Operand<'a>, negated: bool, pattern: Operand<'a> },
    Between { operand: Operand<'a>, negated: bool, low: Operand<'a>, high: Operand<'a> },
    IsNull { operand: Operand<'a>, negated: bool },
}

/// A value in a condition, and the byte where it begins.
#[derive(Debug)]
pub(super) struct Operand<'a> {
    pub(super) at: usize,
    pub(super) kind: OperandKind<'a>,
}

#[derive(Debug)]
pub(super) enum OperandKind<'a> {
    Column(&'a str),
    /// A `?`, numbered from 1.
    Parameter(usize),
    Text(Cow<'a, str>),
    /// As written: only its type tells what it is.
    Number(&'a str),
    Bool(bool),
    Call(Function, Vec<Operand<'a>>),
}

impl Operand<'_> {
    /// Whether the value is the same for every row.
    pub(super) fn is_constant(&self) -> bool {
        match &self.kind {
            OperandKind::Column(_) => false,
            OperandKind::Call(_, arguments) => arguments.iter().all(Operand::is_constant),
            _ => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// As all three databases write it.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// Whether it asks only if two values are the same.
    pub(super) fn is_of_equality(self) -> bool {
        matches!(self, Comparison::Equal | Comparison::NotEqual)
    }

    pub(super) fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Lower,
    Upper,
    Length,
    Coalesce,
    Abs,
}

impl Function {
    const ALL: [Function; 5] = [Function::Lower, Function::Upper, Function::Length, Function::Coalesce, Function::Abs];

    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name().eq_ignore_ascii_case(word))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Function::Lower => "LOWER",
            Function::Upper => "UPPER",
            Function::Length => "LENGTH",
            Function::Coalesce => "COALESCE",
            Function::Abs => "ABS",
        }
    }
}
