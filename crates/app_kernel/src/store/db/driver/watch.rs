//! What is seen of statements from outside: how long they take, by verb, and their spans where a request is traced. Never their values.

use std::sync::Arc;
use std::time::Instant;

use super::{Backend, ByKey, DbError, Operation, Session};
use crate::base::metrics::{Histogram, SHORT_SECONDS, Samples};
use crate::base::trace::{self, Current, Span, SpanKind};

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Select,
    Insert,
    Update,
    Delete,
    Other,
}

const VERBS: [(Verb, &str); 5] = [
    (Verb::Select, "SELECT"),
    (Verb::Insert, "INSERT"),
    (Verb::Update, "UPDATE"),
    (Verb::Delete, "DELETE"),
    (Verb::Other, "OTHER"),
];

/// The statements of one database.
#[derive(Debug)]
pub(crate) struct Vitals {
    backend: Backend,
    /// In the order of [`VERBS`].
    durations: [Histogram; VERBS.len()],
    failed: [crate::base::metrics::Counter; VERBS.len()],
}

impl Vitals {
    pub(crate) fn new(backend: Backend) -> Arc<Self> {
        let durations = std::array::from_fn(|_| Histogram::new(SHORT_SECONDS));
        Arc::new(Vitals { backend, durations, failed: Default::default() })
    }

    /// Tells of them; `database` says which one it is.
    pub(crate) fn tell(&self, samples: &mut Samples, database: &str) {
        for (place, (_, verb)) in VERBS.iter().enumerate() {
            let labels =
                [("database", database), ("db_system_name", system(self.backend)), ("db_operation_name", *verb)];
            let about = "How long statements take, with the way to the database and back.";
            samples.histogram("db_client_operation_duration_seconds", about, &labels, &self.durations[place]);
            let about = "Statements that failed, also those that were tried again.";
            samples.counter("app_kernel_db_statements_failed_total", about, &labels, self.failed[place].get());
        }
    }
}

/// The database as OpenTelemetry names it.
fn system(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgresql",
        Backend::MySql => "mysql",
    }
}

/// Watches the statements of one operation. It goes along to another thread.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    vitals: Arc<Vitals>,
    current: Option<Current>,
}

impl Watch {
    /// For what is under way on this task.
    pub(crate) fn new(vitals: &Arc<Vitals>) -> Self {
        Watch { vitals: Arc::clone(vitals), current: trace::current() }
    }

    /// Watches one statement, which begins now.
    pub(super) fn begin(watch: Option<&Watch>, sql: &str) -> Watching {
        Watching(watch.map(|Watch { vitals, current }| {
            let verb = verb_of(sql);
            let span = current.as_ref().map(|current| Box::new(begin_span(current, vitals.backend, sql, verb)));
            Under { vitals: Arc::clone(vitals), place: verb as usize, began: Instant::now(), span }
        }))
    }
}

fn begin_span(current: &Current, backend: Backend, sql: &str, verb: Verb) -> Span {
    let (name, table) = (VERBS[verb as usize].1, table_of(sql, verb));
    let summary = table.as_ref().map_or_else(|| name.to_owned(), |table| format!("{name} {table}"));
    let mut span = current.begin(summary, SpanKind::Client);
    span.set("db.system.name", system(backend));
    span.set("db.operation.name", name);
    if let Some(table) = table {
        span.set("db.collection.name", table);
    }
    span
}

/// A statement that is under way. It stands beside the statement's future and not around it, which would double what a request has to carry.
#[must_use = "it is told how the statement ended"]
pub(super) struct Watching(Option<Under>);

struct Under {
    vitals: Arc<Vitals>,
    place: usize,
    began: Instant,
    span: Option<Box<Span>>,
}

impl Watching {
    /// The statement ended so.
    pub(super) fn end<T>(self, outcome: Result<T, DbError>) -> Result<T, DbError> {
        if let Some(Under { vitals, place, began, mut span }) = self.0 {
            vitals.durations[place].observe_duration(began.elapsed());
            if outcome.is_err() {
                vitals.failed[place].inc();
                span.iter_mut().for_each(|span| span.fail());
            }
        }
        outcome
    }
}

/// An operation whose statements are watched.
pub(crate) struct Watched<O> {
    pub(crate) operation: O,
    pub(crate) watch: Watch,
}

impl<O: Operation> Operation for Watched<O> {
    type Output = O::Output;

    async fn run(&self, session: &mut Session<'_>) -> Result<O::Output, DbError> {
        session.watch = Some(self.watch.clone());
        self.operation.run(session).await
    }

    fn leaves_changes(&self) -> bool {
        self.operation.leaves_changes()
    }

    fn is_one_statement(&self, backend: Backend) -> bool {
        self.operation.is_one_statement(backend)
    }

    fn is_lookup(&self) -> bool {
        self.operation.is_lookup()
    }

    fn by_key(&self) -> Option<&dyn ByKey<O::Output>> {
        self.operation.by_key()
    }

    fn watch(&self) -> Option<&Watch> {
        Some(&self.watch)
    }
}

fn verb_of(sql: &str) -> Verb {
    let verb_at = |text: &str| {
        let word = text.trim_start().as_bytes();
        let starts_with = |verb: &str| word.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(verb.as_bytes()));
        VERBS[..4].iter().find(|(_, verb)| starts_with(verb)).map(|(verb, _)| *verb)
    };
    if let Some(verb) = verb_at(sql) {
        return verb;
    }
    if !sql.trim_start().as_bytes().get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"WITH")) {
        return Verb::Other;
    }
    // What is written within counts; only where nothing is, it is a question.
    let opened = |text: &'_ str| verb_at(text).filter(|verb| *verb != Verb::Select);
    sql.split('(').skip(1).chain(sql.split(')').skip(1)).find_map(opened).unwrap_or(Verb::Select)
}

/// The first table that a statement names. Ours are words; what is no plain name is not told, because it might hold a value.
fn table_of(sql: &str, verb: Verb) -> Option<String> {
    let before = match verb {
        Verb::Select | Verb::Delete => "FROM",
        Verb::Insert => "INTO",
        Verb::Update => "UPDATE",
        Verb::Other => return None,
    };
    let mut words = sql.split_whitespace();
    words.find(|word| word.trim_start_matches('(').eq_ignore_ascii_case(before))?;
    let name = words.next()?.split(['(', ')', ',', ';']).next()?.trim_matches(['"', '`', '[', ']']);
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_verb_and_table() {
        for (sql, verb, table) in [
            ("SELECT \"id\" FROM \"widgets\" WHERE \"id\" = $1", "SELECT", Some("widgets")),
            ("  select 1", "SELECT", None),
            ("INSERT INTO `widgets`(`id`) VALUES (?)", "INSERT", Some("widgets")),
            ("UPDATE [widgets] SET [a] = 'FROM x'", "UPDATE", Some("widgets")),
            ("DELETE FROM widgets", "DELETE", Some("widgets")),
            ("WITH n AS (INSERT INTO \"widgets\" VALUES ($1) RETURNING *) SELECT 1 FROM n", "INSERT", Some("widgets")),
            ("WITH q AS (SELECT 1) DELETE FROM \"widgets\"", "DELETE", Some("widgets")),
            ("WITH q AS (SELECT 1 FROM \"a\") SELECT * FROM q", "SELECT", Some("a")),
            ("SELECT * FROM (SELECT 1) x", "SELECT", None),
            ("SELECT * FROM 'a secret'", "SELECT", None),
            ("COMMIT", "OTHER", None),
            ("", "OTHER", None),
            ("é", "OTHER", None),
        ] {
            let found = verb_of(sql);
            assert_eq!((VERBS[found as usize], table_of(sql, found).as_deref()), ((found, verb), table), "{sql}");
        }
    }
}
