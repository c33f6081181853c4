//! Database addresses. `sqlite:///./data/app.db` is relative to the working directory, `sqlite:////var/app.db` absolute.

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
}
