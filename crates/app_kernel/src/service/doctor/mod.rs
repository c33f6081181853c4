//! `doctor`: what is wrong with an environment, in words, each with its cure. It asks servers and looks at files, and makes and changes
//! nothing. Each question has its time, so that a server that hangs is a finding like any other.

mod database;
mod machine;
mod people;
mod servers;
mod settings;

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::progress;
use crate::base::config::{ServiceConfig, Surroundings, wants_no_colour};
use crate::base::error::{Error, OrInternal as _, Result};

/// How long one question may take, with all that belongs to it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How wide the column of subjects is; longer ones stick out.
const SUBJECTS: usize = 16;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A service starts with it, but somebody should look at it.
    Warn,
    /// A service would not start with it, or not do what it should.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: a variable, or a word such as `database`.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found; where something is wrong, the cause.
    pub detail: String,
    /// What to do about it.
    pub cure: Option<String>,
}

impl Finding {
    fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding { subject: subject.into(), verdict: Verdict::Ok, detail: detail.into(), cure: None }
    }

    fn warn(subject: impl Into<String>, detail: impl Into<String>, cure: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Warn, cure: Some(cure.into()), ..Finding::ok(subject, detail) }
    }

    fn fail(subject: impl Into<String>, detail: impl Into<String>, cure: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Fail, ..Finding::warn(subject, detail, cure) }
    }

    /// Errors of the kernel say the cure last, behind a semicolon.
    fn of(subject: impl Into<String>, error: &Error) -> Self {
        let message = error.to_string();
        match message.rsplit_once("; ") {
            Some((cause, cure)) => Finding::fail(subject, cause, cure),
            None => Finding { verdict: Verdict::Fail, ..Finding::ok(subject, message) },
        }
    }

    /// For people.
    fn line(&self, colours: bool) -> String {
        let (word, colour) = match self.verdict {
            Verdict::Ok => ("ok  ", "32"),
            Verdict::Warn => ("warn", "33"),
            Verdict::Fail => ("FAIL", "31"),
        };
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        let cure = self.cure.as_ref().map(|cure| format!("\n        {:SUBJECTS$}  → {cure}", "")).unwrap_or_default();
        format!("  {word}  {:SUBJECTS$}  {}{cure}\n", self.subject, self.detail)
    }
}

/// The whole of it, for machines.
#[derive(Serialize)]
struct Findings<'a> {
    ok: bool,
    findings: &'a [Finding],
}

/// Looks at everything and tells it on stdout: as it is found, or as one JSON document. Without a configuration, the one that the environment
/// gives, with all that is wrong in it.
///
/// # Errors
/// Where anything fails, with the number; warnings are none.
pub async fn doctor(given: Option<ServiceConfig>, json: bool) -> Result<()> {
    let colours = std::io::stdout().is_terminal() && !wants_no_colour();
    let mut telling = Ok(());
    let findings = examine(given, |finding| {
        progress::clear();
        if !json && telling.is_ok() {
            telling = std::io::stdout().lock().write_all(finding.line(colours).as_bytes());
        }
    })
    .await;
    progress::clear();
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if json {
        let document = Findings { ok: failed == 0, findings: &findings };
        let text = serde_json::to_string_pretty(&document).or_internal("writing the findings as JSON")?;
        telling = std::io::stdout().lock().write_all(format!("{text}\n").as_bytes());
    }
    // A reader that has seen enough, such as `head`, is no failure.
    telling
        .or_else(|cause| if cause.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(cause) })
        .or_internal("writing to stdout")?;
    match failed {
        0 => Ok(()),
        1 => Err(Error::invalid("a service would not work here: 1 check failed")),
        many => Err(Error::invalid(format!("a service would not work here: {many} checks failed"))),
    }
}

/// Looks at everything; each finding is heard as soon as it is there.
async fn examine(given: Option<ServiceConfig>, mut hear: impl FnMut(&Finding)) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut tell = |new: Vec<Finding>| {
        new.iter().for_each(&mut hear);
        findings.extend(new);
    };
    let surroundings = Surroundings::find().unwrap_or_else(|error| {
        tell(vec![Finding::of(".env", &error)]);
        Surroundings::without_file()
    });
    let (config, problems) = match given {
        Some(config) => {
            let problems = config.check().err().iter().map(settings::by_variable).collect();
            (config, problems)
        }
        None => settings::settle(surroundings.clone()),
    };
    tell(settings::variables(&surroundings, &problems));
    tell(problems);
    tell(settings::sanity(&config));
    tell(machine::files(&config));
    tell(within("database", database::examine(&config)).await);
    tell(within("admin database", database::examine_admin(&config)).await);
    tell(within("redis", servers::redis(&config)).await);
    tell(within("mail", servers::mail(&config)).await);
    for (name, provider) in &config.oauth_providers {
        tell(within(&format!("oauth/{name}"), people::provider(name, provider)).await);
    }
    tell(machine::limits(&config));
    findings
}

/// Gives a question its time.
async fn within(subject: &str, question: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    progress::word(&format!("looking at {subject} …"));
    tokio::time::timeout(PATIENCE, question).await.unwrap_or_else(|_| {
        let secs = PATIENCE.as_secs();
        vec![Finding::fail(
            subject,
            format!("no answer within {secs} s"),
            "look whether it hangs, and at the network between",
        )]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_cure_another() {
        assert_eq!(Finding::ok("PORT", "8000").line(false), "  ok    PORT              8000\n");
        let error = Error::invalid("PORT is `eighty`; it must be a port from 0 to 65535");
        assert_eq!(
            Finding::of("PORT", &error).line(false),
            "  FAIL  PORT              PORT is `eighty`\n                          → it must be a port from 0 to 65535\n"
        );
        assert!(Finding::warn("x", "y", "z").line(true).starts_with("  \x1b[33mwarn\x1b[0m  x"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_a_finding() {
        let found = within("redis", std::future::pending()).await;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].verdict, found[0].detail.as_str()), (Verdict::Fail, "no answer within 20 s"));
    }
}
