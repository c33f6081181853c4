//! A database as it is known again at the next start: by its kind and its address, without what is secret in it.

use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::store::db::dialect::Backend;
use crate::store::db::url::DatabaseUrl;

/// Options of an address that say which database it is; the others say how to reach it.
const PLACE_OPTIONS: [&str; 5] = ["host", "hostaddr", "port", "socket", "dbname"];

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// `sqlite`, `postgres` or `mysql`.
    pub(super) backend: String,
    /// The file, from the root; or host, port and name.
    pub(super) address: String,
}

impl Place {
    /// Understands an address. Two addresses of one database may still be two places: `localhost` and `127.0.0.1`.
    pub(super) fn of(url: &DatabaseUrl) -> Result<Self> {
        let address = match url.backend {
            Backend::Sqlite => file_from_root(url)?,
            Backend::Postgres => server(url.text.expose(), "5432"),
            Backend::MySql => server(url.text.expose(), "3306"),
        };
        Ok(Place { backend: url.backend.as_str().to_owned(), address })
    }
}

/// The address itself, where it holds nothing that must be kept secret; for SQLite, from the root.
pub(super) fn address_without_secret(url: &DatabaseUrl) -> Result<Option<String>> {
    if url.backend == Backend::Sqlite {
        return file_from_root(url).map(|file| Some(format!("sqlite:///{file}")));
    }
    let text = url.text.expose();
    let (address, options) = text.split_once('?').unwrap_or((text, ""));
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let has_password = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let is_secret = has_password || options.contains("pass") || options.contains("key");
    Ok((!is_secret).then(|| text.to_owned()))
}

fn file_from_root(url: &DatabaseUrl) -> Result<String> {
    let path = url.sqlite_file()?;
    let whole = path.canonicalize().or_else(|_| std::path::absolute(&path)).unwrap_or(path);
    Ok(whole.to_string_lossy().into_owned())
}

fn server(text: &str, default_port: &str) -> String {
    let (address, options) = text.split_once('?').unwrap_or((text, ""));
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (hosts, name) = place.split_once('/').unwrap_or((place, ""));
    // Without a name, PostgreSQL takes the user's.
    let name = if name.is_empty() { user.split(':').next().unwrap_or_default() } else { name };
    let host = |host: &str| {
        let port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = host.to_ascii_lowercase();
        if port || host.is_empty() { host } else { format!("{host}:{default_port}") }
    };
    let hosts = hosts.split(',').map(host).collect::<Vec<_>>().join(",");
    let is_place = |option: &&str| option.split_once('=').is_some_and(|(name, _)| PLACE_OPTIONS.contains(&name));
    let mut options: Vec<&str> = options.split('&').filter(is_place).collect();
    options.sort_unstable();
    let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    format!("{hosts}/{name}{options}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn url(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(&Secret::new(text)).expect("an address")
    }

    #[test]
    fn a_server_is_known_by_host_port_and_name() {
        let address = |text: &str| Place::of(&url(text)).expect("a place").address;
        assert_eq!(address("postgres://ann:pw@DB.example.com/app?sslmode=require"), "db.example.com:5432/app");
        assert_eq!(address("postgresql://bob@db.example.com:5432/app"), "db.example.com:5432/app");
        assert_eq!(address("mysql://u:p%40ss@h/app?socket=/run/m.sock"), "h:3306/app?socket=/run/m.sock");
        assert_eq!(address("postgres:///app?host=/run"), "/app?host=/run");
        assert_eq!(address("postgres://ann:pw@h"), "h:5432/ann");
        assert_eq!(address("postgres://a,b:5433/app"), "a:5432,b:5433/app");
    }

    /// Promise: R-32
    #[test]
    fn an_address_with_a_password_is_not_kept() {
        let kept = |text: &str| address_without_secret(&url(text)).expect("an address");
        assert_eq!(kept("postgres://ann@h/app"), Some("postgres://ann@h/app".to_owned()));
        assert_eq!(kept("sqlite:////nowhere/at/all.db"), Some("sqlite:////nowhere/at/all.db".to_owned()));
        for secret in ["postgres://ann:pw@h/app", "postgres://h/app?user=ann&password=pw", "mysql://a:p@h/b"] {
            assert_eq!(kept(secret), None);
        }
    }
}
