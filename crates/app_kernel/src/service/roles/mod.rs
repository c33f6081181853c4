//! One binary, several roles: the first argument says which. `serve` where there is none.

mod audit;
mod backup;
mod health;
mod migrate;
mod user;

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use audit::AuditAction;
pub use backup::verify_backups;

use backup::BackupAction;
use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use user::UserAction;

use super::lifecycle::told_to_stop;
use super::worker::WorkerShare;
use super::{Service, dev_servers, doctor, facts, log, notes, progress, serve_admin_worker};
use crate::base::error::{Error, Result};
use crate::store::db::backup::BackedUp;
use crate::store::db::start::{BringUp, BroughtUp};
use crate::store::db::{Db, Migration};

/// The command line of every service. Name and version are the service's.
#[derive(Debug, Parser)]
#[command(
    long_about = None,
    disable_help_subcommand = true,
    after_help = "All settings are environment variables; `app-kernel variables` lists them."
)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serve requests (the default)
    Serve,
    /// Run jobs, and serve no requests
    Worker {
        /// Only these tasks, separated by commas
        #[arg(long, value_delimiter = ',')]
        tasks: Option<Vec<String>>,
        /// Only the jobs in these queues, separated by commas
        #[arg(long, value_delimiter = ',')]
        queues: Option<Vec<String>>,
        /// How many side by side, instead of WORKER_CONCURRENCY
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        concurrency: Option<u32>,
    },
    /// Carry audit and usage of all services from REDIS_URL to ADMIN_DB_URL
    AdminWorker,
    /// Bring the database to the schema of the code, then end
    Migrate {
        /// Only say what would be done; writes nothing
        #[arg(long)]
        plan: bool,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a backup, list them, or verify them
    Backup {
        #[command(subcommand)]
        action: Option<BackupAction>,
    },
    /// Make the database what a backup says; a safety copy comes first
    Restore {
        /// The backup, as `backup list` names it
        name: String,
        /// Only this entity, with its history
        #[arg(long)]
        table: Option<String>,
        /// Only say what would happen
        #[arg(long)]
        plan: bool,
    },
    /// Go back to the last backup of a day or earlier; a safety copy comes first
    Rollback {
        /// The day, such as 2026-01-29; its end in UTC counts
        date: String,
        /// Do it; without this, only say what would happen
        #[arg(long)]
        confirm: bool,
    },
    /// Look whether the audit is what was written, or purge old entries
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
    /// Print the OpenAPI document
    Openapi,
    /// Say what is wrong with this environment, and how to put it right; changes nothing
    Doctor {
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the service on this machine whether it lives: ends with 0 where `/healthz` answers 200, for images without a shell
    Health {
        /// The port to ask at, instead of PORT
        #[arg(long)]
        port: Option<u16>,
    },
    /// Print what makes a shell complete these commands: source <(… completions bash)
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// List users, make them, and change what they may do
    User {
        #[command(subcommand)]
        action: UserAction,
    },
}

impl Role {
    /// Whether it answers a person and ends, and writes no log.
    fn is_command(&self) -> bool {
        match self {
            Role::Migrate { .. } | Role::Backup { .. } | Role::Restore { .. } | Role::Rollback { .. } => true,
            Role::User { .. } | Role::Audit { .. } => true,
            Role::Doctor { .. } | Role::Health { .. } | Role::Completions { .. } => true,
            Role::Serve | Role::Worker { .. } | Role::AdminWorker | Role::Openapi => false,
        }
    }
}

impl Role {
    /// Whether it uses the servers of the configuration, rather than to say how they are.
    fn has_servers(&self) -> bool {
        !matches!(self, Role::Doctor { .. } | Role::Health { .. } | Role::Completions { .. } | Role::Openapi)
    }
}

impl Arguments {
    /// The command line of this service.
    fn of(service: &Service) -> Command {
        let (name, version) = (service.name.clone(), service.version.clone());
        Arguments::command().name(name.clone()).about(name).version(version)
    }

    /// Reads the command line. Help, the version and mistakes end the process here.
    fn read(service: &Service) -> Self {
        Arguments::from_arg_matches(&Arguments::of(service).get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Runs the service in its role, on a runtime of its own.
pub(super) fn run(service: Service) -> Result<()> {
    let arguments = Arguments::read(&service);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Error::internal(format!("the runtime can't start: {cause}")))?;
    let role = arguments.role.unwrap_or(Role::Serve);
    if role.is_command() {
        notes::to_stderr();
    }
    let done = runtime.block_on(async {
        if role.is_command() && role.has_servers() {
            dev_servers::bring_up(&service.config).await?;
        }
        match role {
            Role::Serve => serve(service).await,
            Role::Worker { tasks, queues, concurrency } => {
                let concurrency = concurrency.map(|jobs| jobs as usize);
                work(service, WorkerShare { tasks, queues, concurrency }).await
            }
            Role::AdminWorker => serve_admin_worker(&service.config, &service.clock).await,
            Role::Migrate { plan: true, json } => migrate::plan(service, json).await,
            Role::Migrate { plan: false, json } => migrate::migrate(service, json).await,
            Role::Backup { action } => backup::backup(service, action).await,
            Role::Restore { name, table, plan } => backup::restore(service, &name, table.as_deref(), plan).await,
            Role::Rollback { date, confirm } => backup::rollback(service, &date, confirm).await,
            Role::Audit { action } => audit::audit(service, action).await,
            Role::Openapi => openapi(service).await,
            Role::Doctor { json } => doctor(Some(service.config), json).await,
            Role::Health { port } => health::health(&service.config, port).await,
            Role::Completions { shell } => completions(Arguments::of(&service), shell),
            Role::User { action } => user::user(service, action).await,
        }
    });
    // Nobody waits for a thread that waits for another process' lock.
    runtime.shutdown_background();
    done
}

async fn serve(service: Service) -> Result<()> {
    let log = log::init(&service.config)?;
    dev_servers::bring_up(&service.config).await?;
    let started = service.start().await?;
    let listener = started.bind().await?;
    let (name, facts) = started.facts();
    facts::tell(name, facts, log.is_pretty());
    let running = started.serve_on(listener).await?;
    let told_to_stop = told_to_stop();
    tracing::info!("listening on http://{}", running.address());
    running.until_told_to_stop(told_to_stop).await;
    Ok(())
}

async fn work(service: Service, share: WorkerShare) -> Result<()> {
    let _log = log::init(&service.config)?;
    dev_servers::bring_up(&service.config).await?;
    let started = service.start().await?;
    started.work(share).await
}

/// As a start does; what is worth knowing beside a command's own answer goes to stderr.
async fn bring_up(db: &Db, how: &BringUp) -> Result<Migration> {
    let brought_up = db.bring_up(how).await;
    progress::clear();
    let BroughtUp { backup, migration, moved } = brought_up?;
    for line in moved {
        eprintln!("{line}");
    }
    if let BackedUp::Made(made) = backup {
        eprintln!("note: backed up before the migration: {}, {} tables, {} rows", made.csv, made.tables, made.rows);
    }
    Ok(migration)
}

async fn openapi(mut service: Service) -> Result<()> {
    // The routes of all features, whatever the environment has: a document is made where there is no database too.
    let folder = std::env::temp_dir().join(format!("app_kernel_openapi_{}", crate::base::id::new_id()));
    service.config.database_url =
        Some(crate::base::secret::Secret::new(format!("sqlite:///{}/app.db", folder.display())));
    // Nothing comes along to a database that is there for a moment, and nothing is left of it.
    service.config.data_dir = folder.join("data").display().to_string();
    service.config.migrations_dir = None;
    service.config.admin_db_url = None;
    service.config.backup_enabled = false;
    service.config = service.config.dev_defaults();
    let started = service.start().await?;
    let document = started.openapi().to_vec();
    if let Ok(db) = started.kernel().db() {
        db.close().await;
    }
    let _ = std::fs::remove_dir_all(&folder);
    say(&format!("{}\n", String::from_utf8_lossy(&document)))
}

/// The script for a shell, for the name that the program was called by.
fn completions(mut command: Command, shell: Shell) -> Result<()> {
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called
        .as_deref()
        .and_then(Path::file_name)
        .map_or_else(|| command.get_name().to_owned(), |name| name.to_string_lossy().into_owned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// Writes to stdout. A reader that has seen enough, such as `head`, is no failure.
fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => {
            Err(Error::internal(format!("can't write to stdout: {cause}")))
        }
        _ => Ok(()),
    }
}
