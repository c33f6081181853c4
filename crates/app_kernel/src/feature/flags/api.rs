//! Asking and setting flags.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;

use super::cache::FlagCache;
use super::model::{Change, Evaluation, Subject, Variant};
use super::store::{self, Flag};
use crate::base::error::Result;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// Whether somebody has a flag: `flag_enabled(&kernel, "new_dashboard").user(&user.id).await?`.
pub fn flag_enabled(kernel: &Kernel, name: impl Into<String>) -> FlagEnabled<'_> {
    FlagEnabled(evaluate_flag(kernel, name))
}

/// What a flag says to somebody, with its variant and the reason:
/// `evaluate_flag(&kernel, "page_size").user(&user.id).await?.value_as::<u32>()?`.
pub fn evaluate_flag(kernel: &Kernel, name: impl Into<String>) -> EvaluateFlag<'_> {
    EvaluateFlag { kernel, name: name.into(), subject: Subject::default() }
}

/// Sets a flag, or changes what is given: `set_flag(&kernel, "new_dashboard").enabled(true).rollout_percent(10.0).await?`. A new flag is off until it
/// is enabled; then it is for everybody, or for those that were listed with it.
pub fn set_flag(kernel: &Kernel, name: impl Into<String>) -> SetFlag<'_> {
    SetFlag { kernel, db: None, name: name.into(), change: Change::default() }
}

/// Deletes a flag, which is off then. Answers whether there was one. `db` says in whose name: that of a handler, or `kernel.db()?`.
///
/// # Errors
/// Those of the database.
pub async fn delete_flag(kernel: &Kernel, db: &Db, name: &str) -> Result<bool> {
    let Some(flag) = store::by_name(db, name).await? else { return Ok(false) };
    let was_there = db.delete::<Flag>(flag.id).await?;
    forget_after(kernel, db);
    Ok(was_there)
}

/// All flags, by name, as they lie in the database.
///
/// # Errors
/// Those of the database.
pub async fn list_flags(db: &Db) -> Result<Vec<Saved<Flag>>> {
    store::all(db).await
}

/// A question; see [`flag_enabled`].
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct FlagEnabled<'a>(EvaluateFlag<'a>);

/// A question; see [`evaluate_flag`].
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct EvaluateFlag<'a> {
    kernel: &'a Kernel,
    name: String,
    subject: Subject,
}

impl FlagEnabled<'_> {
    /// For this user.
    pub fn user(self, id: impl Into<String>) -> Self {
        FlagEnabled(self.0.user(id))
    }

    /// In this workspace.
    pub fn workspace(self, id: impl Into<String>) -> Self {
        FlagEnabled(self.0.workspace(id))
    }
}

impl EvaluateFlag<'_> {
    /// For this user.
    pub fn user(mut self, id: impl Into<String>) -> Self {
        self.subject.user_id = Some(id.into());
        self
    }

    /// In this workspace.
    pub fn workspace(mut self, id: impl Into<String>) -> Self {
        self.subject.workspace_id = Some(id.into());
        self
    }
}

impl<'a> IntoFuture for FlagEnabled<'a> {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.0.await?.is_on) })
    }
}

impl<'a> IntoFuture for EvaluateFlag<'a> {
    type Output = Result<Evaluation>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let EvaluateFlag { kernel, name, subject } = self;
            let said = evaluate_one(kernel, &name, &subject).await?;
            Ok(said.unwrap_or_else(|| {
                kernel.kept::<FlagCache>().is_unknown(&name);
                Evaluation::of_nothing()
            }))
        })
    }
}

/// What a flag says to somebody; none where nobody has set it.
pub(super) async fn evaluate_one(kernel: &Kernel, name: &str, subject: &Subject) -> Result<Option<Evaluation>> {
    let flags = kernel.kept::<FlagCache>().flags(&kernel.db()?).await?;
    Ok(flags.get(name).map(|flag| flag.evaluate(subject)))
}

/// What each flag says to somebody, by name.
pub(super) async fn evaluate_all(kernel: &Kernel, subject: &Subject) -> Result<Vec<(String, Evaluation)>> {
    let flags = kernel.kept::<FlagCache>().flags(&kernel.db()?).await?;
    let mut said: Vec<_> = flags.iter().map(|(name, flag)| (name.clone(), flag.evaluate(subject))).collect();
    said.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(said)
}

/// A change; see [`set_flag`].
#[derive(Debug)]
#[must_use = "nothing is set until it is awaited"]
pub struct SetFlag<'a> {
    kernel: &'a Kernel,
    db: Option<Db>,
    name: String,
    change: Change,
}

impl SetFlag<'_> {
    /// In whose name, or in which transaction; the service's own where it is not said. In handlers, take [`Db`] as an argument.
    pub fn on(mut self, db: &Db) -> Self {
        self.db = Some(db.clone());
        self
    }

    /// Whether anybody has it.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.change.enabled = Some(enabled);
        self
    }

    /// How many have it, beside those that are listed: 0 to 100.
    pub fn rollout_percent(mut self, percent: impl Into<f64>) -> Self {
        self.change.rollout_percent = Some(percent.into());
        self
    }

    /// Who has it, whatever the percentage.
    pub fn users<S: Into<String>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.change.users = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// Which workspaces have it, whatever the percentage.
    pub fn workspaces<S: Into<String>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.change.workspaces = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// Its values, with their weights; the name of the one that everybody gets who has not the flag.
    pub fn variants(mut self, variants: impl IntoIterator<Item = Variant>, default: impl Into<String>) -> Self {
        self.change.variants = Some(variants.into_iter().collect());
        self.change.default_variant = Some(Some(default.into()));
        self
    }

    /// What it is for.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.change.description = Some(Some(text.into()));
        self
    }

    pub(super) fn change(mut self, change: Change) -> Self {
        self.change = change;
        self
    }
}

impl<'a> IntoFuture for SetFlag<'a> {
    type Output = Result<Saved<Flag>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let SetFlag { kernel, db, name, change } = self;
            let db = db.map_or_else(|| kernel.db(), Ok)?;
            let saved = store::change(&db, &name, &change).await?;
            forget_after(kernel, &db);
            Ok(saved)
        })
    }
}

/// What processes remember is over once the change is kept.
fn forget_after(kernel: &Kernel, db: &Db) {
    let cache = kernel.kept::<FlagCache>();
    db.after_commit(move || cache.changed());
}
