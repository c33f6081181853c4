//! `user …`: who may sign in, for those who run the service.

use std::io::BufRead as _;

use clap::Subcommand;

use super::{bring_up, say};
use crate::base::error::{Error, OrInternal as _, Result};
use crate::base::secret::{Secret, random_token};
use crate::feature::auth::{self, NewAccount, Role, User};
use crate::feature::workspaces;
use crate::service::{Service, database};
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::store::db::start::StartBackup;

/// Users that are read at once.
const PAGE: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum UserAction {
    /// List all users: role, whether active, since when, last sign-in, address
    List,
    /// Make a user, whether sign-up is open or not
    Create {
        /// Their e-mail address
        email: String,
        /// What to call them
        #[arg(long)]
        name: Option<String>,
        /// Make them an administrator
        #[arg(long)]
        admin: bool,
        /// Read the password from the first line of standard input; without this, one is made and printed, once
        #[arg(long)]
        password_stdin: bool,
    },
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
    /// Let a user in no more, and end all their sessions
    Deactivate {
        /// The user's e-mail address
        email: String,
    },
    /// Let a user in again
    Activate {
        /// The user's e-mail address
        email: String,
    },
    /// Forget a user's second factor, when the telephone and the recovery codes are lost
    DropSecondFactor {
        /// The user's e-mail address
        email: String,
    },
}

pub(super) async fn user(service: Service, action: UserAction) -> Result<()> {
    let db = database::open_for_command(&service).await?;
    let done = act(&service, &db, action).await;
    db.close().await;
    done
}

async fn act(service: &Service, db: &Db, action: UserAction) -> Result<()> {
    bring_up(db, &database::how(&service.config, StartBackup::BeforeMigration)).await?;
    let clock = &service.clock;
    match action {
        UserAction::List => list(db).await,
        UserAction::Create { email, name, admin, password_stdin } => {
            let role = if admin { Role::Admin } else { Role::User };
            let given = if password_stdin { Some(password_from_stdin()?) } else { None };
            let password = given.clone().unwrap_or_else(|| Secret::new(random_token()));
            let account = NewAccount { email, name, password: password.clone(), role };
            let on_sign_up = workspaces::on_sign_up(clock.clone());
            let user = auth::create(db, &service.config, clock, account, &on_sign_up).await?;
            let what = word(role);
            match given {
                Some(_) => say(&format!("{} is {what}\n", user.email)),
                None => say(&format!("{} is {what}; password, shown once: {}\n", user.email, password.expose())),
            }
        }
        UserAction::Promote { email } => {
            auth::promote(db, &email).await?;
            say(&format!("{email} is {}\n", word(Role::Admin)))
        }
        UserAction::Demote { email } => {
            auth::demote(db, &email).await?;
            say(&format!("{email} is {}\n", word(Role::User)))
        }
        UserAction::Deactivate { email } => {
            auth::set_active(db, clock, &email, false).await?;
            say(&format!("{email} may not sign in, and all sessions are ended\n"))
        }
        UserAction::Activate { email } => {
            auth::set_active(db, clock, &email, true).await?;
            say(&format!("{email} may sign in\n"))
        }
        UserAction::DropSecondFactor { email } => {
            auth::drop_second_factor(db, &email).await?;
            say(&format!("{email} signs in by password alone\n"))
        }
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Admin => "an administrator",
        Role::User => "a user",
    }
}

/// The first line, without its end.
fn password_from_stdin() -> Result<Secret> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).or_internal("reading the password from standard input")?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Error::invalid(
            "there is no password on standard input; write one there, or leave out --password-stdin",
        ));
    }
    Ok(Secret::new(password))
}

/// The address comes last, because nobody knows how wide it is.
async fn list(db: &Db) -> Result<()> {
    say(&line("role", "active", "created", "last sign-in", "address"))?;
    let mut after = None;
    loop {
        let users = db.find::<User>("", ()).order_by("[email_key] ASC").limit(PAGE);
        let page = after.into_iter().fold(users, |users, cursor: String| users.after(cursor)).page().await?;
        say(&page.items.iter().map(user_line).collect::<String>())?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn user_line(user: &Saved<User>) -> String {
    let role = match user.role {
        Role::Admin => "admin",
        Role::User => "user",
    };
    let created = format!("{:.0}", user.created_at);
    let last = user.last_sign_in_at.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}"));
    line(role, if user.is_active { "yes" } else { "no" }, &created, &last, &user.email)
}

fn line(role: &str, active: &str, created: &str, last_sign_in: &str, address: &str) -> String {
    format!("{role:5}  {active:6}  {created:20}  {last_sign_in:20}  {address}\n")
}
