//! What a service tells when it starts: what is on, what is off, and which variable turns it on.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: Cow<'static, str>,
    /// Whether it is on.
    pub is_on: bool,
    /// In what form it is on, or what would turn it on.
    pub detail: String,
}

impl Fact {
    pub(crate) fn on(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Fact { name: name.into(), is_on: true, detail: detail.into() }
    }

    pub(crate) fn off(name: impl Into<Cow<'static, str>>, because: impl Into<String>) -> Self {
        Fact { name: name.into(), is_on: false, detail: because.into() }
    }
}

/// Tells the facts: as a table to a person, else as one log line each.
pub(crate) fn tell(service: &str, facts: &[Fact], to_a_person: bool) {
    if to_a_person {
        let colours = std::io::stdout().is_terminal() && !crate::base::config::wants_no_colour();
        // A closed terminal is no reason to stop.
        let _ = std::io::stdout().lock().write_all(table(service, facts, colours).as_bytes());
        return;
    }
    for fact in facts {
        let state = if fact.is_on { "on" } else { "off" };
        tracing::info!(feature = &*fact.name, state, detail = %fact.detail, "{}: {state}, {}", fact.name, fact.detail);
    }
}

/// The facts for people, in columns.
pub(super) fn table(service: &str, facts: &[Fact], colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let width = facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    let mut text = format!("\n  {}\n\n", paint("1", service));
    for fact in facts {
        let state = if fact.is_on { paint("32", "on ") } else { paint("33", "off") };
        text.push_str(&format!("  {:width$}  {state}  {}\n", fact.name, fact.detail));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_off_and_which_variable_turns_it_on() {
        let facts = [Fact::on("database", "sqlite"), Fact::off("auth", "JWT_SECRET is not set")];
        let wanted = "\n  widget_service\n\n  database  on   sqlite\n  auth      off  JWT_SECRET is not set\n\n";
        assert_eq!(table("widget_service", &facts, false), wanted);
    }
}
