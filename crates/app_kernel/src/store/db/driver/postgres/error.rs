//! What PostgreSQL's errors mean to us, by SQLSTATE (PostgreSQL manual, appendix A).

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::DbError as ServerError;

use super::DbError;
use super::params::Misfit;
use super::pool::PoolError;

pub(super) fn from_pool(error: PoolError) -> DbError {
    match error {
        PoolError::Backend(error) => match from_postgres(error) {
            // While connecting, whatever went wrong means that there is no database now.
            DbError::Other(cause) | DbError::Unfit(cause) => DbError::Away(cause),
            error => error,
        },
        PoolError::Timeout(kind) => DbError::Away(format!("no connection became free in time ({kind:?})").into()),
        error => DbError::Away(Box::new(error)),
    }
}

pub(super) fn from_postgres(error: Error) -> DbError {
    match error.as_db_error() {
        Some(server) => from_server(&Facts::of(server), error),
        None if error.source().is_some_and(|cause| cause.is::<Misfit>()) => DbError::Unfit(Box::new(error)),
        // The message is too large for the protocol, or has more than 65,535 parameters.
        None if error.to_string().starts_with("error encoding") => DbError::Unfit(Box::new(error)),
        None if error.to_string().contains("parameters but got") => DbError::Other(Box::new(error)),
        None => DbError::Away(Box::new(error)),
    }
}

/// A prepared statement whose tables were changed, or that the server has forgotten.
pub(super) fn is_stale_statement(error: &Error) -> bool {
    error.as_db_error().is_some_and(|server| match server.code().code() {
        "0A000" => server.routine() == Some("RevalidateCachedQuery"),
        "26000" => true,
        _ => false,
    })
}

/// What of an error is looked at.
#[derive(Default)]
struct Facts {
    code: String,
    constraint: Option<String>,
    table: Option<String>,
    column: Option<String>,
    detail: Option<String>,
}

impl Facts {
    fn of(error: &ServerError) -> Self {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        Facts {
            code: error.code().code().to_owned(),
            constraint: owned(error.constraint()),
            table: owned(error.table()),
            column: owned(error.column()),
            detail: owned(error.detail()),
        }
    }

    fn constraint(&self) -> String {
        self.constraint.clone().unwrap_or_default()
    }

    /// The constraint, where it has a name of ours; else `table.column`, from `Key (column)=(value) already exists.`
    fn duplicate(&self) -> String {
        let name = self.constraint();
        if name.starts_with("uq.") {
            return name;
        }
        let columns = self.detail.as_deref().and_then(|detail| detail.strip_prefix("Key (")?.split_once(")=("));
        match (&self.table, columns) {
            (Some(table), Some((columns, _))) => format!("{table}.{columns}"),
            _ => name,
        }
    }
}

fn from_server(facts: &Facts, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DbError {
    let cause = cause.into();
    match facts.code.as_str() {
        "23505" | "23P01" => DbError::Duplicate { constraint: facts.duplicate() },
        "23503" => DbError::ForeignKey { constraint: facts.constraint() },
        "23514" => DbError::Check { constraint: facts.constraint() },
        "23502" => DbError::NotNull { column: facts.column.clone().unwrap_or_default() },
        "40001" | "40P01" | "55P03" => DbError::TryAgain(cause),
        "53100" => DbError::Full(cause),
        // Another client's statement has our name for it.
        "42P05" => DbError::Other(
            format!("{cause}: is there a pgbouncer in transaction mode? Then add `?pgbouncer=true` to DATABASE_URL")
                .into(),
        ),
        // Too many connections, out of memory; cut off by a limit of time; shut down; a standby since a moment.
        "53200" | "53300" | "57014" | "25P03" | "25006" => DbError::Away(cause),
        code if code.starts_with("57P") || code.starts_with("08") => DbError::Away(cause),
        code if code.starts_with("22") || code.starts_with("54") => DbError::Unfit(cause),
        _ => DbError::Other(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(code: &str) -> String {
        let facts = Facts {
            code: code.to_owned(),
            constraint: Some("uq.widgets.name".to_owned()),
            column: Some("name".to_owned()),
            ..Facts::default()
        };
        let text = format!("{:?}", from_server(&facts, "cause"));
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_code_has_its_meaning() {
        for (meaning, codes) in [
            ("Duplicate", &["23505", "23P01"][..]),
            ("ForeignKey", &["23503"]),
            ("Check", &["23514"]),
            ("NotNull", &["23502"]),
            ("Unfit", &["22001", "22003", "22008", "22021", "22P02", "54000", "54001"]),
            ("TryAgain", &["40001", "40P01", "55P03"]),
            ("Away", &["57014", "53300", "57P01", "57P02", "57P03", "08006", "25006", "25P03"]),
            ("Full", &["53100"]),
            ("Other", &["42601", "42P01", "42P04", "25P02", "XX000", "0A000"]),
        ] {
            for code in codes {
                assert_eq!(map(code), meaning, "{code}");
            }
        }
    }

    #[test]
    fn a_duplicate_names_the_column_even_where_the_index_does_not() {
        let facts = Facts {
            constraint: Some("widgets_pkey".to_owned()),
            table: Some("widgets".to_owned()),
            detail: Some("Key (id)=(a)=(b) already exists.".to_owned()),
            ..Facts::default()
        };
        assert_eq!(facts.duplicate(), "widgets.id");
        let ours = Facts { constraint: Some("uq.widgets.name".to_owned()), ..Facts::default() };
        assert_eq!(ours.duplicate(), "uq.widgets.name");
    }
}
