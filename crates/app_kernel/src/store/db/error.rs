//! What can go wrong at a database, told the same way for all three, and how a client hears of it.

use std::error::Error as StdError;
use std::time::Duration;

use super::row::DecodeError;
use crate::base::error::Error;

type Cause = Box<dyn StdError + Send + Sync>;

/// A failure at the database. Drivers make these; above the store they are [`Error`]s.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// A unique index holds the same values already. Names the constraint or columns as the database does.
    #[error("duplicate in {constraint}")]
    Duplicate { constraint: String },
    /// A foreign key points to nothing, or something still points here.
    #[error("foreign key {constraint}")]
    ForeignKey { constraint: String },
    /// A check constraint does not hold.
    #[error("check {constraint}")]
    Check { constraint: String },
    /// A column that must hold something got nothing.
    #[error("column {column} is null")]
    NotNull { column: String },
    /// The data does not fit the column or the database's limits: a wrong type, too long, out of range.
    #[error("the data does not fit")]
    Unfit(#[source] Cause),
    /// Deadlock, lock time-out or serialization failure: the whole transaction can be tried again.
    #[error("a conflict with another transaction")]
    TryAgain(#[source] Cause),
    /// The database can't be reached, is starting or stopping, or no connection became free in time.
    #[error("the database is away")]
    Away(#[source] Cause),
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] Cause),
    /// A row does not fit what reads it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Refused by the kernel itself, inside the transaction.
    #[error(transparent)]
    Refused(#[from] Error),
    /// Anything else: our fault.
    #[error("the database refused a statement")]
    Other(#[source] Cause),
}

impl DbError {
    /// Whether the same transaction, run again from its start, may succeed.
    pub(crate) fn is_worth_a_retry(&self) -> bool {
        matches!(self, DbError::TryAgain(_))
    }
}

/// How long a client should wait where the database is away.
const AWAY_RETRY: Duration = Duration::from_secs(2);

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Refused(error) => error,
            DbError::Duplicate { ref constraint } => Error::conflict("another one with the same value exists")
                .code("duplicate")
                .fields(field_of(constraint, "is already taken"))
                .cause(error),
            DbError::ForeignKey { ref constraint } => {
                Error::conflict("a row that this refers to, or that refers to this, stands against it")
                    .code("foreign_key")
                    .fields(field_of(constraint, "refers to nothing, or is still referred to"))
                    .cause(error)
            }
            DbError::Check { ref constraint } => {
                let fields = field_of(constraint, "is not allowed");
                let broken = Error::invalid("a value breaks a rule of the table").code("check_failed").status(422);
                broken.fields(fields).cause(error)
            }
            DbError::NotNull { ref column } => {
                Error::invalid("a required field is missing").field(format!("/{column}"), "is required").cause(error)
            }
            DbError::Unfit(_) => Error::invalid("a value does not fit its column").status(422).cause(error),
            DbError::TryAgain(_) => Error::conflict("too many changes at once; try again")
                .code("try_again")
                .retry_after_secs(1)
                .cause(error),
            DbError::Away(_) => Error::unavailable("the database is not reachable; try again soon")
                .code("database_unavailable")
                .retry_after_secs(AWAY_RETRY.as_secs() as u32)
                .cause(error),
            DbError::Full(_) => Error::unavailable("the server's disk is full; nothing was saved")
                .code("disk_full")
                .status(507)
                .cause(error),
            DbError::Decode(_) => Error::internal("a stored row does not fit its type").cause(error),
            DbError::Other(_) => Error::internal("the database refused a statement").cause(error),
        }
    }
}

/// The field a constraint speaks of, where its name says so: ours are `uq|fk|ck.<table>.<column>`, SQLite tells `table.column`.
fn field_of(constraint: &str, message: &str) -> Option<crate::base::error::FieldError> {
    let column = constraint.rsplit(['.', ' ', ',']).next()?;
    super::entity::is_valid_name(column)
        .then(|| crate::base::error::FieldError { pointer: format!("/{column}"), message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client hears of a failure: status, code and when to come back.
    fn told(error: DbError) -> (u16, String, Option<u32>) {
        let error = Error::from(error);
        assert!(!error.message().contains("hunter2"), "{error}");
        (error.http_status(), error.error_code().to_owned(), error.retry_after())
    }

    /// Promise: R-09
    #[test]
    fn a_database_that_is_away_is_503_with_the_time_to_come_back() {
        assert_eq!(told(DbError::Away("hunter2".into())), (503, "database_unavailable".to_owned(), Some(2)));
        assert_eq!(told(DbError::TryAgain("hunter2".into())), (409, "try_again".to_owned(), Some(1)));
    }

    /// Promise: R-18
    #[test]
    fn a_full_disk_is_507() {
        assert_eq!(told(DbError::Full("hunter2".into())), (507, "disk_full".to_owned(), None));
    }

    /// Promise: R-29
    #[test]
    fn what_a_column_can_not_hold_is_the_client_s_fault() {
        assert_eq!(told(DbError::Unfit("hunter2".into())).0, 422);
        assert_eq!(told(DbError::Check { constraint: "ck.a.b".to_owned() }).0, 422);
    }
}
