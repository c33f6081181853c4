//! Transactions that callers hold. All or nothing; tried again as a whole after a conflict; rolled back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::driver::{Operation, Transaction};
use super::dynamic::Missing;
use super::error::DbError;
use super::{BETWEEN_TRIES, Db, DbResult, TRIES};
use crate::base::error::{Error, Result};

/// The transaction behind a [`Db`].
pub(crate) struct Held {
    state: Mutex<State>,
    /// Whether change records were written in it.
    leaves_changes: AtomicBool,
    after_commit: std::sync::Mutex<Vec<Afterwards>>,
}

/// What is done once a transaction is kept.
type Afterwards = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    Open(Transaction),
    /// An operation is at work. Seen by others only if its future was dropped half-way, which rolled the transaction back.
    Busy,
    /// A statement failed: nothing more can be done but to roll back, which was done.
    Failed {
        try_again: bool,
    },
    /// A table or a column is missing; it is made outside, then the transaction runs again.
    Missing(Missing),
    Ended,
}

impl Held {
    fn new(transaction: Transaction) -> Self {
        let (state, after_commit) = (Mutex::new(State::Open(transaction)), std::sync::Mutex::default());
        Held { state, leaves_changes: AtomicBool::new(false), after_commit }
    }

    /// Runs an operation inside.
    pub(crate) async fn run<O: Operation>(&self, operation: O) -> DbResult<O::Output> {
        let mut state = self.state.lock().await;
        let mut transaction = match std::mem::replace(&mut *state, State::Busy) {
            State::Open(transaction) => transaction,
            other => {
                let refusal = refusal_of(&other);
                *state = other;
                return Err(refusal.into());
            }
        };
        let result = transaction.run(operation).await;
        *state = match &result {
            // The kernel refused before or between statements; the transaction itself is whole.
            Ok(_) | Err(DbError::Refused(_)) => State::Open(transaction),
            Err(error) => {
                transaction.rollback().await;
                State::Failed { try_again: error.is_worth_a_retry() }
            }
        };
        result
    }

    /// Remembers that its commit has something to tell.
    pub(crate) fn note(&self, leaves_changes: bool) {
        self.leaves_changes.fetch_or(leaves_changes, Ordering::Relaxed);
    }

    /// Ends the transaction because the schema lacks something. The caller's work is run again once it is there.
    pub(crate) async fn lacks(&self, missing: Missing) -> Error {
        let mut state = self.state.lock().await;
        if let State::Open(transaction) = std::mem::replace(&mut *state, State::Missing(missing)) {
            transaction.rollback().await;
        }
        refusal_of(&state)
    }

    async fn end(&self) -> State {
        std::mem::replace(&mut *self.state.lock().await, State::Ended)
    }

    fn afterwards(&self) -> std::sync::MutexGuard<'_, Vec<Afterwards>> {
        self.after_commit.lock().expect("nothing panics while holding it")
    }
}

fn refusal_of(state: &State) -> Error {
    match state {
        State::Failed { .. } => {
            Error::conflict("an earlier statement of this transaction failed, so it was rolled back")
        }
        State::Missing(_) => {
            Error::conflict("this transaction starts again, once a table or column that it lacks is made")
        }
        State::Busy => Error::conflict("an operation of this transaction was given up half-way, so it was rolled back"),
        State::Ended | State::Open(_) => Error::internal("this transaction has ended; its handle must not be kept"),
    }
}

impl Db {
    /// Does something once what this handle changes is kept: after the commit inside a transaction, at once outside of one. A transaction that
    /// is rolled back forgets it. For what may be lost with the process, such as waking somebody.
    pub fn after_commit(&self, then: impl FnOnce() + Send + 'static) {
        match &self.transaction {
            Some(held) => held.afterwards().push(Box::new(then)),
            None => then(),
        }
    }

    /// Runs `work` in one transaction. All that `work` does with the handle it is given is kept together when it answers `Ok`, and undone when it
    /// answers `Err`, panics or is dropped. After a deadlock or a serialization failure it is run again from its start, so it should change
    /// nothing outside. Within a transaction, the work joins it. Use the handle you are given, not the outer one: on SQLite, a write through
    /// that would wait for this transaction to end, in vain. Borrow what the work needs (`async |tx|`, not `async move |tx|`).
    ///
    /// ```no_run
    /// # use app_kernel::prelude::*;
    /// # async fn example(db: Db, order: serde_json::Value) -> Result<()> {
    /// let order = db
    ///     .transaction(async |tx| {
    ///         tx.save_entity("stock", serde_json::json!({ "id": "gear", "left": 41 })).await?;
    ///         tx.save_entity("orders", order.clone()).await
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `work` answers, or `Conflict` with the code `try_again` where conflicts did not end.
    pub async fn transaction<R, F>(&self, work: impl Fn(Db) -> F) -> Result<R>
    where
        F: Future<Output = Result<R>>,
    {
        if self.transaction.is_some() {
            return work(self.clone()).await;
        }
        let mut failures = 0;
        loop {
            let transaction = self.shared.driver.begin().await?;
            let held = Arc::new(Held::new(transaction));
            let tx = Db { transaction: Some(Arc::clone(&held)), ..self.clone() };
            let result = work(tx).await;
            let conflict = match (held.end().await, result) {
                (State::Open(transaction), Ok(answer)) => match transaction.commit().await {
                    Ok(()) => {
                        if held.leaves_changes.load(Ordering::Relaxed) {
                            self.shared.changed.notify_one();
                        }
                        let afterwards = std::mem::take(&mut *held.afterwards());
                        afterwards.into_iter().for_each(|then| then());
                        return Ok(answer);
                    }
                    Err(error) if error.is_worth_a_retry() => error.into(),
                    Err(error) => return Err(error.into()),
                },
                (State::Open(transaction), Err(error)) => {
                    transaction.rollback().await;
                    return Err(error);
                }
                (State::Missing(missing), _) => {
                    missing.make(self).await?;
                    Error::conflict("the schema does not settle").code("try_again")
                }
                (State::Failed { try_again: true }, result) => result.err().unwrap_or_else(|| refusal_of(&State::Busy)),
                (state, Ok(_)) => return Err(refusal_of(&state)),
                (_, Err(error)) => return Err(error),
            };
            failures += 1;
            if failures >= TRIES {
                return Err(conflict);
            }
            tokio::time::sleep(BETWEEN_TRIES.wait(failures)).await;
        }
    }
}
