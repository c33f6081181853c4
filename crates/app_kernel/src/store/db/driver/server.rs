//! What is the same on both servers: a connection is lent for a piece of work, which runs to its end even where its caller goes away.
//! Each kind of work is compiled once for both; which of them it is, only [`Lease`] knows.

use std::sync::Arc;

use super::finish::to_the_end;
#[cfg(feature = "mysql")]
use super::mysql::{self, Answer};
#[cfg(feature = "postgres")]
use super::postgres;
use super::{DbError, Dialect, Load, Operation, Session};

macro_rules! for_each_server {
    ($self:expr, $inner:ident => $do:expr) => {
        match $self {
            #[cfg(feature = "postgres")]
            Self::Postgres($inner) => $do,
            #[cfg(feature = "mysql")]
            Self::MySql($inner) => $do,
        }
    };
}

/// A connected server.
#[derive(Debug)]
pub(crate) enum Server {
    #[cfg(feature = "postgres")]
    Postgres(postgres::Driver),
    #[cfg(feature = "mysql")]
    MySql(mysql::Driver),
}

/// What a connection is lent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One statement that reads a row by its key.
    Lookup,
    /// Statements that commit themselves.
    Statements,
    /// A transaction, which the first statement opens.
    Transaction,
}

impl Server {
    pub(super) fn dialect(&self) -> &'static dyn Dialect {
        for_each_server!(self, driver => driver.dialect())
    }

    pub(super) fn load(&self) -> Load {
        for_each_server!(self, driver => driver.load())
    }

    pub(super) async fn close(&self) {
        for_each_server!(self, driver => driver.close().await);
    }

    async fn lend(&self, purpose: Purpose) -> Result<Lease, DbError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(driver) => driver.lend(purpose).await.map(Lease::Postgres),
            #[cfg(feature = "mysql")]
            Self::MySql(driver) => driver.lend(purpose).await.map(Lease::MySql),
        }
    }

    pub(super) async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, DbError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => self.read_alone(operation).await,
            #[cfg(feature = "mysql")]
            Self::MySql(driver) => match driver.look_up_together(operation).await {
                Answer::Told(outcome) => outcome,
                Answer::Alone(operation) => self.read_alone(operation).await,
            },
        }
    }

    /// Where the connection turns out to have ended while it waited, once more on another: a read changes nothing.
    async fn read_alone<O: Operation>(&self, mut operation: O) -> Result<O::Output, DbError> {
        let purpose = if operation.is_lookup() { Purpose::Lookup } else { Purpose::Statements };
        let mut is_again = false;
        loop {
            let mut lease = self.lend(purpose).await?;
            let (outcome, asked, has_ended) = to_the_end(async move {
                let outcome = operation.run(&mut lease.session()).await;
                (outcome, operation, lease.has_ended())
            })
            .await;
            if outcome.is_ok() || !has_ended || is_again {
                return outcome;
            }
            (operation, is_again) = (asked, true);
        }
    }

    pub(super) async fn write<O: Operation>(&self, operation: Arc<O>) -> Result<O::Output, DbError> {
        let is_one_statement = operation.is_one_statement(self.dialect().backend());
        let mut lease = self.lend(if is_one_statement { Purpose::Statements } else { Purpose::Transaction }).await?;
        to_the_end(async move {
            match operation.run(&mut lease.whole_transaction()).await {
                Ok(output) => lease.commit().await.map(|()| output),
                Err(error) => {
                    lease.rollback().await;
                    Err(error)
                }
            }
        })
        .await
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DbError> {
        Ok(Transaction { lease: Some(Box::new(self.lend(Purpose::Transaction).await?)) })
    }
}

/// A connection that a piece of work has. When it is dropped, it rolls back what is open and returns to the pool, or it is closed.
#[derive(Debug)]
enum Lease {
    #[cfg(feature = "postgres")]
    Postgres(postgres::Lease),
    #[cfg(feature = "mysql")]
    MySql(mysql::Lease),
}

impl Lease {
    fn session(&mut self) -> Session<'_> {
        for_each_server!(self, lease => lease.session())
    }

    /// For work that is the whole of its transaction: with its last statement, MySQL may commit.
    fn whole_transaction(&mut self) -> Session<'_> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(lease) => lease.session(),
            #[cfg(feature = "mysql")]
            Self::MySql(lease) => lease.whole_transaction(),
        }
    }

    /// Whether the connection ended under a statement, so that nobody knows more than that it was not answered.
    fn has_ended(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
            #[cfg(feature = "mysql")]
            Self::MySql(lease) => lease.has_ended(),
        }
    }

    async fn commit(&mut self) -> Result<(), DbError> {
        for_each_server!(self, lease => lease.commit().await)
    }

    async fn rollback(&mut self) {
        for_each_server!(self, lease => lease.rollback().await);
    }
}

/// A transaction held by a caller.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// None once an operation was cut off: it ends in the background, and the transaction is rolled back.
    lease: Option<Box<Lease>>,
}

impl Transaction {
    pub(super) async fn run<O: Operation>(&mut self, operation: O) -> Result<O::Output, DbError> {
        let mut lease = self.lease.take().ok_or_else(cut_off)?;
        let (lease, outcome) = to_the_end(async move {
            let outcome = operation.run(&mut lease.session()).await;
            (lease, outcome)
        })
        .await;
        self.lease = Some(lease);
        outcome
    }

    pub(super) async fn commit(mut self) -> Result<(), DbError> {
        let mut lease = self.lease.take().ok_or_else(cut_off)?;
        to_the_end(async move { lease.commit().await }).await
    }

    pub(super) async fn rollback(mut self) {
        if let Some(mut lease) = self.lease.take() {
            to_the_end(async move { lease.rollback().await }).await;
        }
    }
}

fn cut_off() -> DbError {
    DbError::Other("an operation of this transaction was cut off; it is rolled back".into())
}
