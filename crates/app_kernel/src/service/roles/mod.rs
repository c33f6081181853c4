//! One binary, several roles: the first argument says which. `serve` where there is none.

mod backup;

use std::io::{ErrorKind, Write as _};

use backup::BackupAction;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::{Service, facts, lifecycle, log};
use crate::base::error::{Error, Result};
use crate::feature::auth;

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
    /// Bring the database to the schema of the code, then end
    Migrate {
        /// Only print the SQL
        #[arg(long)]
        plan: bool,
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
    /// Print the OpenAPI document
    Openapi,
    /// Change what a user may do
    User {
        #[command(subcommand)]
        action: UserAction,
    },
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Make a user an administrator
    Promote {
        /// The user's e-mail address
        email: String,
    },
    /// Make an administrator a user again
    Demote {
        /// The user's e-mail address
        email: String,
    },
}

impl Arguments {
    /// Reads the command line. Help, the version and mistakes end the process here.
    fn read(service: &Service) -> Self {
        let (name, version) = (service.name.clone(), service.version.clone());
        let command = Arguments::command().name(name.clone()).about(name).version(version);
        Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Runs the service in its role, on a runtime of its own.
pub(super) fn run(service: Service) -> Result<()> {
    let arguments = Arguments::read(&service);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Error::internal(format!("the runtime can't start: {cause}")))?;
    runtime.block_on(async {
        match arguments.role.unwrap_or(Role::Serve) {
            Role::Serve => serve(service).await,
            Role::Migrate { plan } => migrate(service, plan).await,
            Role::Backup { action } => backup::backup(service, action).await,
            Role::Restore { name, table, plan } => backup::restore(service, &name, table.as_deref(), plan).await,
            Role::Rollback { date, confirm } => backup::rollback(service, &date, confirm).await,
            Role::Openapi => openapi(service).await,
            Role::User { action } => user(service, action).await,
        }
    })
}

async fn serve(service: Service) -> Result<()> {
    let log = log::init(&service.config)?;
    let started = service.start().await?;
    let listener = started.bind().await?;
    let (name, facts) = started.facts();
    facts::tell(name, facts, log.is_pretty());
    let running = started.serve_on(listener)?;
    tracing::info!("listening on http://{}", running.address());
    running.until_told_to_stop().await;
    Ok(())
}

async fn migrate(service: Service, plan_only: bool) -> Result<()> {
    let db = lifecycle::open_for_command(&service).await?;
    let statements = if plan_only {
        db.plan_migration().await?
    } else {
        let migration = db.migrate().await?;
        for note in &migration.notes {
            eprintln!("note: {note}");
        }
        migration.statements
    };
    db.close().await;
    if statements.is_empty() {
        return say("-- nothing to do: the database has the schema of the code\n");
    }
    say(&statements.iter().map(|statement| format!("{statement};\n")).collect::<String>())
}

async fn openapi(mut service: Service) -> Result<()> {
    // The routes of all features, whatever the environment has: a document is made where there is no database too.
    let folder = std::env::temp_dir().join(format!("app_kernel_openapi_{}", crate::base::id::new_id()));
    service.config.database_url =
        Some(crate::base::secret::Secret::new(format!("sqlite:///{}/app.db", folder.display())));
    service.config = service.config.dev_defaults();
    let started = service.start().await?;
    let document = started.openapi().to_vec();
    if let Ok(db) = started.kernel().db() {
        db.close().await;
    }
    let _ = std::fs::remove_dir_all(&folder);
    say(&format!("{}\n", String::from_utf8_lossy(&document)))
}

async fn user(service: Service, action: UserAction) -> Result<()> {
    let db = lifecycle::open_for_command(&service).await?;
    if service.config.migration_enabled {
        db.migrate().await?;
    }
    let done = match &action {
        UserAction::Promote { email } => {
            auth::promote(&db, email).await.map(|_| format!("{email} is an administrator\n"))
        }
        UserAction::Demote { email } => auth::demote(&db, email).await.map(|_| format!("{email} is a user\n")),
    };
    db.close().await;
    say(&done?)
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
