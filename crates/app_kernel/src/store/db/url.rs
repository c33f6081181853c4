//! Database addresses. `sqlite:///./data/app.db` is relative to the working directory, `sqlite:////var/app.db` absolute.

use std::path::PathBuf;

use super::dialect::Backend;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// A database address whose scheme is known. The rest is the driver's to read.
#[derive(Debug, Clone)]
pub struct DatabaseUrl {
    /// Which database.
    pub backend: Backend,
    /// The whole address, password included.
    pub text: Secret,
}

impl DatabaseUrl {
    /// Reads the scheme of an address.
    ///
    /// # Errors
    /// Where the scheme is none of ours; says which there are.
    pub fn parse(text: &Secret) -> Result<Self> {
        let scheme = text.expose().split_once(':').map_or("", |(scheme, _)| scheme);
        let backend = match scheme {
            "sqlite" => Backend::Sqlite,
            "postgres" | "postgresql" => Backend::Postgres,
            "mysql" | "mariadb" => Backend::MySql,
            other => {
                // Not the address itself: it may hold a password.
                let found = if other.len() <= 20 { other } else { "…" };
                return Err(Error::invalid(format!(
                    "DATABASE_URL has the scheme `{found}`; it must be sqlite, postgres or mysql. Example: sqlite:///./data/app.db"
                )));
            }
        };
        Ok(DatabaseUrl { backend, text: text.clone() })
    }

    /// The file of an SQLite address.
    ///
    /// # Errors
    /// Where the address names none; says how one is written.
    pub fn sqlite_file(&self) -> Result<PathBuf> {
        let text = self.text.expose();
        let cure = "write sqlite:///./data/app.db for a path from the working directory, sqlite:////var/data/app.db for an absolute one";
        let path = text
            .strip_prefix("sqlite:///")
            .ok_or_else(|| Error::invalid(format!("DATABASE_URL is `{text}`, which is no SQLite address; {cure}")))?;
        if path.is_empty() || path.ends_with('/') || path.contains(['?', '#', '\0']) || path.contains(":memory:") {
            return Err(Error::invalid(format!("DATABASE_URL is `{text}`, which names no file; {cure}")));
        }
        Ok(PathBuf::from(path))
    }

    /// Whether sessions are shared with others, as `?pgbouncer=true` says.
    pub(crate) fn is_pooled(&self) -> bool {
        let query = self.text.expose().split_once('?').map_or("", |(_, query)| query);
        self.backend == Backend::Postgres && query.split('&').any(|pair| pair == "pgbouncer=true")
    }

    /// The address as people may see it: without user, password and options.
    #[must_use]
    pub fn without_credentials(&self) -> String {
        let text = self.text.expose();
        let text = text.split('?').next().unwrap_or_default();
        match (self.backend, text.split_once("://"), text.rsplit_once('@')) {
            (Backend::Sqlite, ..) | (_, None, _) | (_, _, None) => text.to_owned(),
            (_, Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: B9
    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = |text: &str| DatabaseUrl::parse(&Secret::new(text)).expect("an address").without_credentials();
        assert_eq!(shown("postgres://user:pass@localhost:5432/myapp"), "postgres://localhost:5432/myapp");
        assert_eq!(shown("mysql://user:p%40ss@localhost:3306/myapp?ssl-mode=required"), "mysql://localhost:3306/myapp");
        assert_eq!(shown("sqlite:///./data/a@b.db"), "sqlite:///./data/a@b.db");
    }

    #[test]
    fn an_unknown_scheme_is_refused_without_showing_the_rest() {
        let message =
            DatabaseUrl::parse(&Secret::new("mongodb://u:hunter2@h/db")).expect_err("no such database").to_string();
        assert_eq!(
            message,
            "DATABASE_URL has the scheme `mongodb`; it must be sqlite, postgres or mysql. Example: sqlite:///./data/app.db"
        );
    }

    fn file(url: &str) -> std::result::Result<PathBuf, String> {
        let url = DatabaseUrl::parse(&Secret::new(url)).expect("the scheme is known");
        url.sqlite_file().map_err(|error| error.to_string())
    }

    /// Promise: B7
    #[test]
    fn three_slashes_are_relative_and_four_absolute() {
        assert_eq!(file("sqlite:///./data/app.db"), Ok("./data/app.db".into()));
        assert_eq!(file("sqlite:///app.db"), Ok("app.db".into()));
        assert_eq!(file("sqlite:////var/data/app.db"), Ok("/var/data/app.db".into()));
    }

    #[test]
    fn an_address_without_a_file_is_refused_with_the_cure() {
        for url in [
            "sqlite:app.db",
            "sqlite://app.db",
            "sqlite:///",
            "sqlite:///data/",
            "sqlite:///:memory:",
            "sqlite:///a.db?mode=ro",
        ] {
            let message = file(url).expect_err("no file");
            assert!(
                message.starts_with("DATABASE_URL is `") && message.contains("sqlite:///./data/app.db"),
                "{message}"
            );
        }
    }
}
