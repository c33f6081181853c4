//! What the errors of MySQL and MariaDB mean to us, by their numbers.

use mysql_async::{DriverError, Error, ServerError};

use super::DbError;
use super::pool::PoolError;

/// While connecting, whatever goes wrong means that there is no database now.
pub(super) fn from_pool(error: PoolError) -> DbError {
    match error {
        PoolError::Backend(error) => DbError::Away(Box::new(error)),
        PoolError::Timeout(kind) => DbError::Away(format!("no connection became free in time ({kind:?})").into()),
        error => DbError::Away(Box::new(error)),
    }
}

pub(super) fn from_mysql(error: Error) -> DbError {
    match error {
        Error::Server(server) => from_server(server),
        Error::Driver(DriverError::PacketTooLarge | DriverError::StmtParamsNumberExceedsLimit { .. }) => {
            DbError::Unfit(Box::new(error))
        }
        Error::Driver(
            DriverError::StmtParamsMismatch { .. }
            | DriverError::MixedParams
            | DriverError::Params(_)
            | DriverError::LocalInfile(_),
        ) => DbError::Other(Box::new(error)),
        error => DbError::Away(Box::new(error)),
    }
}

/// Whether the connection is of no more use.
pub(super) fn is_end_of_connection(error: &Error) -> bool {
    match error {
        // Unknown prepared statement: our list of them is wrong.
        Error::Server(server) => server.code == 1243 || matches!(class(server.code), Class::Away),
        error => error.is_fatal(),
    }
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Duplicate,
    ForeignKey,
    Check,
    NotNull,
    Unfit,
    TryAgain,
    Away,
    TimedOut,
    Full,
    Other,
}

fn class(code: u16) -> Class {
    match code {
        1062 | 1169 | 1557 | 1586 | 1761 | 1762 | 1859 => Class::Duplicate,
        1216 | 1217 | 1451 | 1452 => Class::ForeignKey,
        3819 | 4025 => Class::Check,
        1048 | 1364 => Class::NotNull,
        // Out of range, cut off, a wrong date, bad JSON, division by zero, a packet too large, a key too long.
        1118 | 1153 | 1264 | 1265 | 1292 | 1301 | 1365 | 1366 | 1367 | 1406 | 1411 | 1441 | 1690 | 3140 | 3141
        | 3156 => Class::Unfit,
        // Lock time-out, deadlock; a row or a table that changed under way; a lock that somebody holds.
        1020 | 1205 | 1213 | 1412 | 1615 | 3058 | 3572 => Class::TryAgain,
        1021 | 1114 => Class::Full,
        // Limits of time, and statements that were killed; the connection lives on.
        1317 | 1969 | 3024 => Class::TimedOut,
        // Too many connections, out of memory, shut down, the network, killed, a replica that reads only.
        1037
        | 1040
        | 1041
        | 1053
        | 1077..=1080
        | 1152
        | 1156..=1161
        | 1184
        | 1203
        | 1226
        | 1243
        | 1290
        | 1836
        | 1927
        | 4031 => Class::Away,
        _ => Class::Other,
    }
}

fn from_server(error: ServerError) -> DbError {
    match class(error.code) {
        Class::Duplicate => DbError::Duplicate { constraint: key(&error.message) },
        Class::ForeignKey => DbError::ForeignKey { constraint: constraint(&error.message) },
        Class::Check => DbError::Check { constraint: constraint(&error.message) },
        Class::NotNull => DbError::NotNull { column: between(&error.message, "'", "'").unwrap_or_default().to_owned() },
        Class::Unfit => DbError::Unfit(Box::new(error)),
        Class::TryAgain => DbError::TryAgain(Box::new(error)),
        Class::Away | Class::TimedOut => DbError::Away(Box::new(error)),
        Class::Full => DbError::Full(Box::new(error)),
        Class::Other => DbError::Other(Box::new(error)),
    }
}

/// The key in `Duplicate entry '…' for key '…'`. MySQL 8 puts the table before it, MariaDB does not.
/// The key of the table itself has no name; ours begin with the column `id`.
fn key(message: &str) -> String {
    let key = message.rsplit_once(" for key '").map_or("", |(_, key)| key.trim_end_matches('\''));
    let is_ours = |name: &str| name.starts_with("uq.");
    let (table, name) = match key.split_once('.') {
        Some((table, name)) if !is_ours(key) => (Some(table), name),
        _ => (None, key),
    };
    match (table, name) {
        (Some(table), "PRIMARY") => format!("{table}.id"),
        (None, "PRIMARY") => "id".to_owned(),
        (_, name) => name.to_owned(),
    }
}

/// The constraint in ``CONSTRAINT `…` FOREIGN KEY``, ``CONSTRAINT `…` failed`` or `Check constraint '…' is violated`.
fn constraint(message: &str) -> String {
    let name = between(message, "CONSTRAINT `", "`").or_else(|| between(message, "constraint '", "'"));
    name.unwrap_or_default().to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_meaning() {
        for (meaning, codes) in [
            (Class::Duplicate, &[1062, 1586][..]),
            (Class::ForeignKey, &[1216, 1217, 1451, 1452]),
            (Class::Check, &[3819, 4025]),
            (Class::NotNull, &[1048, 1364]),
            (Class::Unfit, &[1406, 1264, 1366, 1292, 1265, 1153, 3140]),
            (Class::TryAgain, &[1213, 1205]),
            (Class::Full, &[1021, 1114]),
            (Class::Away, &[1040, 1053, 1077, 1927]),
            (Class::TimedOut, &[1317, 1969, 3024]),
            (Class::Other, &[1064, 1146, 1054, 1050]),
        ] {
            for code in codes {
                assert_eq!(class(*code), meaning, "{code}");
            }
        }
    }

    #[test]
    fn the_key_is_named_alike_by_mysql_and_mariadb() {
        for (message, name) in [
            ("Duplicate entry 'a' for key 'widgets.uq.widgets.name'", "uq.widgets.name"),
            ("Duplicate entry 'a' for key 'uq.widgets.name'", "uq.widgets.name"),
            ("Duplicate entry 'x' for key 'y' for key 'uq.widgets.name'", "uq.widgets.name"),
            ("Duplicate entry 'a' for key 'widgets.PRIMARY'", "widgets.id"),
            ("Duplicate entry 'a' for key 'PRIMARY'", "id"),
        ] {
            assert_eq!(key(message), name, "{message}");
        }
    }

    #[test]
    fn constraints_are_found_in_the_messages() {
        for (message, name) in [
            (
                "Cannot add or update a child row: a foreign key constraint fails (`db`.`t`, CONSTRAINT `fk.t.owner_id` \
                 FOREIGN KEY (`owner_id`) REFERENCES `users` (`id`))",
                "fk.t.owner_id",
            ),
            ("Check constraint 'ck.t.status' is violated.", "ck.t.status"),
            ("CONSTRAINT `ck.t.status` failed for `db`.`t`", "ck.t.status"),
        ] {
            assert_eq!(constraint(message), name, "{message}");
        }
        assert_eq!(between("Column 'name' cannot be null", "'", "'"), Some("name"));
    }
}
