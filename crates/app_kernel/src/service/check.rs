//! A look at a configuration before a service meets it: what would be on, and what would go wrong. It makes nothing and changes nothing.

use std::path::Path;

use super::facts::{self, Fact};
use super::features::features;
use super::{database, lifecycle, log, traces};
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::engine::mail::Mailer;
use crate::store::db::Backend;
use crate::store::db::url::DatabaseUrl;
use crate::store::redis::Redis;
use crate::web::edge::EdgeRules;

/// What a service would find.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// What would be on and off.
    pub facts: Vec<Fact>,
    /// What it would start with, but should not in production.
    pub warnings: Vec<String>,
    /// What would keep it from starting; each names the variable and the cure.
    pub problems: Vec<Error>,
}

impl Report {
    /// The facts for people, in columns below a title.
    #[must_use]
    pub fn table(&self, title: &str, colours: bool) -> String {
        facts::table(title, &self.facts, colours)
    }
}

/// Looks at a configuration as a service does when it starts, and connects to its database.
pub async fn check(config: &ServiceConfig) -> Report {
    let mut report = Report { facts: Vec::new(), warnings: lifecycle::warnings(config), problems: Vec::new() };
    report.problems.extend(config.check().err());
    report.problems.extend(log::filter(&config.log_level).err());
    report.problems.extend(EdgeRules::from_config(config).err());
    report.facts.extend(lifecycle::env_file_fact(config));
    match database(config).await {
        Ok(fact) => report.facts.push(fact),
        Err(problem) => {
            report.facts.push(Fact::off("database", "it can't be used, see below"));
            report.problems.push(problem);
        }
    }
    report.facts.extend(features(config).into_iter().map(|feature| feature.fact));
    match Mailer::from_config(config) {
        Ok(mailer) => report.facts.push(lifecycle::mail_fact(&mailer)),
        Err(problem) => report.problems.push(problem),
    }
    let has_redis = config.redis_url.is_some();
    match Redis::from_config("check", config) {
        Ok(redis) => report.facts.push(lifecycle::redis_fact(redis.as_ref()).await),
        Err(problem) => report.problems.push(problem),
    }
    report.facts.push(lifecycle::rate_limit_fact(config, has_redis));
    report.facts.push(traces::fact(config));
    report.facts.extend(lifecycle::facts_of_the_edge(config));
    report
}

/// The database, where it answers.
async fn database(config: &ServiceConfig) -> Result<Fact> {
    let fact = database::fact(config)?;
    let Some(url) = config.effective_database_url() else { return Ok(fact) };
    let url = DatabaseUrl::parse(&url)?;
    if url.backend == Backend::Sqlite {
        let file = url.sqlite_file()?;
        if !file.exists() {
            // Opening it would make it.
            return place_for(&file)
                .map(|()| Fact { detail: format!("{}, made at the first start", fact.detail), ..fact });
        }
    }
    if let Some(db) = database::open("check", config, &Clock::system(), &[], &[]).await? {
        let answer = db.ping().await;
        db.close().await;
        answer?;
    }
    Ok(fact)
}

/// Whether the folders of a file are there or can be made, as far as can be told without making them.
fn place_for(file: &Path) -> Result<()> {
    let above = file.ancestors().skip(1).find(|path| path.exists());
    match above {
        Some(path) if !path.is_dir() => Err(Error::invalid(format!(
            "DATABASE_URL: the SQLite file {} can't be made: {} is no folder; give another path",
            file.display(),
            path.display()
        ))),
        _ => Ok(()),
    }
}
