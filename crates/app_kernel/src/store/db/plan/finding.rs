//! What there is to say about a plan before its first statement runs.

use serde::{Deserialize, Serialize};

use crate::base::error::Error;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know: a difference that is left alone.
    Note,
    /// It happens, and somebody may mind: data goes because a flag allows it, a statement that takes long or keeps writers waiting.
    Warning,
    /// It can't happen, and so nothing does.
    Refused,
}

/// One thing to say about a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The table it is about.
    pub table: String,
    /// The column it is about, where it is about one.
    pub column: Option<String>,
    /// What was found, with the number of rows where rows matter.
    pub what: String,
    /// What to do about it, where something can be done.
    pub cure: Option<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        self.cure.as_ref().map_or(Ok(()), |cure| write!(f, "; {cure}"))
    }
}

/// What [`Db::migrate`](crate::store::db::Db::migrate) would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MigrationPlan {
    /// The migrations of others that would be taken over from files first.
    pub replays: Vec<ReplayPlan>,
    /// The statements after those, in order; none where nothing is missing.
    pub statements: Vec<String>,
    /// What there is to say about them, the weightiest first.
    pub findings: Vec<Finding>,
}

/// A migration that would be taken over from its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayPlan {
    /// As its files are called.
    pub name: String,
    /// Those of its statements that would run.
    pub statements: Vec<String>,
}

impl MigrationPlan {
    /// Whether the database has the schema of the code.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replays.is_empty() && self.statements.is_empty() && !self.is_refused()
    }

    /// Whether something is in the way, so that nothing would be done.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refused)
    }

    /// The error that names everything that is in the way, where something is.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        let refused = self.findings.iter().filter(|finding| finding.severity == Severity::Refused);
        let reasons: Vec<String> = refused.map(ToString::to_string).collect();
        (!reasons.is_empty()).then(|| Error::invalid(reasons.join(". Also: ")).code("migration_refused"))
    }
}
