//! The variables: those that are set, those that hold what they can't, and those that are almost called so.

use strsim::damerau_levenshtein;

use super::super::log;
use super::{Finding, Verdict};
use crate::base::config::{ServiceConfig, Surroundings, VARIABLES};
use crate::base::error::Error;
use crate::base::secret::Secret;
use crate::web::edge::EdgeRules;

/// The shortest name that a mistake is looked for in: `HOME` is no misspelt `HOST`.
const SHORTEST_NAME: usize = 6;
/// As many letters of a name as make one mistake likely.
const LETTERS_PER_MISTAKE: usize = 6;
/// Fewer different characters than this are no secret.
const FEWEST_CHARACTERS: usize = 10;
/// What examples are made of.
const EXAMPLES: [&str; 4] = ["your-", "change-me", "changeme", "example"];

/// Those that are set and have no problem, as people may see them, and those that nobody reads but that look as if somebody should.
pub(super) fn variables(surroundings: &Surroundings, problems: &[Finding]) -> Vec<Finding> {
    let source =
        |name: &str| if surroundings.from_file().iter().any(|known| known == name) { ", from .env" } else { "" };
    let is_good = |name: &str| !problems.iter().any(|problem| problem.subject == name);
    let set = VARIABLES.iter().filter(|variable| is_good(variable.name)).filter_map(|variable| {
        let shown = variable.shown(surroundings)?;
        Some(Finding::ok(variable.name, format!("{shown}{}", source(variable.name))))
    });
    let unread = surroundings.variables().keys().filter_map(|name| {
        let meant = look_alike(name)?;
        Some(Finding::warn(name, "is set, but nothing reads it", format!("did you mean {meant}?")))
    });
    set.chain(unread).collect()
}

/// What a name that is none of ours may be meant to be.
fn look_alike(name: &str) -> Option<&'static str> {
    if VARIABLES.iter().any(|variable| variable.is_called(name)) || name.len() < SHORTEST_NAME {
        return None;
    }
    let upper = name.to_uppercase();
    let near = VARIABLES.iter().filter(|variable| variable.name.len() >= SHORTEST_NAME).filter_map(|variable| {
        let mistakes = damerau_levenshtein(&upper, variable.name);
        (mistakes <= variable.name.len() / LETTERS_PER_MISTAKE).then_some((mistakes, variable.name))
    });
    near.min().map(|(_, name)| name)
}

/// The configuration, without the variables that hold what they can't; each of them is a finding.
pub(super) fn settle(mut surroundings: Surroundings) -> (ServiceConfig, Vec<Finding>) {
    let mut problems = Vec::new();
    loop {
        let error = match ServiceConfig::from_surroundings(&surroundings) {
            Ok(config) => return (config, problems),
            Err(error) => error,
        };
        let finding = by_variable(&error);
        let is_set = surroundings.variables().contains_key(&finding.subject);
        let name = finding.subject.clone();
        problems.push(finding);
        if !is_set {
            // Two that don't go together, or a name that can't be: what else there is can't be told.
            return (ServiceConfig::default(), problems);
        }
        surroundings = surroundings.without(&name);
    }
}

/// An error begins with the variable that it is about.
pub(super) fn by_variable(error: &Error) -> Finding {
    let message = error.to_string();
    let name = message.split([' ', ':']).next().unwrap_or_default();
    Finding::of(name, error)
}

/// What a service would start with, but should not, and what it finds out only later.
pub(super) fn sanity(config: &ServiceConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(log::filter(&config.log_level).err().iter().map(by_variable));
    findings.extend(EdgeRules::from_config(config).err().iter().map(by_variable));
    findings.push(match config.production {
        true => Finding::ok("APP_ENV", "production"),
        false => Finding::ok("APP_ENV", "development: weak secrets are taken, and mail is files"),
    });
    if config.production && config.debug {
        findings.push(Finding::warn("DEBUG", "is on in production", "leave it out"));
    }
    findings.extend(secrets(config));
    findings.extend(public_url(config));
    findings.extend(encryption(config));
    findings
}

fn secrets(config: &ServiceConfig) -> Option<Finding> {
    const CURE: &str = "make one with `openssl rand -base64 48`";
    let secret = match &config.jwt_secret {
        Some(secret) => secret,
        None if config.effective_database_url().is_none() || !config.auth_enabled => return None,
        None => return Some(Finding::warn("JWT_SECRET", "is not set, so nobody can sign in", CURE)),
    };
    let all = || std::iter::once(secret).chain(&config.jwt_secret_previous);
    if config.has_weak_secret() {
        // Production refuses it, and says so itself.
        return Some(Finding::warn("JWT_SECRET", "is a development secret, or shorter than 32 bytes", CURE));
    }
    if all().any(is_guessable) {
        return Some(Finding::warn(
            "JWT_SECRET",
            "is long, but can be guessed: it is an example, or has few different characters",
            CURE,
        ));
    }
    Some(Finding::ok("secrets", format!("JWT_SECRET has {} bytes", secret.expose().len())))
}

fn is_guessable(secret: &Secret) -> bool {
    let text = secret.expose().to_lowercase();
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    characters.len() < FEWEST_CHARACTERS || EXAMPLES.iter().any(|word| text.contains(word))
}

fn public_url(config: &ServiceConfig) -> Option<Finding> {
    const EXAMPLE: &str = "set it to where people reach the service, such as https://myapp.com";
    let name = "PUBLIC_URL";
    match &config.public_url {
        None if config.production => Some(Finding::warn(name, "is not set, so mails can hold no links", EXAMPLE)),
        Some(url) if config.production && !url.starts_with("https://") => {
            Some(Finding::warn(name, "is no https:// address: links in mails travel in the clear", EXAMPLE))
        }
        Some(url)
            if config.production && ["//localhost", "//127.", "//[::1]"].iter().any(|local| url.contains(local)) =>
        {
            Some(Finding::warn(name, "is this machine, which nobody else reaches", EXAMPLE))
        }
        _ => None,
    }
}

/// A database across a network should be who it says it is.
fn encryption(config: &ServiceConfig) -> Option<Finding> {
    let url = config.effective_database_url().filter(|_| config.production)?;
    let text = url.expose();
    let place = text.split_once("://").filter(|(scheme, _)| *scheme != "sqlite")?.1;
    let host = place.split(['/', '?']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
    let is_here = host.is_empty() || ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local));
    let is_verified = ["verify-full", "verify_full", "verify_identity", "verify-identity"]
        .iter()
        .any(|word| text.to_lowercase().contains(word));
    (!is_here && !is_verified).then(|| Finding {
        verdict: Verdict::Warn,
        ..Finding::fail(
            "DATABASE_URL",
            "the server's certificate is not verified, so another one could take its place",
            "add ?sslmode=verify-full (PostgreSQL) or ?ssl-mode=verify-full (MySQL)",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Surroundings::find_in(owned, Path::new("/no/such/folder")).expect("no file")
    }

    #[test]
    fn a_misspelt_name_is_noticed_and_strange_ones_are_left_alone() {
        for (name, meant) in [
            ("DATABSE_URL", Some("DATABASE_URL")),
            ("DATABASE_URI", Some("DATABASE_URL")),
            ("database_url", Some("DATABASE_URL")),
            ("JWT_SECERT", Some("JWT_SECRET")),
            ("LOGLEVEL", Some("LOG_LEVEL")),
            ("CORS_ORIGIN", Some("CORS_ORIGINS")),
            ("DATABASE_URL", None),
            ("OIDC_OKTA_ISSUER", None),
            ("HOME", None),
            ("HOSTNAME", None),
            ("LANGUAGE", None),
            ("STRIPE_SECRET", None),
        ] {
            assert_eq!(look_alike(name), meant, "{name}");
        }
    }

    #[test]
    fn every_bad_value_is_a_finding_and_the_good_ones_hold() {
        let (config, problems) = settle(surroundings(&[
            ("PORT", "eighty"),
            ("DEBUG", "maybe"),
            ("BACKUP_KEEP", "3"),
            ("GOOGLE_CLIENT_ID", "x"),
        ]));
        let found: Vec<(&str, Option<&str>)> =
            problems.iter().map(|finding| (finding.subject.as_str(), finding.cure.as_deref())).collect();
        let wanted = [
            ("DEBUG", Some("it must be true or false")),
            ("PORT", Some("it must be a port from 0 to 65535")),
            ("GOOGLE_CLIENT_ID", Some("signing in there needs both")),
        ];
        assert_eq!(found, wanted);
        assert_eq!((config.port, config.backup_keep), (8000, 3));
    }

    /// Promise: R-32
    #[test]
    fn what_is_set_is_shown_without_secrets() {
        let found = variables(
            &surroundings(&[("JWT_SECRET", "hunter2"), ("PORT", "81"), ("DEBUG", "maybe"), ("HOME", "/x")]),
            &[Finding::fail("DEBUG", "", "")],
        );
        let lines: Vec<(&str, &str)> =
            found.iter().map(|finding| (finding.subject.as_str(), finding.detail.as_str())).collect();
        assert_eq!(lines, [("PORT", "81"), ("JWT_SECRET", "[secret]")]);
    }

    #[test]
    fn weak_secrets_and_addresses_are_warned_of() {
        let warned = |variables: &[(&str, &str)]| {
            let (config, problems) = settle(surroundings(variables));
            assert_eq!(problems, []);
            let warned = sanity(&config).into_iter().filter(|finding| finding.verdict == Verdict::Warn);
            warned.map(|finding| finding.subject).collect::<Vec<_>>()
        };
        let good = "4xB0p7Qk1sN9vT2dLmZ8yHc5RfWjGa3E";
        assert_eq!(warned(&[("JWT_SECRET", "short")]), ["JWT_SECRET"]);
        assert_eq!(warned(&[("JWT_SECRET", "your-production-secret-of-32-bytes-or-more")]), ["JWT_SECRET"]);
        assert_eq!(warned(&[("JWT_SECRET", "ab".repeat(30).as_str())]), ["JWT_SECRET"]);
        assert_eq!(warned(&[("JWT_SECRET", good)]), Vec::<String>::new());
        let production = |more: &[(&'static str, &'static str)]| {
            let always = vec![("APP_ENV", "production"), ("JWT_SECRET", good)];
            warned(&[always, more.to_vec()].concat())
        };
        assert_eq!(production(&[]), ["PUBLIC_URL"]);
        assert_eq!(production(&[("PUBLIC_URL", "http://myapp.com")]), ["PUBLIC_URL"]);
        let public = ("PUBLIC_URL", "https://myapp.com");
        assert_eq!(production(&[public, ("DATABASE_URL", "postgres://a:b@db.example.com/app")]), ["DATABASE_URL"]);
        for url in [
            "postgres://a:b@db.example.com/app?sslmode=verify-full",
            "postgres://a:b@localhost/app",
            "sqlite:////var/app.db",
            "mysql://a@db/app?ssl-mode=VERIFY_IDENTITY",
        ] {
            assert_eq!(production(&[public, ("DATABASE_URL", url)]), Vec::<String>::new(), "{url}");
        }
    }
}
