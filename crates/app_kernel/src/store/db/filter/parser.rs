//! Reads the tokens of a clause into its tree, within limits that no honest clause meets.

use super::lexer::{Lexer, Mistake, Token, mistake, shortened};
use super::tree::{Clause, Comparison, Function, Operand, OperandKind};

/// The longest clause, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;
/// How deep parentheses, NOT and functions may lie in each other.
const DEEPEST: usize = 64;
/// How deep functions alone: each costs some databases much more than it costs us.
const DEEPEST_CALL: usize = 8;
/// How many conditions: SQLite takes a chain of them for a tree as deep, and allows 1,000 levels.
const MOST_CONDITIONS: usize = 500;
/// How many parameters, and how many other values.
const MOST_VALUES: usize = 1000;

/// A clause that could be read.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// Nothing where the clause is empty.
    pub(super) clause: Option<Clause<'a>>,
    /// How many `?` there are.
    pub(super) parameters: usize,
}

pub(super) fn parse(text: &str) -> Result<Parsed<'_>, Mistake> {
    if text.len() > LONGEST {
        return mistake(0, format!("it has {} bytes; {LONGEST} are allowed", text.len()));
    }
    let mut parser = Parser::new(text)?;
    if parser.token == Token::End {
        return Ok(Parsed { clause: None, parameters: 0 });
    }
    let clause = parser.any_of()?;
    match parser.token {
        Token::End => Ok(Parsed { clause: Some(clause), parameters: parser.parameters }),
        _ => parser.expected("AND, OR or the end"),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Where the token begins.
    at: usize,
    depth: usize,
    call_depth: usize,
    conditions: usize,
    values: usize,
    parameters: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Mistake> {
        let mut lexer = Lexer::new(text);
        let (token, at) = lexer.next()?;
        Ok(Parser { lexer, token, at, depth: 0, call_depth: 0, conditions: 0, values: 0, parameters: 0 })
    }

    /// Goes on to the next token and answers the one left behind.
    fn take(&mut self) -> Result<Token<'a>, Mistake> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn take_word(&mut self, wanted: &str) -> Result<bool, Mistake> {
        let is_there = self.token.is_word(wanted);
        if is_there {
            self.take()?;
        }
        Ok(is_there)
    }

    fn take_token(&mut self, wanted: &Token<'_>, name: &str) -> Result<(), Mistake> {
        if self.token == *wanted { self.take().map(drop) } else { self.expected(name) }
    }

    fn expected<T>(&self, what: &str) -> Result<T, Mistake> {
        mistake(self.at, format!("expected {what}, found {}", self.token.described()))
    }

    /// Reads something one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Mistake>) -> Result<T, Mistake> {
        if self.depth == DEEPEST {
            return mistake(self.at, format!("it is nested deeper than {DEEPEST} levels"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Conditions with OR between them.
    fn any_of(&mut self) -> Result<Clause<'a>, Mistake> {
        let first = self.all_of()?;
        let mut clauses = vec![first];
        while self.take_word("OR")? {
            clauses.push(self.all_of()?);
        }
        Ok(joined(clauses, Clause::Or))
    }

    /// Conditions with AND between them.
    fn all_of(&mut self) -> Result<Clause<'a>, Mistake> {
        let mut clauses = vec![self.negated()?];
        while self.take_word("AND")? {
            clauses.push(self.negated()?);
        }
        Ok(joined(clauses, Clause::And))
    }

    fn negated(&mut self) -> Result<Clause<'a>, Mistake> {
        count(&mut self.conditions, MOST_CONDITIONS, "conditions", self.at)?;
        if self.take_word("NOT")? {
            return Ok(Clause::Not(Box::new(self.deeper(Self::negated)?)));
        }
        if self.token != Token::Open {
            return self.predicate();
        }
        self.take()?;
        let clause = self.deeper(Self::any_of)?;
        self.take_token(&Token::Close, "AND, OR or `)`")?;
        Ok(clause)
    }

    fn predicate(&mut self) -> Result<Clause<'a>, Mistake> {
        let operand = self.operand()?;
        if let Token::Comparison(comparison) = self.token {
            self.take()?;
            return self.compared(operand, comparison);
        }
        if self.take_word("IS")? {
            let negated = self.take_word("NOT")?;
            let what = if negated { "NULL" } else { "NULL or NOT NULL" };
            return if self.take_word("NULL")? { Ok(Clause::IsNull { operand, negated }) } else { self.expected(what) };
        }
        let negated = self.take_word("NOT")?;
        if self.take_word("IN")? {
            return Ok(Clause::In { operand, negated, list: self.list()? });
        }
        if self.take_word("LIKE")? {
            return self.like(operand, negated);
        }
        if self.take_word("BETWEEN")? {
            let low = self.operand()?;
            if !self.take_word("AND")? {
                return self.expected("AND and the upper end");
            }
            return Ok(Clause::Between { operand, negated, low, high: self.operand()? });
        }
        if negated {
            return self.expected("IN, LIKE or BETWEEN");
        }
        match self.token {
            Token::End | Token::Close => Ok(Clause::Alone(operand)),
            _ if self.token.is_word("AND") || self.token.is_word("OR") => Ok(Clause::Alone(operand)),
            _ => self.expected("a comparison, AND, OR or the end"),
        }
    }

    fn compared(&mut self, left: Operand<'a>, comparison: Comparison) -> Result<Clause<'a>, Mistake> {
        if self.token.is_word("NULL") {
            return mistake(self.at, "nothing is equal to NULL; write IS NULL or IS NOT NULL");
        }
        Ok(Clause::Compare { left, comparison, right: self.operand()? })
    }

    fn like(&mut self, operand: Operand<'a>, negated: bool) -> Result<Clause<'a>, Mistake> {
        let pattern = self.operand()?;
        if self.token.is_word("ESCAPE") {
            return mistake(self.at, "ESCAPE is not needed: a backslash escapes in every pattern");
        }
        Ok(Clause::Like { operand, negated, pattern })
    }

    /// The values in parentheses behind IN; there may be none.
    fn list(&mut self) -> Result<Vec<Operand<'a>>, Mistake> {
        self.take_token(&Token::Open, "`(` and a list of values")?;
        if self.token == Token::Close {
            self.take()?;
            return Ok(Vec::new());
        }
        self.operands()
    }

    /// One value or more, up to the closing parenthesis.
    fn operands(&mut self) -> Result<Vec<Operand<'a>>, Mistake> {
        let mut operands = vec![self.operand()?];
        while self.token == Token::Comma {
            self.take()?;
            operands.push(self.operand()?);
        }
        self.take_token(&Token::Close, "`,` or `)`")?;
        Ok(operands)
    }

    fn operand(&mut self) -> Result<Operand<'a>, Mistake> {
        let at = self.at;
        if self.token == Token::Parameter {
            self.take()?;
            count(&mut self.parameters, MOST_VALUES, "parameters", at)?;
            return Ok(Operand { at, kind: OperandKind::Parameter(self.parameters) });
        }
        count(&mut self.values, MOST_VALUES, "values", at)?;
        if let Token::Word(word) = self.token {
            return self.word(word, at);
        }
        if !matches!(self.token, Token::Column(_) | Token::Text(_) | Token::Number(_)) {
            return self.expected("a column such as [name], `?` or a value");
        }
        let kind = match self.take()? {
            Token::Column(name) => OperandKind::Column(name),
            Token::Text(text) => OperandKind::Text(text),
            Token::Number(text) => OperandKind::Number(text),
            _ => unreachable!("the three kinds were asked for above"),
        };
        Ok(Operand { at, kind })
    }

    /// TRUE, FALSE or a function.
    fn word(&mut self, word: &'a str, at: usize) -> Result<Operand<'a>, Mistake> {
        if self.token.is_word("NULL") {
            return mistake(at, "NULL may stand behind IS and IS NOT only");
        }
        if is_reserved(word) {
            return self.expected("a column such as [name], `?` or a value");
        }
        self.take()?;
        let kind = match (Function::named(word), &self.token) {
            (Some(function), Token::Open) => OperandKind::Call(function, self.arguments(function)?),
            (Some(function), _) => return self.expected(&format!("`(` behind {}", function.name())),
            (None, Token::Open) => {
                return mistake(at, format!("`{}` is not a function here; there are LOWER, UPPER, LENGTH, COALESCE and ABS", shortened(word)));
            }
            _ if word.eq_ignore_ascii_case("TRUE") => OperandKind::Bool(true),
            _ if word.eq_ignore_ascii_case("FALSE") => OperandKind::Bool(false),
            _ => return mistake(at, format!("`{0}` means nothing here; a column is written [{0}], a text '{0}'", shortened(word))),
        };
        Ok(Operand { at, kind })
    }

    fn arguments(&mut self, function: Function) -> Result<Vec<Operand<'a>>, Mistake> {
        let at = self.at;
        self.take()?;
        if self.call_depth == DEEPEST_CALL {
            return mistake(at, format!("functions are nested deeper than {DEEPEST_CALL} levels"));
        }
        self.call_depth += 1;
        let arguments = self.deeper(Self::operands);
        self.call_depth -= 1;
        let arguments = arguments?;
        match (function, arguments.len()) {
            (Function::Coalesce, 1) => mistake(at, "COALESCE needs two values or more"),
            (Function::Coalesce, _) | (_, 1) => Ok(arguments),
            (function, _) => mistake(at, format!("{} takes one value", function.name())),
        }
    }
}

fn count(counter: &mut usize, most: usize, what: &str, at: usize) -> Result<(), Mistake> {
    *counter += 1;
    if *counter > most { mistake(at, format!("there are more than {most} {what}")) } else { Ok(()) }
}

fn is_reserved(word: &str) -> bool {
    ["AND", "OR", "NOT", "IN", "IS", "LIKE", "BETWEEN"].iter().any(|reserved| word.eq_ignore_ascii_case(reserved))
}

/// One clause is itself; several are joined.
fn joined<'a>(mut clauses: Vec<Clause<'a>>, join: impl FnOnce(Vec<Clause<'a>>) -> Clause<'a>) -> Clause<'a> {
    match (clauses.pop(), clauses.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            clauses.extend(last);
            join(clauses)
        }
    }
}
