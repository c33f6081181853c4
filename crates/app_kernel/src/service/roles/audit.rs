//! `audit …`: whether its entries are what was written, and purging the old ones.

use clap::Subcommand;

use super::super::{Service, database};
use super::say;
use crate::base::clock::parse_moment;
use crate::base::error::{Error, Result};
use crate::feature::audit::{ChainEnd, purge_audit_logs, verify};
use crate::store::db::Db;

/// What there is to do about the audit.
#[derive(Debug, Subcommand)]
pub(super) enum AuditAction {
    /// Follow the chain of entries from its beginning to its end; fails where one was edited, removed, inserted or moved
    Verify {
        /// Another service whose audit lies in the same admin database
        #[arg(long)]
        app: Option<String>,
        /// An end that an earlier look has told, noted elsewhere: it must still be there
        #[arg(long, value_name = "NUMBER:HASH")]
        expect: Option<String>,
    },
    /// Delete the entries from before a day or time; there is no way back
    Purge {
        /// A day or time in UTC, such as 2025-01-01
        #[arg(long)]
        before: String,
    },
}

pub(super) async fn audit(service: Service, action: AuditAction) -> Result<()> {
    let is_look = matches!(action, AuditAction::Verify { .. });
    let db = database::open_admin_for_command(&service, is_look).await?;
    let done = act(&service, &db, action).await;
    db.close().await;
    done
}

async fn act(service: &Service, db: &Db, action: AuditAction) -> Result<()> {
    match action {
        AuditAction::Verify { app, expect } => {
            let app = app.as_ref().unwrap_or(&service.name);
            let noted = expect.map(|text| text.parse::<ChainEnd>()).transpose()?;
            let verified = verify(db, app, noted.as_ref()).await?;
            let tampering = |what| Error::conflict(format!("the audit of `{app}` is not what was written: {what}"));
            let verified = verified.map_err(tampering)?;
            let purged = match verified.purged {
                0 => String::new(),
                purged => format!(", behind {purged} that were purged"),
            };
            say(&format!(
                "the audit of `{app}` is whole: {} entries{purged}; it ends at {}\n",
                verified.entries, verified.end
            ))
        }
        AuditAction::Purge { before } => {
            let unreadable = || Error::invalid(format!("`{before}` is no day or time such as 2025-01-01"));
            let moment = parse_moment(&before).ok_or_else(unreadable)?;
            let purged = purge_audit_logs(db, &service.name, moment).await?;
            say(&format!("{purged} entries from before {before} are deleted\n"))
        }
    }
}
