//! One meaning on three databases: thousands of random conditions over rows full of traps, asked of a real database and of a small
//! evaluator that knows only the rules of SQL's three-valued logic. It works on conditions as they were made, before any text.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use super::hostile::{Dice, extremes};
use super::*;
use crate::base::secret::Secret;
use crate::store::db::cursor::{Cursor, keyset};
use crate::store::db::dialect::Backend;
use crate::store::db::dialect::literal::push_literal;
use crate::store::db::driver::{Driver, Operation, Options, Session};
use crate::store::db::entity::ColumnDef;
use crate::store::db::error::DbError;
use crate::store::db::url::DatabaseUrl;
use crate::store::db::value::ColumnType;

/// A value of a condition.
enum Term {
    Column(usize),
    Literal(Value),
    Parameter(Value),
    Call(&'static str, Vec<Term>),
}

/// A condition as it was made.
enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Alone(Term),
    Compare(Term, &'static str, Term),
    In(Term, bool, Vec<Term>),
    Like(Term, bool, &'static str),
    Between(Term, bool, Term, Term),
    IsNull(Term, bool),
}

const COLUMNS: [(&str, ColumnType, bool); 10] = [
    ("name", ColumnType::Text, false),
    ("color", ColumnType::Text, true),
    ("size", ColumnType::Int, true),
    ("count", ColumnType::Int, false),
    ("weight", ColumnType::Float, true),
    ("flag", ColumnType::Bool, true),
    ("deleted", ColumnType::Bool, false),
    ("seen", ColumnType::Timestamp, true),
    ("due", ColumnType::Date, true),
    ("opens", ColumnType::Time, true),
];

#[rustfmt::skip]
const TEXTS: [&str; 24] = [
    "", " ", "a", "A", "a ", "ab", "Ab", "b", "É", "é", "e\u{301}", "ß", "ẞ", "İ", "ı", "\u{212A}", "%", "_", "\\", "50%", "'", "👩‍👩‍👧‍👦",
    "\u{10FFFF}", "a\nb",
];
const PATTERNS: [&str; 12] = ["", "%", "_", "a%", "A%", "%b", "_b", r"\%", r"50\%", r"\\", r"\_%", "a_%"];
const INTS: [i64; 8] = [0, 1, -1, 2, i64::MAX, i64::MIN, (1 << 53) + 1, -7];
const FLOATS: [f64; 9] = [0.0, 0.1, 1.0 / 3.0, -2.5, 1e308, -1e308, 5e-324, 2.0, 1e-7];

/// A rule that each row keeps, with everything that a rule can say.
const RULE: &str = r"LENGTH([name]) >= 0 OR LOWER([name]) LIKE 'a\_%' OR [seen] > '2026-01-30T12:00:00Z' OR [due] = '2026-01-30'
    OR [opens] = '12:30' OR ABS([weight]) > 0.1 OR ABS([size]) IN (1, -9223372036854775808) OR COALESCE([flag], TRUE) OR [size] IN ()";

fn table(name: &str) -> EntityDef {
    let mut entity = EntityDef::new(name.to_owned());
    entity.columns = COLUMNS.map(|(name, ty, nullable)| ColumnDef { nullable, ..ColumnDef::new(name, ty) }).into();
    entity
}

fn value(dice: &mut Dice, ty: ColumnType) -> Value {
    match ty {
        ColumnType::Text => dice.pick(&TEXTS).into(),
        ColumnType::Int => Value::Int(dice.pick(&INTS)),
        ColumnType::Float => Value::Float(dice.pick(&FLOATS)),
        ColumnType::Bool => Value::Bool(dice.roll(2) == 0),
        ColumnType::Timestamp => {
            let times = [
                "0001-01-01T00:00:00Z",
                "1969-12-31T23:59:59.999999Z",
                "2026-01-30T12:00:00Z",
                "2026-01-30T12:00:00.5Z",
            ];
            Value::Timestamp(dice.pick(&times).parse().expect("a time"))
        }
        ColumnType::Date => Value::Date(dice.pick(&["0001-01-01", "2024-02-29", "9999-12-31"]).parse().expect("a day")),
        _ => Value::Time(dice.pick(&["00:00", "12:30:00.5", "23:59:59.999999"]).parse().expect("a time of day")),
    }
}

fn rows(dice: &mut Dice) -> Vec<Vec<Value>> {
    let mut row = || {
        COLUMNS
            .map(|(_, ty, nullable)| if nullable && dice.roll(4) == 0 { Value::Null } else { value(dice, ty) })
            .to_vec()
    };
    (0..80).map(|_| row()).collect()
}

fn column(dice: &mut Dice, ty: ColumnType) -> Term {
    let fitting: Vec<usize> = (0..COLUMNS.len()).filter(|i| COLUMNS[*i].1 == ty).collect();
    Term::Column(dice.pick(&fitting))
}

/// A value that differs between rows.
fn varying(dice: &mut Dice, ty: ColumnType, depth: usize) -> Term {
    if depth == 0 || dice.roll(3) > 0 {
        return column(dice, ty);
    }
    match (ty, dice.roll(3)) {
        (ColumnType::Text, 0) => Term::Call("LOWER", vec![varying(dice, ty, depth - 1)]),
        (ColumnType::Text, 1) => Term::Call("UPPER", vec![varying(dice, ty, depth - 1)]),
        (ColumnType::Int, 0) => Term::Call("LENGTH", vec![varying(dice, ColumnType::Text, depth - 1)]),
        (ColumnType::Int | ColumnType::Float, 1) => Term::Call("ABS", vec![varying(dice, ty, depth - 1)]),
        _ => Term::Call("COALESCE", vec![varying(dice, ty, depth - 1), term(dice, ty, depth - 1)]),
    }
}

fn term(dice: &mut Dice, ty: ColumnType, depth: usize) -> Term {
    match dice.roll(4) {
        0 => Term::Literal(value(dice, ty)),
        1 if dice.roll(8) == 0 => Term::Parameter(Value::Null),
        1 => Term::Parameter(value(dice, ty)),
        2 if ty == ColumnType::Text => Term::Call("LOWER", vec![Term::Parameter(value(dice, ty))]),
        _ => varying(dice, ty, depth),
    }
}

fn test(dice: &mut Dice, depth: usize) -> Test {
    if depth > 0 && dice.roll(2) == 0 {
        let mut several = || (0..2 + dice.roll(2)).map(|_| test(dice, depth - 1)).collect();
        let parts: Vec<Test> = several();
        return match dice.roll(3) {
            0 => Test::And(parts),
            1 => Test::Or(parts),
            _ => Test::Not(Box::new(Test::Or(parts))),
        };
    }
    let ordered = [
        ColumnType::Text,
        ColumnType::Int,
        ColumnType::Float,
        ColumnType::Timestamp,
        ColumnType::Date,
        ColumnType::Time,
    ];
    let ty = dice.pick(&ordered);
    let (left, negated) = (varying(dice, ty, 2), dice.roll(2) == 0);
    match dice.roll(8) {
        0 => Test::Alone(varying(dice, ColumnType::Bool, 1)),
        1 => Test::In(left, negated, (0..dice.roll(4)).map(|_| term(dice, ty, 1)).collect()),
        2 => Test::Like(varying(dice, ColumnType::Text, 2), negated, dice.pick(&PATTERNS)),
        3 => Test::Between(left, negated, term(dice, ty, 1), term(dice, ty, 1)),
        4 => Test::IsNull(left, negated),
        5 => Test::Not(Box::new(test(dice, 0))),
        _ => Test::Compare(left, dice.pick(&["=", "!=", "<>", "<", "<=", ">", ">="]), term(dice, ty, 2)),
    }
}

/// Writes the condition in the language of where clauses.
struct Written {
    clause: String,
    params: Vec<Value>,
}

impl Written {
    fn of(test: &Test) -> Self {
        let mut written = Written { clause: String::new(), params: Vec::new() };
        written.test(test);
        written
    }

    fn push(&mut self, text: &str) {
        self.clause.push_str(text);
    }

    fn test(&mut self, test: &Test) {
        let not = |negated: bool| if negated { " NOT" } else { "" };
        match test {
            Test::And(parts) => self.joined(parts, " AND "),
            Test::Or(parts) => self.joined(parts, " or "),
            Test::Not(inner) => {
                self.push("NOT ");
                self.test(inner);
            }
            Test::Alone(term) => self.term(term),
            Test::Compare(left, comparison, right) => {
                self.term(left);
                self.push(comparison);
                self.term(right);
            }
            Test::In(left, negated, list) => {
                self.term(left);
                self.push(not(*negated));
                self.push(" IN (");
                self.list(list);
            }
            Test::Like(left, negated, pattern) => {
                self.term(left);
                write!(self.clause, "{} LIKE '{pattern}'", not(*negated)).expect("a String takes all");
            }
            Test::Between(left, negated, low, high) => {
                self.term(left);
                self.push(not(*negated));
                self.push(" BETWEEN ");
                self.term(low);
                self.push(" AND ");
                self.term(high);
            }
            Test::IsNull(left, negated) => {
                self.term(left);
                write!(self.clause, " IS{} NULL", not(*negated)).expect("a String takes all");
            }
        }
    }

    fn joined(&mut self, parts: &[Test], word: &str) {
        for (i, part) in parts.iter().enumerate() {
            self.push(if i == 0 { "(" } else { word });
            self.test(part);
        }
        self.push(")");
    }

    fn list(&mut self, terms: &[Term]) {
        for (i, term) in terms.iter().enumerate() {
            self.push(if i == 0 { "" } else { ", " });
            self.term(term);
        }
        self.push(")");
    }

    fn term(&mut self, term: &Term) {
        match term {
            Term::Column(i) => self.push(&format!("[{}]", COLUMNS[*i].0)),
            Term::Parameter(value) => {
                self.push("?");
                self.params.push(value.clone());
            }
            Term::Call(name, arguments) => {
                self.push(name);
                self.push("(");
                self.list(arguments);
            }
            Term::Literal(Value::Int(n)) => self.push(&n.to_string()),
            Term::Literal(Value::Float(x)) => self.push(&format!("{x:e}")),
            Term::Literal(Value::Bool(b)) => self.push(if *b { "true" } else { "FALSE" }),
            Term::Literal(value) => {
                let json = serde_json::to_value(value).expect("plain values are JSON");
                self.push(&format!("'{}'", json.as_str().expect("the others are texts").replace('\'', "''")));
            }
        }
    }
}

/// What a condition is for a row: true, false or unknown.
fn holds(test: &Test, row: &[Value]) -> Option<bool> {
    let all = |parts: &[Test], stop: bool| {
        let truths: Vec<Option<bool>> = parts.iter().map(|part| holds(part, row)).collect();
        if truths.contains(&Some(stop)) {
            Some(stop)
        } else if truths.contains(&None) {
            None
        } else {
            Some(!stop)
        }
    };
    match test {
        Test::And(parts) => all(parts, false),
        Test::Or(parts) => all(parts, true),
        Test::Not(inner) => holds(inner, row).map(|truth| !truth),
        Test::Alone(term) => worth(term, row).as_bool(),
        Test::Compare(left, comparison, right) => compared(&worth(left, row), comparison, &worth(right, row)),
        Test::In(left, negated, list) => {
            let left = worth(left, row);
            let truths: Vec<Option<bool>> = list.iter().map(|item| compared(&left, "=", &worth(item, row))).collect();
            let found = if truths.contains(&Some(true)) {
                Some(true)
            } else if truths.contains(&None) {
                None
            } else {
                Some(false)
            };
            found.map(|found| found != *negated)
        }
        Test::Like(left, negated, pattern) => {
            let pattern: Vec<char> = pattern.chars().collect();
            worth(left, row)
                .as_str()
                .map(|text| matches_pattern(&text.chars().collect::<Vec<_>>(), &pattern) != *negated)
        }
        Test::Between(left, negated, low, high) => {
            let left = worth(left, row);
            let ends = [compared(&left, ">=", &worth(low, row)), compared(&left, "<=", &worth(high, row))];
            let inside = if ends.contains(&Some(false)) {
                Some(false)
            } else if ends.contains(&None) {
                None
            } else {
                Some(true)
            };
            inside.map(|inside| inside != *negated)
        }
        Test::IsNull(left, negated) => Some(worth(left, row).is_null() != *negated),
    }
}

fn worth(term: &Term, row: &[Value]) -> Value {
    match term {
        Term::Column(i) => row[*i].clone(),
        Term::Literal(value) | Term::Parameter(value) => value.clone(),
        Term::Call(name, arguments) => {
            let values = arguments.iter().map(|argument| worth(argument, row));
            let mut known = values.filter(|value| !value.is_null());
            match (*name, known.next()) {
                (_, None) => Value::Null,
                ("LOWER", Some(Value::Text(text))) => {
                    text.chars().map(|c| c.to_ascii_lowercase()).collect::<String>().into()
                }
                ("UPPER", Some(Value::Text(text))) => {
                    text.chars().map(|c| c.to_ascii_uppercase()).collect::<String>().into()
                }
                ("LENGTH", Some(Value::Text(text))) => Value::Int(text.chars().count() as i64),
                ("ABS", Some(Value::Int(n))) => n.checked_abs().into(),
                ("ABS", Some(Value::Float(x))) => Value::Float(x.abs()),
                (_, Some(value)) => value,
            }
        }
    }
}

fn compared(left: &Value, comparison: &str, right: &Value) -> Option<bool> {
    if left.is_null() || right.is_null() {
        return None;
    }
    let ordering = ordering(left, right);
    Some(match comparison {
        "=" => ordering.is_eq(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        ">" => ordering.is_gt(),
        ">=" => ordering.is_ge(),
        _ => ordering.is_ne(),
    })
}

/// Null is the smallest.
fn ordering(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).expect("all are finite"),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (a, b) => b.is_null().cmp(&a.is_null()),
    }
}

fn matches_pattern(text: &[char], pattern: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['%', rest @ ..], _) => (0..=text.len()).any(|skipped| matches_pattern(&text[skipped..], rest)),
        (['_', rest @ ..], [_, text @ ..]) => matches_pattern(text, rest),
        (['\\', wanted, rest @ ..], [found, text @ ..]) | ([wanted, rest @ ..], [found, text @ ..]) => {
            wanted == found && matches_pattern(text, rest)
        }
        _ => false,
    }
}

/// Statements of the tests, as the drivers take them.
struct Run(String);
struct Insert(String, Vec<Vec<Value>>);
struct Ids(String, Vec<Value>);

impl Operation for Run {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), DbError> {
        session.batch(&self.0).await
    }
}

impl Operation for Insert {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), DbError> {
        for row in &self.1 {
            session.execute(&self.0, row).await?;
        }
        Ok(())
    }
}

impl Operation for Ids {
    type Output = Vec<String>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<String>, DbError> {
        session.query(&self.0, &self.1, |row| Ok(row.text(0)?.to_owned())).await
    }
}

/// A table full of traps in a database.
struct Traps {
    driver: Driver,
    entity: EntityDef,
    rows: Vec<Vec<Value>>,
}

impl Traps {
    async fn set(url: &str, name: &str, dice: &mut Dice) -> Self {
        let url = DatabaseUrl::parse(&Secret::new(url)).expect("the scheme is known");
        let driver = Driver::connect(&url, &Options { pool_size: Some(1), ..Options::default() })
            .await
            .expect("the database is there");
        let traps = Traps { driver, entity: table(&format!("{name}_{}", std::process::id())), rows: rows(dice) };
        traps.fill().await;
        traps
    }

    fn dialect(&self) -> &'static dyn Dialect {
        self.driver.dialect()
    }

    fn quoted(&self, name: &str) -> String {
        let mut text = String::new();
        self.dialect().quote(name, &mut text);
        text
    }

    async fn fill(&self) {
        let mut columns = vec![format!(
            "{} {} NOT NULL PRIMARY KEY",
            self.quoted("id"),
            self.dialect().column_type(ColumnType::Text, true)
        )];
        columns.extend(
            COLUMNS.map(|(name, ty, _)| format!("{} {}", self.quoted(name), self.dialect().column_type(ty, false))),
        );
        let collation = match self.dialect().backend() {
            Backend::MySql if self.is_mariadb().await => " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            Backend::MySql => " CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin",
            _ => "",
        };
        let rule = render_check(RULE, &self.entity, self.dialect()).expect("the rule is right");
        columns.push(format!("CHECK ({rule})"));
        let table = self.quoted(&self.entity.table);
        let create = format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({}){collation}", columns.join(", "));
        self.driver.write(Arc::new(Run(create))).await.expect("the table can be made");
        let places: Vec<String> = (1..=COLUMNS.len() + 1)
            .map(|number| {
                let mut text = String::new();
                self.dialect().placeholder(number, &mut text);
                text
            })
            .collect();
        let rows = self.rows.iter().enumerate().map(|(i, row)| [vec![id(i).into()], row.clone()].concat());
        let insert = Insert(format!("INSERT INTO {table} VALUES ({})", places.join(", ")), rows.collect());
        self.driver.write(Arc::new(insert)).await.expect("the rows fit");
    }

    async fn is_mariadb(&self) -> bool {
        let version = self.driver.read(Ids("SELECT VERSION()".to_owned(), Vec::new())).await.expect("it has a version");
        version[0].contains("MariaDB")
    }

    async fn ids(&self, condition: &str, order: &str, limit: usize, params: Vec<Value>) -> Vec<String> {
        let (id, table) = (self.quoted("id"), self.quoted(&self.entity.table));
        let sql = format!("SELECT {id} FROM {table} WHERE {condition} ORDER BY {order} LIMIT {limit}");
        match self.driver.read(Ids(sql.clone(), params)).await {
            Ok(ids) => ids,
            Err(error) => panic!("{error:?}: {sql}"),
        }
    }

    async fn compare_conditions(&self, dice: &mut Dice, many: usize) {
        let mut hits = 0;
        for _ in 0..many {
            let made = test(dice, 3);
            let Written { clause, params } = Written::of(&made);
            let condition = match render(&clause, &self.entity, self.dialect(), 1) {
                Ok(condition) => condition,
                Err(error) => panic!("{error}: {clause}"),
            };
            let bound = condition.bind(params.clone(), None).expect("the parameters fit");
            let found = self.ids(&condition.sql, &self.quoted("id"), 1000, bound).await;
            let expected: Vec<String> =
                (0..self.rows.len()).filter(|i| holds(&made, &self.rows[*i]) == Some(true)).map(id).collect();
            assert_eq!(found, expected, "{clause} with {params:?} became {}", condition.sql);
            hits += found.len();
        }
        assert!(hits > many * 10, "most conditions must hold somewhere: {hits} rows");
    }

    async fn compare_pages(&self, dice: &mut Dice, many: usize) {
        for _ in 0..many {
            let text = random_order(dice);
            let order = parse_order(&text, &self.entity).expect("the order is right");
            let expected = self.in_order(&order);
            let mut by = String::new();
            order.print(self.dialect(), &mut by);
            let (mut seen, mut condition, mut params) = (Vec::new(), "1 = 1".to_owned(), Vec::new());
            loop {
                let page = self.ids(&condition, &by, 7, params).await;
                let Some(last) = page.last().cloned() else {
                    break;
                };
                seen.extend(page);
                assert!(seen.len() <= expected.len(), "{text} never ends: {condition}");
                let cursor = Cursor::encode(&order, &self.values_at(&last, &order)).expect("the texts are short");
                let values = Cursor::decode(&cursor, &order).expect("it is one of ours");
                (condition, params) = keyset(&order, &values, self.dialect(), 1);
            }
            assert_eq!(seen, expected, "by {text}");
        }
    }

    fn values_at(&self, wanted: &str, order: &Order) -> Vec<Value> {
        let row: usize = wanted.parse().expect("our ids are numbers");
        let value = |column: &str| match COLUMNS.iter().position(|(name, ..)| *name == column) {
            Some(i) => self.rows[row][i].clone(),
            None => wanted.into(),
        };
        order.terms().iter().map(|term| value(&term.column)).collect()
    }

    fn in_order(&self, order: &Order) -> Vec<String> {
        let mut all: Vec<(Vec<Value>, String)> =
            (0..self.rows.len()).map(|i| (self.values_at(&id(i), order), id(i))).collect();
        all.sort_by(|(left, _), (right, _)| {
            let terms = order.terms().iter().zip(left.iter().zip(right));
            terms.fold(Ordering::Equal, |so_far, (term, (left, right))| {
                so_far.then_with(|| match (left.is_null(), right.is_null()) {
                    (true, true) => Ordering::Equal,
                    (true, false) => {
                        if term.nulls_first {
                            Ordering::Less
                        } else {
                            Ordering::Greater
                        }
                    }
                    (false, true) => {
                        if term.nulls_first {
                            Ordering::Greater
                        } else {
                            Ordering::Less
                        }
                    }
                    _ if term.descending => ordering(right, left),
                    _ => ordering(left, right),
                })
            })
        });
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// A literal is the same number, to the last bit, as the parameter.
    async fn compare_floats(&self, dice: &mut Dice) {
        for _ in 0..20 {
            let mut random =
                || f64::from_bits((dice.roll(1 << 31) as u64) << 33 | (dice.roll(1 << 31) as u64) << 2 | 1);
            let floats: Vec<f64> = std::iter::repeat_with(&mut random).filter(|x| x.is_finite()).take(100).collect();
            let mut equal = String::new();
            for (i, x) in floats.iter().enumerate() {
                equal.push_str(if i == 0 { "" } else { " AND " });
                push_literal(&Value::Float(*x), self.dialect(), &mut equal);
                equal.push_str(" = ");
                self.dialect().placeholder(i + 1, &mut equal);
            }
            let params = floats.iter().map(|x| Value::Float(*x)).collect();
            let found = self.ids(&equal, &self.quoted("id"), 1000, params).await;
            assert_eq!(found.len(), self.rows.len(), "one of these is read as another number: {floats:?}");
        }
    }

    async fn ask_the_extremes(&self) {
        let mut entity = super::tests::widget();
        entity.columns.retain(|column| self.entity.column(&column.name).is_some());
        for text in extremes() {
            let condition = render(&text, &entity, self.dialect(), 1).expect("it is within the limits");
            let others_of_the_caller = format!("{} AND {} IS NOT NULL", condition.sql, self.quoted("id"));
            self.ids(&others_of_the_caller, &self.quoted("id"), 1000, Vec::new()).await;
        }
    }
}

fn id(row: usize) -> String {
    format!("{row:03}")
}

fn random_order(dice: &mut Dice) -> String {
    let mut columns: Vec<&str> = (0..1 + dice.roll(3)).map(|_| dice.pick(&COLUMNS).0).collect();
    if dice.roll(4) == 0 {
        columns.push("id");
    }
    let mut terms: Vec<String> = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        if !columns[..i].contains(column) {
            terms.push(format!(
                "[{column}]{}{}",
                dice.pick(&["", " ASC", " DESC"]),
                dice.pick(&["", " NULLS FIRST", " NULLS LAST"])
            ));
        }
    }
    terms.join(", ")
}

async fn means_the_same(url: &str, conditions: usize, pages: usize) {
    let mut dice = Dice(0x00C0_FFEE);
    let traps = Traps::set(url, "traps", &mut dice).await;
    traps.ask_the_extremes().await;
    traps.compare_floats(&mut dice).await;
    traps.compare_conditions(&mut dice, conditions).await;
    traps.compare_pages(&mut dice, pages).await;
    let drop = format!("DROP TABLE {}", traps.quoted(&traps.entity.table));
    traps.driver.write(Arc::new(Run(drop))).await.expect("the table can go");
    traps.driver.close().await;
}

/// The server's address, or nothing where `DATABASES` deselects it.
fn server(backend: &str, variable: &str) -> Option<String> {
    if std::env::var("DATABASES").is_ok_and(|chosen| !chosen.split(',').any(|name| name.trim() == backend)) {
        println!("{backend} is deselected by DATABASES");
        return None;
    }
    let missing =
        format!("{variable} is not set; run ./test, which starts a server, or set DATABASES=sqlite to run less");
    Some(std::env::var(variable).unwrap_or_else(|_| panic!("{missing}")))
}

/// Promise: C3, C13
#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clause_means_on_sqlite_what_the_rules_say() {
    if std::env::var("DATABASES").is_ok_and(|chosen| !chosen.contains("sqlite")) {
        return println!("sqlite is deselected by DATABASES");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    means_the_same(&format!("sqlite:///{}", folder.path().join("traps.db").display()), 3000, 200).await;
}

/// Promise: C3, C13
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clause_means_on_postgres_what_the_rules_say() {
    let Some(url) = server("postgres", "TEST_POSTGRES_URL") else {
        return;
    };
    means_the_same(&url, 3000, 200).await;
}

/// Promise: C3, C13
#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clause_means_on_mysql_what_the_rules_say() {
    let Some(url) = server("mysql", "TEST_MYSQL_URL") else {
        return;
    };
    means_the_same(&url, 3000, 200).await;
}
