//! Checks the tree of a clause against an entity's columns and prints it for one database. Each constant gets the type of what it
//! meets; what the three databases would understand differently is refused.

use super::constant::Constant;
use super::lexer::{Mistake, mistake, shortened};
use super::tree::{Clause, Comparison, Function, Operand, OperandKind};
use crate::store::db::coerce::coerce;
use crate::store::db::dialect::Dialect;
use crate::store::db::dialect::literal::push_literal;
use crate::store::db::entity::{AUTOMATIC, EntityDef};
use crate::store::db::value::{ColumnType, Value};

#[derive(Debug)]
pub(super) struct Printer<'a> {
    entity: &'a EntityDef,
    dialect: &'a dyn Dialect,
    first_param: usize,
    pub(super) sql: String,
    /// The constants that wait for parameters, in the order of their places.
    pub(super) slots: Vec<Constant>,
}

/// What a condition does with a value.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    Equality,
    Order,
    Pattern,
}

impl<'a> Printer<'a> {
    pub(super) fn new(entity: &'a EntityDef, dialect: &'a dyn Dialect, first_param: usize) -> Self {
        Printer { entity, dialect, first_param, sql: String::new(), slots: Vec::new() }
    }

    /// Prints a clause so that it can stand on a side of AND.
    pub(super) fn clause(&mut self, clause: &Clause<'_>) -> Result<(), Mistake> {
        match clause {
            Clause::And(clauses) => self.joined(clauses, " AND "),
            Clause::Or(clauses) => self.parenthesized(|printer| printer.joined(clauses, " OR ")),
            Clause::Not(inner) => {
                self.sql.push_str("NOT ");
                match **inner {
                    // It brings its own parentheses.
                    Clause::Or(_) => self.clause(inner),
                    _ => self.parenthesized(|printer| printer.clause(inner)),
                }
            }
            Clause::Alone(operand) => self.alone(operand),
            Clause::Compare { left, comparison, right } => self.compare(left, *comparison, right),
            Clause::In { operand, negated, list } => self.list(operand, *negated, list),
            Clause::Like { operand, negated, pattern } => self.like(operand, *negated, pattern),
            Clause::Between { operand, negated, low, high } => self.between(operand, *negated, low, high),
            Clause::IsNull { operand, negated } => self.is_null(operand, *negated),
        }
    }

    fn joined(&mut self, clauses: &[Clause<'_>], word: &str) -> Result<(), Mistake> {
        for (i, clause) in clauses.iter().enumerate() {
            if i > 0 {
                self.sql.push_str(word);
            }
            match clause {
                Clause::And(_) => self.parenthesized(|printer| printer.clause(clause))?,
                _ => self.clause(clause)?,
            }
        }
        Ok(())
    }

    fn parenthesized(&mut self, print: impl FnOnce(&mut Self) -> Result<(), Mistake>) -> Result<(), Mistake> {
        self.sql.push('(');
        print(self)?;
        self.sql.push(')');
        Ok(())
    }

    fn alone(&mut self, operand: &Operand<'_>) -> Result<(), Mistake> {
        let ty = self.row_type(operand)?.or(natural_type(operand)).unwrap_or(ColumnType::Bool);
        if ty != ColumnType::Bool {
            return mistake(operand.at, format!("{}, which alone is no condition", self.holding(operand, ty)));
        }
        if operand.is_constant() {
            let constant = self.constant(operand, ty, operand)?;
            return self.truth(constant, operand.at);
        }
        self.operand(operand, ty, operand)?;
        self.is_true();
        Ok(())
    }

    fn compare(&mut self, left: &Operand<'_>, comparison: Comparison, right: &Operand<'_>) -> Result<(), Mistake> {
        let (ty, subject) = self.common_type(&[left, right])?;
        let wanted = if comparison.is_of_equality() { Use::Equality } else { Use::Order };
        self.check_use(subject, ty, wanted)?;
        if left.is_constant() && right.is_constant() {
            let sides = (self.constant(left, ty, subject)?, self.constant(right, ty, subject)?);
            return self.truth(Constant::Compare(comparison, Box::new(sides)), left.at);
        }
        self.operand(left, ty, subject)?;
        self.sql.extend([" ", comparison.sql(), " "]);
        self.operand(right, ty, subject)
    }

    fn list(&mut self, operand: &Operand<'_>, negated: bool, list: &[Operand<'_>]) -> Result<(), Mistake> {
        let all: Vec<&Operand<'_>> = std::iter::once(operand).chain(list).collect();
        need_a_column(&all)?;
        let (ty, subject) = self.common_type(&all)?;
        self.check_use(subject, ty, Use::Equality)?;
        let (start, slots) = (self.sql.len(), self.slots.len());
        self.operand(operand, ty, subject)?;
        if list.is_empty() {
            // No database but SQLite has an empty list. The operand was printed to be checked.
            self.sql.truncate(start);
            self.slots.truncate(slots);
            self.sql.push_str(if negated { "1 = 1" } else { "1 = 0" });
            return Ok(());
        }
        self.sql.push_str(if negated { " NOT IN (" } else { " IN (" });
        for (i, item) in list.iter().enumerate() {
            if i > 0 {
                self.sql.push_str(", ");
            }
            self.operand(item, ty, subject)?;
        }
        self.sql.push(')');
        Ok(())
    }

    fn like(&mut self, operand: &Operand<'_>, negated: bool, pattern: &Operand<'_>) -> Result<(), Mistake> {
        need_a_column(&[operand])?;
        if !pattern.is_constant() {
            return mistake(pattern.at, "the pattern of LIKE must be a text or `?`, not a column");
        }
        let (ty, subject) = self.common_type(&[operand])?;
        self.check_use(subject, ty, Use::Pattern)?;
        self.operand(operand, ty, subject)?;
        self.sql.push_str(if negated { " NOT LIKE " } else { " LIKE " });
        if self.row_type(pattern)?.or(natural_type(pattern)).is_some_and(|ty| ty != ColumnType::Text) {
            return mistake(pattern.at, "the pattern of LIKE must be a text or `?`");
        }
        let text = self.constant(pattern, ColumnType::Text, pattern)?;
        self.push_constant(Constant::Pattern(Box::new(text)), pattern.at)?;
        self.sql.push_str(self.dialect.like_escape());
        Ok(())
    }

    fn between(&mut self, operand: &Operand<'_>, negated: bool, low: &Operand<'_>, high: &Operand<'_>) -> Result<(), Mistake> {
        let all = [operand, low, high];
        need_a_column(&all)?;
        let (ty, subject) = self.common_type(&all)?;
        self.check_use(subject, ty, Use::Order)?;
        self.operand(operand, ty, subject)?;
        self.sql.push_str(if negated { " NOT BETWEEN " } else { " BETWEEN " });
        self.operand(low, ty, subject)?;
        self.sql.push_str(" AND ");
        self.operand(high, ty, subject)
    }

    fn is_null(&mut self, operand: &Operand<'_>, negated: bool) -> Result<(), Mistake> {
        if operand.is_constant() {
            let inner = match operand.kind {
                OperandKind::Parameter(number) => Constant::Presence { number },
                _ => {
                    let (ty, subject) = self.common_type(&[operand])?;
                    self.constant(operand, ty, subject)?
                }
            };
            return self.truth(Constant::IsNull { operand: Box::new(inner), negated }, operand.at);
        }
        let (ty, subject) = self.common_type(&[operand])?;
        self.operand(operand, ty, subject)?;
        self.sql.push_str(if negated { " IS NOT NULL" } else { " IS NULL" });
        Ok(())
    }

    /// Prints an operand that must be of a type; `subject` is what gave the type, for messages.
    fn operand(&mut self, operand: &Operand<'_>, ty: ColumnType, subject: &Operand<'_>) -> Result<(), Mistake> {
        if operand.is_constant() {
            let constant = self.constant(operand, ty, subject)?;
            return self.push_constant(constant, operand.at);
        }
        match &operand.kind {
            OperandKind::Column(name) => self.dialect.quote(name, &mut self.sql),
            OperandKind::Call(function, arguments) => self.call(*function, arguments, ty, subject)?,
            _ => unreachable!("all else is constant"),
        }
        Ok(())
    }

    /// Prints a call that has a column inside.
    fn call(&mut self, function: Function, arguments: &[Operand<'_>], ty: ColumnType, subject: &Operand<'_>) -> Result<(), Mistake> {
        let start = self.sql.len();
        let first = &arguments[0];
        match function {
            Function::Coalesce => {
                for (i, argument) in arguments.iter().enumerate() {
                    self.sql.push_str(if i == 0 { "COALESCE(" } else { ", " });
                    self.operand(argument, ty, subject)?;
                }
                self.sql.push(')');
            }
            // Without NULLIF, a row with -2^63 would be an error.
            Function::Abs if ty == ColumnType::Int => {
                self.sql.push_str("ABS(NULLIF(");
                self.operand(first, ty, subject)?;
                self.sql.push_str(", (-9223372036854775807 - 1)))");
            }
            Function::Abs => {
                self.sql.push_str("ABS(");
                self.operand(first, ty, subject)?;
                self.sql.push(')');
            }
            Function::Lower | Function::Upper | Function::Length => {
                let argument = without_case(function, first);
                let inner = self.row_type(argument)?.unwrap_or(ColumnType::Text);
                self.operand(argument, inner, argument)?;
                let argument = self.sql.split_off(start);
                let printed = match function {
                    Function::Length => self.dialect.length(&argument),
                    _ => self.dialect.ascii_case(function == Function::Upper, &argument),
                };
                self.sql.push_str(&printed);
            }
        }
        Ok(())
    }

    /// The constant that an operand is, with a type.
    fn constant(&self, operand: &Operand<'_>, ty: ColumnType, subject: &Operand<'_>) -> Result<Constant, Mistake> {
        let value = match &operand.kind {
            OperandKind::Parameter(number) => return Ok(Constant::Parameter { number: *number, ty }),
            OperandKind::Call(function, arguments) => {
                let inner = match function {
                    Function::Lower | Function::Upper | Function::Length => ColumnType::Text,
                    Function::Coalesce | Function::Abs => ty,
                };
                let subject = if inner == ty { subject } else { operand };
                let arguments = arguments.iter().map(|argument| self.constant(argument, inner, subject));
                return Ok(Constant::Call(*function, arguments.collect::<Result<_, _>>()?));
            }
            OperandKind::Text(text) if !matches!(ty, ColumnType::Int | ColumnType::Float | ColumnType::Bool | ColumnType::Json) => {
                coerce(Value::Text(text.to_string()), ty).ok()
            }
            OperandKind::Number(text) => number(text, ty),
            OperandKind::Bool(b) if ty == ColumnType::Bool => Some(Value::Bool(*b)),
            _ => None,
        };
        match value {
            Some(value) => Ok(Constant::Value(value)),
            None => mistake(operand.at, format!("{}; {} does not fit", self.holding(subject, ty), described(operand))),
        }
    }

    /// Prints a constant: as a literal where it is known, else as the place of a parameter.
    fn push_constant(&mut self, constant: Constant, at: usize) -> Result<(), Mistake> {
        if constant.has_parameter() {
            self.dialect.placeholder(self.first_param + self.slots.len(), &mut self.sql);
            self.slots.push(constant);
            return Ok(());
        }
        match constant.evaluate(&mut []) {
            Ok(value) => push_literal(&value, self.dialect, &mut self.sql),
            Err(problem) => return mistake(at, problem),
        }
        Ok(())
    }

    /// Prints a condition that is the same for every row.
    fn truth(&mut self, constant: Constant, at: usize) -> Result<(), Mistake> {
        if constant.has_parameter() {
            self.push_constant(constant, at)?;
            self.is_true();
            return Ok(());
        }
        match constant.evaluate(&mut []) {
            Ok(Value::Bool(true)) => self.sql.push_str("1 = 1"),
            Ok(Value::Bool(false)) => self.sql.push_str("1 = 0"),
            Ok(_) => self.sql.push_str("1 = NULL"),
            Err(problem) => return mistake(at, problem),
        }
        Ok(())
    }

    fn is_true(&mut self) {
        self.sql.push_str(" = ");
        self.dialect.bool_literal(true, &mut self.sql);
    }

    /// The type that operands share, and the one that gives it: a column or function if there is one, else a literal.
    fn common_type<'o, 't>(&self, operands: &[&'o Operand<'t>]) -> Result<(ColumnType, &'o Operand<'t>), Mistake> {
        let mut common: Option<(ColumnType, &Operand<'_>)> = None;
        for operand in operands {
            let Some(ty) = self.row_type(operand)? else { continue };
            match common {
                None => common = Some((ty, operand)),
                Some((other, _)) if other == ty => {}
                Some((other, subject)) => {
                    let (left, right) = (self.holding(subject, other), self.holding(operand, ty));
                    return mistake(operand.at, format!("{left}, but {right}"));
                }
            }
        }
        if let Some(common) = common {
            return Ok(common);
        }
        let naturals = || operands.iter().filter_map(|operand| Some((natural_type(operand)?, *operand)));
        match naturals().find(|(ty, _)| *ty == ColumnType::Float).or_else(|| naturals().next()) {
            Some(common) => Ok(common),
            None => mistake(operands[0].at, "`?` meets nothing that has a type; compare it with a column"),
        }
    }

    /// The type that an operand has by its columns or functions; none for literals and parameters, which take any.
    fn row_type(&self, operand: &Operand<'_>) -> Result<Option<ColumnType>, Mistake> {
        let (function, arguments) = match &operand.kind {
            OperandKind::Column(name) => return self.column_type(name, operand.at).map(Some),
            OperandKind::Call(function, arguments) => (*function, arguments),
            _ => return Ok(None),
        };
        let needs = |what: &str, inner: ColumnType| {
            let argument = self.holding(&arguments[0], inner);
            mistake(arguments[0].at, format!("{} needs {what}; {argument}", function.name()))
        };
        match function {
            Function::Lower | Function::Upper | Function::Length => {
                let inner = self.row_type(&arguments[0])?.or(natural_type(&arguments[0])).unwrap_or(ColumnType::Text);
                let is_text = matches!(inner, ColumnType::Text | ColumnType::Uuid);
                let result = if function == Function::Length { ColumnType::Int } else { ColumnType::Text };
                if is_text { Ok(Some(result)) } else { needs("a text", inner) }
            }
            Function::Abs => {
                let known = self.row_type(&arguments[0])?;
                match known.or(natural_type(&arguments[0])) {
                    None | Some(ColumnType::Int | ColumnType::Float) => Ok(known),
                    Some(inner) => needs("a number", inner),
                }
            }
            Function::Coalesce => {
                let all: Vec<&Operand<'_>> = arguments.iter().collect();
                if all.iter().all(|argument| matches!(self.row_type(argument), Ok(None))) {
                    return Ok(None);
                }
                let (ty, subject) = self.common_type(&all)?;
                if ty == ColumnType::Json {
                    return mistake(subject.at, format!("COALESCE can't take JSON; {}", self.holding(subject, ty)));
                }
                Ok(Some(ty))
            }
        }
    }

    fn column_type(&self, name: &str, at: usize) -> Result<ColumnType, Mistake> {
        match self.entity.column_type(name) {
            Some(ty) => Ok(ty),
            None => mistake(at, unknown_column(name, self.entity)),
        }
    }

    fn check_use(&self, subject: &Operand<'_>, ty: ColumnType, wanted: Use) -> Result<(), Mistake> {
        let refused = match (ty, wanted) {
            (ColumnType::Json, _) => "only IS NULL and IS NOT NULL can be asked of it",
            (ColumnType::Text | ColumnType::Uuid, _) => return Ok(()),
            (_, Use::Pattern) => "LIKE needs a text",
            (_, Use::Equality) => return Ok(()),
            (ColumnType::Decimal, Use::Order) => {
                "only =, !=, IN and IS NULL can be asked of it; keep cents in an i64 to order or sum"
            }
            (ColumnType::Bool | ColumnType::Bytes, Use::Order) => "only =, !=, IN and IS NULL can be asked of it",
            _ => return Ok(()),
        };
        mistake(subject.at, format!("{}; {refused}", self.holding(subject, ty)))
    }

    /// `[size] holds a whole number of 64 bits`
    fn holding(&self, operand: &Operand<'_>, ty: ColumnType) -> String {
        let what = if ty == ColumnType::Bytes { "bytes" } else { ty.described() };
        match &operand.kind {
            OperandKind::Column(_) => format!("{} holds {what}", described(operand)),
            OperandKind::Call(..) => format!("{} gives {what}", described(operand)),
            _ => format!("{} is {what}", described(operand)),
        }
    }
}

/// The case of what is folded again does not matter; so databases get no deep nests of it.
fn without_case<'o, 't>(outer: Function, argument: &'o Operand<'t>) -> &'o Operand<'t> {
    match &argument.kind {
        OperandKind::Call(Function::Lower | Function::Upper, inner) if outer != Function::Length => without_case(outer, &inner[0]),
        _ => argument,
    }
}

fn need_a_column(operands: &[&Operand<'_>]) -> Result<(), Mistake> {
    if operands.iter().all(|operand| operand.is_constant()) {
        return mistake(operands[0].at, "this condition needs a column such as [name]");
    }
    Ok(())
}

/// The type that a literal has where nothing gives it another.
fn natural_type(operand: &Operand<'_>) -> Option<ColumnType> {
    match &operand.kind {
        OperandKind::Text(_) => Some(ColumnType::Text),
        OperandKind::Number(text) if text.contains(['.', 'e', 'E']) => Some(ColumnType::Float),
        OperandKind::Number(_) => Some(ColumnType::Int),
        OperandKind::Bool(_) => Some(ColumnType::Bool),
        OperandKind::Call(Function::Abs | Function::Coalesce, arguments) => arguments.iter().find_map(natural_type),
        _ => None,
    }
}

/// A number as a value of the type; none where it does not fit.
fn number(text: &str, ty: ColumnType) -> Option<Value> {
    let value = match ty {
        ColumnType::Int => text.parse().map(Value::Int).or_else(|error| {
            let is_whole = !text.contains(['.', 'e', 'E']);
            if is_whole { Err(error) } else { Ok(Value::Float(text.parse().unwrap_or(f64::NAN))) }
        }),
        ColumnType::Float => Ok(Value::Float(text.parse().unwrap_or(f64::NAN))),
        ColumnType::Decimal => Ok(Value::Text(text.to_owned())),
        _ => return None,
    };
    coerce(value.ok()?, ty).ok()
}

fn described(operand: &Operand<'_>) -> String {
    match &operand.kind {
        OperandKind::Column(name) => format!("[{}]", shortened(name)),
        OperandKind::Parameter(number) => format!("parameter {number}"),
        OperandKind::Text(text) => format!("'{}'", shortened(text)),
        OperandKind::Number(text) => shortened(text).into_owned(),
        OperandKind::Bool(b) => if *b { "TRUE" } else { "FALSE" }.to_owned(),
        OperandKind::Call(function, _) => function.name().to_owned(),
    }
}

/// That there is no such column, and which was perhaps meant.
pub(super) fn unknown_column(name: &str, entity: &EntityDef) -> String {
    let names = entity.columns.iter().map(|column| column.name.as_ref()).chain(AUTOMATIC);
    let nearest = names.map(|known| (distance(name, known), known)).min();
    let suggestion = match nearest {
        Some((distance, known)) if distance <= 1 + known.len() / 4 => format!("; did you mean [{known}]?"),
        _ => String::new(),
    };
    format!("there is no column [{}]{suggestion}", shortened(name))
}

/// How many letters must be changed, added or left out, whatever their case. Names that are much too long are far from all.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 2 * crate::store::db::entity::LONGEST_NAME {
        return usize::MAX;
    }
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
