//! SQLite's errors, told as the store tells them.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use super::super::DbError;

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let (code, message) = match &error {
            rusqlite::Error::SqliteFailure(code, message) => (*code, message.clone().unwrap_or_default()),
            rusqlite::Error::ToSqlConversionFailure(_)
            | rusqlite::Error::InvalidParameterCount(..)
            | rusqlite::Error::NulError(_) => return DbError::Unfit(error.into()),
            _ => return DbError::Other(error.into()),
        };
        // `UNIQUE constraint failed: widgets.name`
        let named = message.split_once(": ").map_or("", |(_, name)| name).to_owned();
        match (code.extended_code, code.code) {
            (ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID, _) => {
                DbError::Duplicate { constraint: named }
            }
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, _) => DbError::ForeignKey { constraint: named },
            (ffi::SQLITE_CONSTRAINT_CHECK, _) => DbError::Check { constraint: named },
            (ffi::SQLITE_CONSTRAINT_NOTNULL, _) => {
                DbError::NotNull { column: named.rsplit('.').next().unwrap_or_default().to_owned() }
            }
            (_, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbError::TryAgain(error.into()),
            (_, ErrorCode::DiskFull) => DbError::Full(error.into()),
            (_, ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange) => {
                DbError::Unfit(error.into())
            }
            (_, ErrorCode::OperationInterrupted | ErrorCode::CannotOpen) => DbError::Away(error.into()),
            _ => DbError::Other(error.into()),
        }
    }
}
