//! Which servers a configuration wants on this machine, and what a container must be like to be one of them. No I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// What becomes the configuration of Redis in its container: on a command line, the password would be seen by everybody on this machine.
const REDIS_WITH_PASSWORD: &str = r#"umask 077; printf 'appendonly yes\nrequirepass "%s"\n' "$REDIS_PASSWORD" >/tmp/redis.conf && chown redis /tmp/redis.conf && exec docker-entrypoint.sh redis-server /tmp/redis.conf"#;

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Postgres,
    MySql,
    Redis,
}

impl Kind {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Postgres => "PostgreSQL",
            Kind::MySql => "MySQL",
            Kind::Redis => "Redis",
        }
    }

    /// The container, and the volume with its data.
    pub(super) fn container(self) -> &'static str {
        match self {
            Kind::Postgres => "appkernel-postgres",
            Kind::MySql => "appkernel-mysql",
            Kind::Redis => "appkernel-redis",
        }
    }

    /// MariaDB for MySQL: it asks for no key exchange before a password, which needs TLS or RSA.
    pub(super) fn image(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres:17",
            Kind::MySql => "mariadb:11.4",
            Kind::Redis => "redis:7",
        }
    }

    /// Where it listens in its container, which is where it listens by custom.
    pub(super) fn port(self) -> u16 {
        match self {
            Kind::Postgres => 5432,
            Kind::MySql => 3306,
            Kind::Redis => 6379,
        }
    }

    /// Where its data lies in its container.
    fn data(self) -> &'static str {
        match self {
            Kind::Postgres => "/var/lib/postgresql/data",
            Kind::MySql => "/var/lib/mysql",
            Kind::Redis => "/data",
        }
    }
}

/// A server on this machine that an address names.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    /// Whose address it is.
    pub(super) variable: &'static str,
    pub(super) url: Secret,
    pub(super) host: String,
    pub(super) port: u16,
    user: Option<String>,
    password: Option<Secret>,
    database: Option<String>,
}

/// A container as Docker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) is_running: bool,
    /// What it was started with; holds its password.
    pub(super) environment: BTreeMap<String, String>,
    /// The ports of this machine that lead into it.
    pub(super) ports: Vec<u16>,
}

/// What a configuration wants on this machine, each server once. Others are nobody's business here.
pub(super) fn wanted(config: &ServiceConfig) -> Vec<Wanted> {
    let addresses = [
        ("DATABASE_URL", config.effective_database_url()),
        ("ADMIN_DB_URL", config.separate_admin_db_url()),
        ("REDIS_URL", config.redis_url.clone()),
    ];
    let mut all: Vec<Wanted> = Vec::new();
    for (variable, url) in addresses {
        let Some(wanted) = url.and_then(|url| Wanted::read(variable, &url)) else { continue };
        if !all.iter().any(|other| (other.kind, other.port) == (wanted.kind, wanted.port)) {
            all.push(wanted);
        }
    }
    all
}

impl Wanted {
    /// None for files, sockets, other machines, TLS, and what can't be read: the driver says that better.
    fn read(variable: &'static str, address: &Secret) -> Option<Self> {
        let url = Url::parse(address.expose()).ok()?;
        let kind = match url.scheme() {
            "postgres" | "postgresql" => Kind::Postgres,
            "mysql" | "mariadb" => Kind::MySql,
            "redis" => Kind::Redis,
            _ => return None,
        };
        if url.query_pairs().any(|(name, _)| ["host", "hostaddr", "socket", "port"].contains(&&*name)) {
            return None;
        }
        let host = loopback(&url)?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let set = |text: &str| decoded(text).filter(|text| !text.is_empty());
        Some(Wanted {
            kind,
            variable,
            url: address.clone(),
            host,
            port: url.port().unwrap_or(kind.port()),
            user: set(url.username()),
            password: url.password().and_then(set).map(Secret::new),
            database: set(url.path().trim_start_matches('/')).filter(|_| kind != Kind::Redis),
        })
    }

    /// `localhost:5432`
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What its container is started with, by the names of its image.
    ///
    /// # Errors
    /// Where the image can't be told what the address says.
    pub(super) fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        let refuse = |what: &str| {
            Err(Error::invalid(format!(
                "{}: nothing listens at {}, and the container {} can't be made: {what}",
                self.variable,
                self.place(),
                self.kind.container()
            )))
        };
        let password = self.password.as_ref().map(|password| password.expose().to_owned());
        let mut all = Vec::new();
        match (self.kind, self.user.as_deref()) {
            (Kind::Postgres | Kind::MySql, None) => {
                return refuse(
                    "the address names no user; write one, as in postgres://postgres:postgres@localhost:5432/myapp",
                );
            }
            (Kind::Postgres, Some(user)) => {
                all.push(("POSTGRES_USER", user.to_owned()));
                all.push(match password {
                    Some(password) => ("POSTGRES_PASSWORD", password),
                    None => ("POSTGRES_HOST_AUTH_METHOD", "trust".to_owned()),
                });
                all.extend(self.database.clone().map(|name| ("POSTGRES_DB", name)));
            }
            (Kind::MySql, Some("root")) => {
                all.push(match password {
                    Some(password) => ("MARIADB_ROOT_PASSWORD", password),
                    None => ("MARIADB_ALLOW_EMPTY_ROOT_PASSWORD", "1".to_owned()),
                });
                all.extend(self.database.clone().map(|name| ("MARIADB_DATABASE", name)));
            }
            (Kind::MySql, Some(user)) => {
                let (Some(password), Some(database)) = (password, self.database.clone()) else {
                    return refuse(
                        "a user other than root needs a password and a database, as in mysql://ann:secret@localhost:3306/myapp",
                    );
                };
                all.push(("MARIADB_USER", user.to_owned()));
                all.push(("MARIADB_PASSWORD", password));
                all.push(("MARIADB_RANDOM_ROOT_PASSWORD", "1".to_owned()));
                all.push(("MARIADB_DATABASE", database));
            }
            (Kind::Redis, Some(user)) if user != "default" => {
                return refuse(
                    "it would have no user but `default`; leave the user out, as in redis://:secret@localhost:6379",
                );
            }
            (Kind::Redis, _) => {
                if password.as_deref().is_some_and(|text| text.contains(['"', '\\']) || text.contains(char::is_control))
                {
                    return refuse("its password may not hold quotes and backslashes");
                }
                all.extend(password.map(|password| ("REDIS_PASSWORD", password)));
            }
        }
        Ok(all)
    }

    /// What `docker` is told to make the container. Of the environment only the names: values on a command line are seen by everybody.
    pub(super) fn run_arguments(&self, environment: &[(&'static str, String)]) -> Vec<String> {
        let kind = self.kind;
        let address = if self.host == "[::1]" { "[::1]" } else { "127.0.0.1" };
        let mut arguments: Vec<String> =
            ["container", "run", "--detach", "--name", kind.container()].map(str::to_owned).to_vec();
        arguments.extend(["--publish".to_owned(), format!("{address}:{}:{}", self.port, kind.port())]);
        arguments.extend(["--volume".to_owned(), format!("{}:{}", kind.container(), kind.data())]);
        arguments.extend(environment.iter().flat_map(|(name, _)| ["--env".to_owned(), (*name).to_owned()]));
        arguments.push(kind.image().to_owned());
        match (kind, &self.password) {
            (Kind::Redis, Some(_)) => arguments.extend(["sh", "-c", REDIS_WITH_PASSWORD].map(str::to_owned)),
            (Kind::Redis, None) => arguments.extend(["redis-server", "--appendonly", "yes"].map(str::to_owned)),
            _ => {}
        }
        arguments
    }

    /// Refuses a container that is another server than the address names. Its database may be another one: that is for the server to say.
    ///
    /// # Errors
    /// Names what differs, and the two cures.
    pub(super) fn check(&self, found: &Found) -> Result<()> {
        let set = |name: &str| found.environment.get(name).cloned();
        let (user, password) = match self.kind {
            Kind::Postgres => (set("POSTGRES_USER"), set("POSTGRES_PASSWORD")),
            Kind::MySql => match set("MARIADB_USER") {
                Some(user) => (Some(user), set("MARIADB_PASSWORD")),
                None => (Some("root".to_owned()), set("MARIADB_ROOT_PASSWORD")),
            },
            Kind::Redis => (self.user.clone(), set("REDIS_PASSWORD")),
        };
        let mut differences = Vec::new();
        if !found.ports.contains(&self.port) {
            let ports: Vec<String> = found.ports.iter().map(u16::to_string).collect();
            differences
                .push(format!("its port is {}", if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }));
        }
        if user != self.user {
            differences.push(format!("its user is {}", user.as_deref().unwrap_or("another")));
        }
        if password.as_deref() != self.password.as_ref().map(Secret::expose) {
            differences.push("its password is another".to_owned());
        }
        if differences.is_empty() {
            return Ok(());
        }
        let (variable, place, name) = (self.variable, self.place(), self.kind.container());
        Err(Error::invalid(format!(
            "{variable}: nothing listens at {place}, and the container {name} is not that server: {}; \
             correct {variable}, or remove the container with its data: docker rm -f {name} && docker volume rm {name}",
            differences.join(", ")
        )))
    }
}

/// The host, where it is this machine.
fn loopback(url: &Url) -> Option<String> {
    match url.host()? {
        // The parser takes addresses for addresses only where it knows the scheme.
        Host::Domain("localhost") => Some("localhost".to_owned()),
        Host::Domain(name) => {
            name.parse::<IpAddr>().ok().filter(IpAddr::is_loopback).map(|address| address.to_string())
        }
        Host::Ipv4(address) => address.is_loopback().then(|| address.to_string()),
        Host::Ipv6(address) => address.is_loopback().then(|| format!("[{address}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Option<Wanted> {
        Wanted::read("DATABASE_URL", &Secret::new(url))
    }

    /// Promise: S1, S3
    #[test]
    fn only_servers_on_this_machine_are_wanted() {
        for (url, place) in [
            ("postgres://postgres:postgres@localhost:5432/myapp", "localhost:5432"),
            ("postgresql://ann@127.0.0.1/app", "127.0.0.1:5432"),
            ("mysql://root@127.1.2.3:3307/app", "127.1.2.3:3307"),
            ("mariadb://root@[::1]/app", "[::1]:3306"),
            ("redis://localhost", "localhost:6379"),
            ("redis://:secret@localhost:6380/1", "localhost:6380"),
        ] {
            assert_eq!(read(url).map(|wanted| wanted.place()).as_deref(), Some(place), "{url}");
        }
        for url in [
            "sqlite:///./data/app.db",
            "postgres://ann@db.example.com/app",
            "postgres://ann@10.0.0.1/app",
            "postgres://ann@localhost.example.com/app",
            "postgres:///app?host=/var/run/postgresql",
            "postgres://ann@localhost/app?host=/var/run/postgresql",
            "postgres://ann@localhost,db.example.com/app",
            "mysql://root@localhost/app?socket=/run/mysqld.sock",
            "mysql://root@0.0.0.0/app",
            "rediss://localhost:6379",
            "redis+unix:///run/redis.sock",
            "localhost",
        ] {
            assert!(read(url).is_none(), "{url}");
        }
    }

    #[test]
    fn each_server_is_wanted_once() {
        let url = |text: &str| Some(Secret::new(text));
        let config = ServiceConfig {
            database_url: url("postgres://ann:a@localhost/app"),
            admin_db_url: url("postgres://ann:a@localhost/admin"),
            redis_url: url("redis://localhost"),
            ..ServiceConfig::default()
        };
        let kinds: Vec<Kind> = wanted(&config).iter().map(|wanted| wanted.kind).collect();
        assert_eq!(kinds, [Kind::Postgres, Kind::Redis]);
    }

    /// Promise: R-32
    #[test]
    fn a_password_is_never_on_the_command_line() {
        for url in [
            "postgres://ann:hunter2@localhost/app",
            "mysql://ann:hunter2@localhost/app",
            "mysql://root:hunter2@localhost/app",
            "redis://:hunter2@localhost",
        ] {
            let wanted = read(url).expect("this machine");
            let environment = wanted.environment().expect("it can be made");
            assert!(environment.iter().any(|(name, value)| name.ends_with("PASSWORD") && value == "hunter2"), "{url}");
            let arguments = wanted.run_arguments(&environment).join(" ");
            assert!(!arguments.contains("hunter2"), "{arguments}");
            assert!(!format!("{wanted:?}").contains("hunter2"));
        }
    }

    /// Promise: S3
    #[test]
    fn a_container_is_made_of_the_address_and_keeps_its_data_in_a_volume() {
        let wanted = read("postgres://ann:p%40ss@localhost:5433/my%20app").expect("this machine");
        let environment = wanted.environment().expect("it can be made");
        let wanted_environment = [("POSTGRES_USER", "ann"), ("POSTGRES_PASSWORD", "p@ss"), ("POSTGRES_DB", "my app")];
        assert_eq!(environment, wanted_environment.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(
            wanted.run_arguments(&environment).join(" "),
            "container run --detach --name appkernel-postgres --publish 127.0.0.1:5433:5432 \
             --volume appkernel-postgres:/var/lib/postgresql/data --env POSTGRES_USER --env POSTGRES_PASSWORD --env POSTGRES_DB postgres:17"
        );
    }

    #[test]
    fn what_an_image_can_not_be_told_is_refused_with_an_example() {
        for (url, end) in [
            (
                "postgres://localhost/app",
                "names no user; write one, as in postgres://postgres:postgres@localhost:5432/myapp",
            ),
            (
                "mysql://ann@localhost/app",
                "needs a password and a database, as in mysql://ann:secret@localhost:3306/myapp",
            ),
            ("redis://ann:secret@localhost", "leave the user out, as in redis://:secret@localhost:6379"),
            ("redis://:a%22b@localhost", "its password may not hold quotes and backslashes"),
        ] {
            let text = read(url).expect("this machine").environment().expect_err("it can't be told").to_string();
            assert!(text.starts_with("DATABASE_URL: nothing listens at localhost:") && text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn a_container_of_other_settings_is_refused_with_both_cures() {
        let found = |port, environment: &[(&str, &str)]| Found {
            is_running: false,
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ports: vec![port],
        };
        let ann = read("postgres://ann:hunter2@localhost/app").expect("this machine");
        let same = [("POSTGRES_USER", "ann"), ("POSTGRES_PASSWORD", "hunter2"), ("POSTGRES_DB", "another")];
        assert_eq!(ann.check(&found(5432, &same)).map_err(|error| error.to_string()), Ok(()));
        let other = [("POSTGRES_USER", "bob"), ("POSTGRES_PASSWORD", "hunter3")];
        assert_eq!(
            ann.check(&found(5433, &other)).expect_err("another one").to_string(),
            "DATABASE_URL: nothing listens at localhost:5432, and the container appkernel-postgres is not that server: its port is 5433, \
             its user is bob, its password is another; correct DATABASE_URL, or remove the container with its data: \
             docker rm -f appkernel-postgres && docker volume rm appkernel-postgres"
        );
        let root = read("mysql://root@localhost/app").expect("this machine");
        assert!(root.check(&found(3306, &[("MARIADB_ALLOW_EMPTY_ROOT_PASSWORD", "1")])).is_ok());
        assert!(root.check(&found(3306, &[("MARIADB_USER", "ann"), ("MARIADB_PASSWORD", "x")])).is_err());
        let redis = read("redis://:a@localhost").expect("this machine");
        assert!(redis.check(&found(6379, &[("REDIS_PASSWORD", "a")])).is_ok());
        assert!(redis.check(&found(6379, &[])).is_err());
    }
}
