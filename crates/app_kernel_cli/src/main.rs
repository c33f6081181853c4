//! The `app-kernel` tool: makes a new service, looks at an environment before a service meets it, verifies backups, and carries what services
//! send to the admin database.
#![forbid(unsafe_code)]

mod new;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use app_kernel::base::clock::Clock;
use app_kernel::base::config::{ServiceConfig, Surroundings, VARIABLES, Variable, wants_no_colour};
use app_kernel::base::error::{Error, Result};
use app_kernel::service;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// Makes services built with app_kernel, and looks at their environment
#[derive(Debug, Parser)]
#[command(name = "app-kernel", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a new service into a folder of its name: it compiles, passes its tests, and runs
    New {
        /// Small letters, digits, `-` and `_`
        name: String,
        /// The folder of the crate app_kernel, where it is not to come from crates.io
        #[arg(long, value_name = "FOLDER")]
        kernel_path: Option<PathBuf>,
    },
    /// Say what is wrong with this environment, and how to put it right. Asks the servers that it names; changes nothing
    Doctor {
        /// Say it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what a service would find here: what is on, what is off, what keeps it from starting. Connects to DATABASE_URL, changes nothing
    Check,
    /// Look after backups, without the database that they are of
    Backup {
        #[command(subcommand)]
        action: BackupAction,
    },
    /// Carry audit and usage of all services from REDIS_URL to ADMIN_DB_URL, until told to end
    AdminWorker,
    /// List every environment variable with its present value; secrets are hidden
    Variables,
    /// Print what makes a shell complete these commands: source <(app-kernel completions bash)
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum BackupAction {
    /// Read backups back: every checksum, row and value. Ends with 1 where one is damaged
    Verify {
        /// The backup; all in the folder where none is named
        name: Option<String>,
        /// The folder; as BACKUP_DIR and DATA_DIR say where it is not given
        #[arg(long)]
        folder: Option<PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::New { name, kernel_path } => {
            let here = std::env::current_dir()
                .map_err(|cause| Error::invalid(format!("this folder is not there any more: {cause}")))?;
            say(&new::new(&name, kernel_path.as_deref(), &here)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { json } => doctor(json),
        Command::Completions { shell } => completions(shell),
        Command::Check => check(),
        Command::Backup { action: BackupAction::Verify { name, folder } } => verify_backups(name.as_deref(), folder),
        Command::AdminWorker => admin_worker(),
        Command::Variables => {
            let surroundings = Surroundings::find()?;
            say(&variables(VARIABLES, |variable| variable.shown(&surroundings)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn doctor(json: bool) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("the system gives a program threads");
    let done = runtime.block_on(service::doctor(None, json));
    // A name that is being looked up keeps nobody waiting.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "app-kernel", &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

fn verify_backups(name: Option<&str>, folder: Option<PathBuf>) -> Result<ExitCode> {
    let folder = match folder {
        Some(folder) => folder,
        None => ServiceConfig::from_env()?.effective_backup_dir(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system lets a program wait").block_on(service::verify_backups(&folder, name))?;
    Ok(ExitCode::SUCCESS)
}

fn admin_worker() -> Result<ExitCode> {
    let config = ServiceConfig::from_env()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("the system gives a program threads");
    runtime.block_on(service::serve_admin_worker(&config, &Clock::system()))?;
    Ok(ExitCode::SUCCESS)
}

/// Ends with 1 where a service would not start.
fn check() -> Result<ExitCode> {
    let config = ServiceConfig::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.expect("the system lets a program wait").block_on(service::check(&config));
    say(&report.table("a service here", std::io::stdout().is_terminal() && !wants_no_colour()))?;
    for warning in &report.warnings {
        eprintln!("Warning: {warning}");
    }
    for problem in &report.problems {
        eprintln!("Error: {problem:?}");
    }
    Ok(ExitCode::from(u8::from(!report.problems.is_empty())))
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

/// The variables in columns; a default stands in parentheses.
fn variables(all: &[Variable], shown: impl Fn(&Variable) -> Option<String>) -> String {
    let rows: Vec<(&str, String, &str)> = all
        .iter()
        .map(|variable| {
            let value = shown(variable).unwrap_or_else(|| format!("({})", variable.default));
            (variable.name, value, variable.meaning)
        })
        .collect();
    let names = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let values = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0);
    let line = |(name, value, meaning): &(&str, String, &str)| format!("{name:names$}  {value:values$}  {meaning}\n");
    format!("In parentheses: what holds where a variable is not set.\n\n{}", rows.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stands_plain_and_defaults_in_parentheses() {
        let variable = |name, default, meaning| Variable { name, default, meaning };
        let all = [variable("PORT", "8000", "where"), variable("JWT_SECRET", "none", "signs")];
        let text = variables(&all, |variable| (variable.name == "PORT").then(|| "81".to_owned()));
        assert_eq!(
            text,
            "In parentheses: what holds where a variable is not set.\n\n\
             PORT        81      where\n\
             JWT_SECRET  (none)  signs\n"
        );
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
