//! The native form: what the database's own tools read. SQLite's is a file like the live one; PostgreSQL's is an archive of `pg_dump`
//! where that is installed; else, and on MySQL, whose tools can't share a snapshot, it is a dump as SQL. It is made in the snapshot of
//! the portable form, so that both say the same, and is bound to its kind of database.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::dump;
use super::export::Hashing;
use super::manifest::{FileSum, Manifest, TableManifest};
use crate::base::error::{Error, OrInternal, Result};
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::Session;
use crate::store::db::url::DatabaseUrl;

/// Writes our tables, as the transaction of this session sees them, to a file.
pub(super) async fn dump(
    session: &mut Session<'_>,
    url: &DatabaseUrl,
    tables: &[TableManifest],
    path: &Path,
) -> DbResult<()> {
    match url.backend {
        Backend::Sqlite => session.copy_out(path),
        // `pg_dump` tells its session where to look for tables, and pgbouncer would lend that session to others.
        Backend::Postgres if url.is_pooled() => dump::write(session, tables, path).await,
        Backend::Postgres => {
            let snapshot =
                session.query("SELECT pg_export_snapshot()", &[], |row| row.text(0).map(str::to_owned)).await?;
            let (url, file) = (url.clone(), path.to_owned());
            let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
            let dumped = blocking(move || Ok(postgres::dump(&url, &snapshot.concat(), &names, &file))).await?;
            match dumped {
                Some(()) => Ok(()),
                None => dump::write(session, tables, path).await,
            }
        }
        Backend::MySql => dump::write(session, tables, path).await,
    }
}

/// Makes the database what the file says: all of it, or nothing.
pub(super) async fn restore(url: &DatabaseUrl, drop_first: Vec<String>, path: &Path) -> Result<()> {
    match url.backend {
        Backend::Sqlite => sqlite::restore(url, path).await,
        Backend::Postgres if url.is_pooled() => Err(Error::invalid(
            "a native backup can't be restored through pgbouncer; restore the CSV form, or connect to PostgreSQL itself",
        )),
        Backend::Postgres => {
            let (url, path) = (url.clone(), path.to_owned());
            blocking(move || postgres::restore(&url, &drop_first, &path)).await
        }
        Backend::MySql => Err(Error::invalid("this is no dump of MySQL that the kernel made; restore the CSV form")),
    }
}

/// Whether the file is the one of its manifest, and whole in the eyes of its database.
pub(super) async fn verify(path: &Path, manifest: &Manifest) -> Result<()> {
    let damaged = |problem: &str| {
        Error::invalid(format!("{} is damaged: {problem}; nothing was changed", path.display())).code("damaged_backup")
    };
    let written = path.to_owned();
    if manifest.file.as_ref() != Some(&blocking(move || sum(&written)).await?) {
        return Err(damaged("its checksum is not that of its manifest"));
    }
    if manifest.backend == Backend::Sqlite.as_str()
        && let Some(damage) = sqlite::find_damage(path).await?
    {
        return Err(damaged(&damage));
    }
    Ok(())
}

/// A file's size and checksum.
pub(super) fn sum(path: &Path) -> Result<FileSum> {
    let read = || {
        let mut file = Hashing::new(File::open(path)?);
        io::copy(&mut file, &mut io::sink())?;
        Ok::<_, io::Error>(file.finish().1)
    };
    read().map_err(|cause| Error::invalid(format!("{} is damaged: it can't be read: {cause}", path.display())))
}

/// Runs what takes its time on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.or_internal("waiting for the backup")?
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::{DatabaseUrl, Path, Result, blocking};
    use crate::store::db::driver::sqlite::copy;

    pub(super) async fn restore(url: &DatabaseUrl, path: &Path) -> Result<()> {
        let (live, copy) = (url.sqlite_file()?, path.to_owned());
        blocking(move || Ok(copy::copy_in(&copy, &live)?)).await
    }

    pub(super) async fn find_damage(path: &Path) -> Result<Option<String>> {
        let path = path.to_owned();
        blocking(move || Ok(copy::find_damage(&path)?)).await
    }
}

#[cfg(not(feature = "sqlite"))]
mod sqlite {
    use super::{DatabaseUrl, Error, Path, Result};

    fn built_without() -> Error {
        Error::invalid("this binary was built without SQLite; build it with the Cargo feature `sqlite`")
    }

    pub(super) async fn restore(_: &DatabaseUrl, _: &Path) -> Result<()> {
        Err(built_without())
    }

    pub(super) async fn find_damage(_: &Path) -> Result<Option<String>> {
        Err(built_without())
    }
}

mod postgres {
    use super::{Command, DatabaseUrl, Error, File, OrInternal as _, OsStr, Output, Path, Result, Stdio, io};

    /// By `pg_dump`, only the tables that are ours, as a transaction that is open sees them. None where it is not installed or refuses.
    pub(super) fn dump(url: &DatabaseUrl, snapshot: &str, tables: &[String], path: &Path) -> Option<()> {
        let mut command = tool("pg_dump", url);
        command.args(["--format=custom", "--no-owner", "--no-privileges"]).arg(format!("--snapshot={snapshot}"));
        command.arg("--file").arg(path).args(tables.iter().map(|table| format!("--table=\"{table}\"")));
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {
                File::open(path).and_then(|file| file.sync_all()).ok()?;
                Some(())
            }
            Ok(output) => {
                tracing::warn!(target: "app_kernel::backup", "pg_dump failed, so the native backup is a dump as SQL: {}", last_words(&output));
                None
            }
            Err(cause) => {
                tracing::debug!(%cause, "pg_dump can't be run, so the native backup is a dump as SQL");
                None
            }
        }
    }

    /// The archive as SQL, fed to `psql` inside of one transaction that is committed only after its last word.
    pub(super) fn restore(url: &DatabaseUrl, drop_first: &[String], path: &Path) -> Result<()> {
        let mut reader = Command::new("pg_restore");
        reader.args(["--no-owner", "--no-privileges", "--file=-"]).arg(path);
        let mut reader = start(reader.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let mut psql = tool("psql", url);
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]);
        let mut psql = start(psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let mut into = psql.stdin.take().or_internal_none("psql listens to nothing")?;
        let mut from = reader.stdout.take().or_internal_none("pg_restore says nothing")?;
        let fed = feed(&mut from, &mut into, drop_first);
        drop(from);
        let read = reader.wait_with_output().or_internal("waiting for pg_restore")?;
        // Without COMMIT, psql ends its session at the end of its input, and the server undoes all.
        let finished = fed
            .and_then(|()| if read.status.success() { io::Write::write_all(&mut into, b"COMMIT;\n") } else { Ok(()) });
        drop(into);
        let output = psql.wait_with_output().or_internal("waiting for psql")?;
        if read.status.success() && finished.is_ok() && output.status.success() {
            return Ok(());
        }
        let words = if output.status.success() { last_words(&read) } else { last_words(&output) };
        Err(Error::unavailable(format!("the restore failed and nothing was changed: {words}")))
    }

    fn feed(from: &mut impl io::Read, into: &mut impl io::Write, drop_first: &[String]) -> io::Result<()> {
        into.write_all(b"BEGIN;\n")?;
        if !drop_first.is_empty() {
            let list = drop_first.iter().map(|table| format!("\"{table}\"")).collect::<Vec<_>>().join(", ");
            into.write_all(format!("DROP TABLE {list};\n").as_bytes())?;
        }
        io::copy(from, into)?;
        into.write_all(b"\n")
    }

    fn start(command: &mut Command) -> Result<std::process::Child> {
        command.spawn().map_err(|cause| {
            let name = command.get_program().to_string_lossy().into_owned();
            Error::unavailable(format!(
                "{name} can't be run: {cause}; install PostgreSQL's client programs, or restore the CSV form of the same moment"
            ))
        })
    }

    /// A tool of PostgreSQL that connects to this database. The password is not among its arguments, which everybody can read.
    fn tool(name: impl AsRef<OsStr>, url: &DatabaseUrl) -> Command {
        let text = url.text.expose();
        let mut command = Command::new(name);
        let (scheme, rest) = text.split_once("://").unwrap_or(("postgres", text));
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(authority_end);
        let shown = match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?, host))) {
            Some(((user, password), host)) => {
                let password = percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned();
                command.env("PGPASSWORD", password);
                format!("{scheme}://{user}@{host}{after}")
            }
            None => text.to_owned(),
        };
        command.arg(format!("--dbname={shown}")).arg("--no-password");
        command
    }

    fn last_words(output: &Output) -> String {
        let words = String::from_utf8_lossy(&output.stderr);
        words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason was given").to_owned()
    }

    trait OrInternalNone<T> {
        fn or_internal_none(self, message: &'static str) -> Result<T>;
    }

    impl<T> OrInternalNone<T> for Option<T> {
        fn or_internal_none(self, message: &'static str) -> Result<T> {
            self.ok_or_else(|| Error::internal(message))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::base::secret::Secret;

        #[test]
        fn the_password_is_no_argument() {
            let url =
                DatabaseUrl::parse(&Secret::new("postgres://ann:p%40ss@db:5433/app?sslmode=require")).expect("a URL");
            let command = tool("pg_dump", &url);
            let arguments: Vec<_> =
                command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
            assert_eq!(arguments, ["--dbname=postgres://ann@db:5433/app?sslmode=require", "--no-password"]);
            let password = command.get_envs().find(|(name, _)| *name == "PGPASSWORD").and_then(|(_, value)| value);
            assert_eq!(password, Some(OsStr::new("p@ss")));
        }
    }
}
