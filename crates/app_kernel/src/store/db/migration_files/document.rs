//! One migration as two texts: SQL to be read by people, and JSON that says the rest and that both belong together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::clock::{Timestamp, iso};
use crate::base::secret::token_hash;
use crate::store::db::plan::finding::Finding;

/// The version of the form that is written here, and the newest that is read.
pub(crate) const FORMAT: u32 = 1;

/// A migration that was applied somewhere: what its JSON file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// The version of this form.
    pub(crate) format: u32,
    /// `<YYYYMMDD_HHMMSS>_<8 hex>`, as the files are called.
    pub(crate) name: String,
    /// Whose schema it is.
    pub(crate) service: String,
    /// The kind of database that the SQL is for: `sqlite`, `postgres`, `mysql`.
    pub(crate) backend: String,
    /// Why the schema changed.
    pub(crate) reason: String,
    /// The kernel that applied it first.
    pub(crate) kernel_version: String,
    /// When.
    #[serde(with = "iso")]
    pub(crate) applied_at: Timestamp,
    /// How long its statements took there, in milliseconds.
    pub(crate) duration_ms: u64,
    /// The rows that statements about data changed there.
    pub(crate) rows_touched: u64,
    /// A hash of the tables of the service before.
    pub(crate) schema_before: String,
    /// The same, after.
    pub(crate) schema_after: String,
    /// The tables that changed, and a hash of each before and after.
    pub(crate) tables: BTreeMap<String, TableStates>,
    /// What was done, in order.
    pub(crate) steps: Vec<StepDocument>,
    /// What was said about the change.
    pub(crate) findings: Vec<Finding>,
    /// The SHA-256 of the SQL file.
    pub(crate) checksum: String,
}

/// A table's hash before and after; none where it was not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableStates {
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepDocument {
    /// The table that it changes.
    pub(crate) table: String,
    /// When another database takes it over.
    pub(crate) replayed: Replayed,
    /// What is there after it: a column with its type, others with nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) makes: BTreeMap<String, String>,
    /// What is no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) removes: Vec<String>,
    /// Its SQL.
    pub(crate) statements: Vec<String>,
    /// PostgreSQL: the index that it makes after the transaction, while others write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) later: Option<String>,
}

/// When a step is taken over from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Replayed {
    /// Where what it makes is missing.
    WhereMissing,
    /// Where the tables are just as they were where it ran first.
    WhereUnchanged,
    /// Always: it only keeps the register of what was declared.
    Always,
    /// Where the table has no rows: with some, it would lose data.
    WhereEmpty,
}

impl Document {
    /// The SQL file: one statement a paragraph.
    pub(crate) fn sql(&self) -> String {
        let Document { name, service, backend, reason, kernel_version, .. } = self;
        let mut sql = format!(
            "-- Migration {name} of {} for {backend}. Reason: {reason}. Made by app_kernel {kernel_version}.\n\
             -- Other databases replay it, so it is not edited. {name}.json belongs to it.\n",
            service.lines().collect::<Vec<_>>().join(" ")
        );
        for statement in self.steps.iter().flat_map(|step| &step.statements) {
            sql.push_str(&format!("\n{statement};\n"));
        }
        sql
    }

    /// The JSON file.
    pub(crate) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a migration is always JSON");
        text.push('\n');
        text
    }

    /// The same with the checksum of its SQL.
    pub(crate) fn sealed(mut self) -> Self {
        self.checksum = checksum(&self.sql());
        self
    }
}

/// The SHA-256 of an SQL file, in hex. Git may give its lines other ends on other systems, which changes nothing.
pub(crate) fn checksum(sql: &str) -> String {
    token_hash(&sql.replace("\r\n", "\n"))
}
