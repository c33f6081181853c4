//! What is taken over from files: decided before anything runs, from plain values, on every database alike.
//!
//! A file whose end the schema has reached already is only noted. Else its steps run where what they make is missing; a step that rewrites
//! a table runs only where the tables are just as they were, and one that could lose data only where there is none. What is left, the
//! planner does.

use std::collections::{BTreeMap, BTreeSet};

use super::MigrationFiles;
use super::describe::is_bookkeeping;
use super::document::{Document, Replayed, StepDocument};
use super::objects::{Objects, objects_of, rename_table, states_of, table_key};
use crate::base::error::{Error, Result};
use crate::store::db::dialect::Dialect;
use crate::store::db::inspect::Found;

/// What becomes of one file.
#[derive(Debug, PartialEq)]
pub(crate) struct Replay<'a> {
    pub(crate) document: &'a Document,
    pub(crate) verdict: Verdict,
    /// Those that run, in order.
    pub(crate) steps: Vec<&'a StepDocument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Some of its steps run.
    Replayed,
    /// What it leads to is there.
    AlreadyThere,
    /// It is for another kind of database, for which the way is planned from the code.
    OtherBackend,
}

impl Verdict {
    /// As it is recorded.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Replayed => "replayed",
            Verdict::AlreadyThere => "already_there",
            Verdict::OtherBackend => "other_backend",
        }
    }
}

/// The schema as it is, or as it will be once the files before were taken over.
#[derive(Debug, Clone)]
pub(crate) struct Imagined {
    pub(crate) objects: Objects,
    /// The fingerprints of all tables.
    states: BTreeMap<String, String>,
    /// Tables of which nobody knows the fingerprint before the files are really taken over.
    blurred: BTreeSet<String>,
}

impl Imagined {
    pub(crate) fn of(found: &Found, dialect: &dyn Dialect) -> Self {
        Imagined { objects: objects_of(found, dialect), states: states_of(found, |_| true), blurred: BTreeSet::new() }
    }

    fn is_at(&self, table: &str, state: Option<&String>) -> bool {
        !self.blurred.contains(table) && self.states.get(table) == state
    }
}

/// Decides about all files that are not recorded yet, the oldest first. `all` may explain where something comes from; `present` is the hash
/// of the schema.
///
/// # Errors
/// Where a file makes one thing and the database has another of that name; names both.
pub(crate) fn decide<'a>(
    pending: &[&'a Document],
    all: &[Document],
    imagined: &mut Imagined,
    present: &str,
    backend: &str,
    files: &MigrationFiles,
) -> Result<Vec<Replay<'a>>> {
    let leads_here = |document: &&Document| document.backend == backend && document.schema_after == present;
    let reached = pending.iter().rposition(leads_here);
    let mut replays = Vec::new();
    for (place, document) in pending.iter().enumerate() {
        let (verdict, steps) = if document.backend != backend {
            (Verdict::OtherBackend, Vec::new())
        } else if reached.is_some_and(|reached| place <= reached) {
            (Verdict::AlreadyThere, Vec::new())
        } else {
            let later: Vec<&StepDocument> = pending[place..].iter().flat_map(|document| &document.steps).collect();
            let steps = steps_to_run(document, &later, all, imagined, files)?;
            let runs = steps.iter().any(|step| !is_bookkeeping(step));
            (if runs { Verdict::Replayed } else { Verdict::AlreadyThere }, steps)
        };
        replays.push(Replay { document, verdict, steps });
    }
    Ok(replays)
}

/// What is planned beyond the files that are taken over: whole steps, and columns that a table of theirs lacks.
pub(crate) fn remaining<'a>(
    planned: &'a [StepDocument],
    replays: &[Replay<'_>],
    imagined: &Imagined,
) -> (Vec<&'a StepDocument>, Vec<&'a str>) {
    let replayed: Vec<&StepDocument> = replays.iter().flat_map(|replay| replay.steps.iter().copied()).collect();
    if replayed.is_empty() {
        return (planned.iter().collect(), Vec::new());
    }
    let is_there = |object: &String| imagined.objects.contains_key(object);
    let is_left = |step: &&StepDocument| match step.replayed {
        Replayed::Always => false,
        Replayed::WhereMissing => {
            !step.makes.keys().any(is_there) && (step.removes.is_empty() || step.removes.iter().any(is_there))
        }
        Replayed::WhereUnchanged | Replayed::WhereEmpty => !replayed.iter().any(|other| other.table == step.table),
    };
    let lacking = planned.iter().filter(|step| step.makes.keys().any(is_there)).flat_map(|step| step.makes.keys());
    let columns = lacking.filter(|object| !is_there(object)).filter_map(|object| object.strip_prefix("column "));
    (planned.iter().filter(is_left).collect(), columns.collect())
}

fn steps_to_run<'a>(
    document: &'a Document,
    later: &[&StepDocument],
    all: &[Document],
    imagined: &mut Imagined,
    files: &MigrationFiles,
) -> Result<Vec<&'a StepDocument>> {
    let is_unchanged = document.tables.iter().all(|(table, states)| imagined.is_at(table, states.before.as_ref()));
    let mut steps = Vec::new();
    // Tables that this file would have made and that are there in a form of their own: what they lack, the planner knows better.
    let mut own: BTreeSet<&str> = BTreeSet::new();
    for step in &document.steps {
        let runs = match step.replayed {
            Replayed::Always => true,
            _ if is_overtaken(step, later, &imagined.objects) => false,
            Replayed::WhereEmpty => !is_complete(step, &imagined.objects),
            Replayed::WhereUnchanged => is_unchanged,
            Replayed::WhereMissing => match standing(step, &imagined.objects) {
                Standing::Missing => !own.contains(step.table.as_str()),
                Standing::There => {
                    if step.removes.is_empty() && step.makes.contains_key(&table_key(&step.table)) {
                        own.insert(&step.table);
                    }
                    false
                }
                Standing::Otherwise(object, there) => {
                    return Err(conflict(document, &object, &step.makes[&object], &there, all, files));
                }
            },
        };
        if runs {
            take(step, &mut imagined.objects);
            steps.push(step);
        }
    }
    // Whether a table is empty shows only later.
    let is_certain = document.steps.iter().all(|step| step.replayed != Replayed::WhereEmpty);
    let ran_whole = is_unchanged && is_certain && steps.len() == document.steps.len();
    for (table, states) in &document.tables {
        match &states.after {
            Some(after) if ran_whole => drop(imagined.states.insert(table.clone(), after.clone())),
            None if ran_whole => drop(imagined.states.remove(table)),
            _ if steps.is_empty() => {}
            _ => drop(imagined.blurred.insert(table.clone())),
        }
    }
    Ok(steps)
}

/// Whether all is as after this step.
fn is_complete(step: &StepDocument, objects: &Objects) -> bool {
    step.makes.iter().all(|(object, what)| objects.get(object) == Some(what))
        && !step.removes.iter().any(|object| objects.contains_key(object))
}

/// Whether what this step makes has another name by now, which a later step gave it.
fn is_overtaken(step: &StepDocument, later: &[&StepDocument], objects: &Objects) -> bool {
    let is_renamed = |object: &String| {
        let renames = |later: &&&StepDocument| later.removes.contains(object);
        let is_done = |later: &StepDocument| later.makes.keys().any(|made| objects.contains_key(made));
        !objects.contains_key(object) && later.iter().filter(renames).any(|later| is_done(later))
    };
    is_renamed(&table_key(&step.table)) || step.makes.keys().any(is_renamed)
}

enum Standing {
    Missing,
    There,
    /// Something else has that name: which, and what it is.
    Otherwise(String, String),
}

fn standing(step: &StepDocument, objects: &Objects) -> Standing {
    let is_there = |object: &String| objects.contains_key(object);
    if !step.removes.is_empty() {
        let is_to_do = step.removes.iter().any(is_there) && !step.makes.keys().any(is_there);
        return if is_to_do { Standing::Missing } else { Standing::There };
    }
    let table = step.makes.keys().find(|object| object.starts_with("table "));
    if table.is_some_and(|table| !is_there(table)) {
        return Standing::Missing;
    }
    for (object, what) in &step.makes {
        match objects.get(object) {
            Some(there) if there != what => return Standing::Otherwise(object.clone(), there.clone()),
            // What a table lacks that was made otherwise, the planner adds.
            None if table.is_none() => return Standing::Missing,
            _ => {}
        }
    }
    Standing::There
}

/// What is there after a step.
fn take(step: &StepDocument, objects: &mut Objects) {
    for object in &step.removes {
        match (object.strip_prefix("table "), step.makes.keys().find_map(|made| made.strip_prefix("table "))) {
            (Some(old), Some(new)) => rename_table(objects, old, new),
            _ => drop(objects.remove(object)),
        }
    }
    objects.extend(step.makes.clone());
}

fn conflict(
    document: &Document,
    object: &str,
    wanted: &str,
    there: &str,
    all: &[Document],
    files: &MigrationFiles,
) -> Error {
    let made_it = |other: &&Document| {
        other.name != document.name
            && other.backend == document.backend
            && other.steps.iter().any(|step| step.makes.get(object).is_some_and(|what| what == there))
    };
    let other = all.iter().rev().find(made_it);
    let path = |document: &Document| files.path(&document.name, "sql").display().to_string();
    let because = other.map_or_else(
        || format!("this database has it as `{there}`, and no file says since when"),
        |other| format!("{} made it `{there}`", path(other)),
    );
    let cure = other.map_or_else(
        || "give this database that type, or start with a fresh one".to_owned(),
        |_| "two branches meant different things: delete both files of the one that the code does not mean, and start again".to_owned(),
    );
    Error::conflict(format!(
        "MIGRATIONS_DIR: {} can't be taken over: it makes the {object} `{wanted}`, but {because}; {cure}",
        path(document)
    ))
}

/// A statement of a file that failed: which, why, and what else changed its table.
pub(crate) fn failure(
    document: &Document,
    step: &StepDocument,
    statement: &str,
    cause: &str,
    all: &[Document],
    files: &MigrationFiles,
) -> Error {
    let file = |document: &Document| -> String { files.path(&document.name, "sql").display().to_string() };
    let touches = |other: &&Document| {
        other.name != document.name
            && other.backend == document.backend
            && other.steps.iter().any(|other| other.table == step.table)
    };
    let beside = all.iter().rev().find(touches).map(|other| format!(" {} changes that table too.", file(other)));
    let summary = statement.lines().next().unwrap_or_default().trim_end_matches(" (");
    Error::conflict(format!(
        "MIGRATIONS_DIR: {} can't be taken over: `{summary}` fails: {cause}.{} Change the data that is in the way, \
         or delete both files of this migration and the difference is planned anew",
        file(document),
        beside.unwrap_or_default()
    ))
}
