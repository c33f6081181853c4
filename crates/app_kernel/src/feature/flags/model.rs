//! What flags decide without looking anything up: who has one, which variant they get, and what can be a flag.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::Flag;
use crate::base::error::{Error, Result};
use crate::base::secret::token_hash;

/// The longest name of a flag or variant, in characters.
const LONGEST_NAME: usize = 100;
/// The most users or workspaces that a flag lists: it is read whole every few seconds.
const MOST_LISTED: usize = 1000;
/// The most variants of a flag.
const MOST_VARIANTS: usize = 100;

/// One of the values of a flag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What it is called: letters, digits and `._-`.
    pub name: String,
    /// A text, a number, a boolean or JSON; the same for all variants of a flag.
    pub value: Value,
    /// Its part of those who have the flag, beside those of the other variants. Without weight, only the default variant is ever given.
    #[serde(default)]
    pub weight: u32,
}

impl Variant {
    /// A variant with its weight.
    pub fn new(name: impl Into<String>, value: impl Into<Value>, weight: u32) -> Self {
        Variant { name: name.into(), value: value.into(), weight }
    }
}

/// Whom a flag is evaluated for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) user_id: Option<String>,
    pub(super) workspace_id: Option<String>,
}

/// What a flag says to somebody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// Whether they have the flag.
    pub is_on: bool,
    /// The variant they get; `on` or `off` where the flag has none of its own.
    pub variant: String,
    /// What the variant says; `true` or `false` where the flag has none of its own.
    pub value: Value,
    /// Why.
    pub reason: Reason,
}

/// Why somebody gets what they get, in the words of OpenFeature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The flag is not enabled.
    Disabled,
    /// The user or the workspace is listed.
    TargetingMatch,
    /// By the percentage, or by the weights of the variants.
    Split,
    /// The same for everybody.
    Static,
    /// There is nothing to tell them apart by: neither user nor workspace.
    Default,
    /// There is no such flag.
    Unknown,
}

impl Evaluation {
    /// Of a flag that nobody has set.
    pub(super) fn of_nothing() -> Self {
        Evaluation { is_on: false, variant: "off".to_owned(), value: Value::Bool(false), reason: Reason::Unknown }
    }

    /// The value, as a type of yours.
    ///
    /// # Errors
    /// `Internal` where it is another: the flag and the code do not fit.
    pub fn value_as<T: DeserializeOwned>(&self) -> Result<T> {
        let misfit =
            |cause| Error::internal("a feature flag has a value of another type than the code expects").cause(cause);
        T::deserialize(&self.value).map_err(misfit)
    }
}

/// Where in [0, 100) a subject lies for a flag: the first 13 hexadecimal digits of SHA-256 over `flag:subject`, as a fraction of 16^13. A subject has a
/// flag of so many percent if it lies below. It depends on nothing else, so any program can tell the same, and one flag's luck is not another's.
#[must_use]
pub fn share_of(flag: &str, subject: &str) -> f64 {
    let digest = token_hash(&format!("{flag}:{subject}"));
    let number = u64::from_str_radix(&digest[..13], 16).expect("a digest is hexadecimal");
    number as f64 / (1_u64 << 52) as f64 * 100.0
}

impl Flag {
    /// What it says to a subject.
    pub(super) fn evaluate(&self, subject: &Subject) -> Evaluation {
        let (is_on, reason) = self.decide(subject);
        let (variant, was_split) = if is_on { self.variant_for(subject) } else { (self.default(), false) };
        let reason = if was_split && reason == Reason::Static { Reason::Split } else { reason };
        match variant {
            Some(variant) => Evaluation { is_on, variant: variant.name.clone(), value: variant.value.clone(), reason },
            None => {
                let variant = if is_on { "on" } else { "off" };
                Evaluation { is_on, variant: variant.to_owned(), value: Value::Bool(is_on), reason }
            }
        }
    }

    fn decide(&self, subject: &Subject) -> (bool, Reason) {
        if !self.enabled {
            return (false, Reason::Disabled);
        }
        let lists = |listed: &[String], id: &Option<String>| id.as_ref().is_some_and(|id| listed.contains(id));
        if lists(&self.users, &subject.user_id) || lists(&self.workspaces, &subject.workspace_id) {
            return (true, Reason::TargetingMatch);
        }
        let is_for_all = self.rollout_percent >= 100.0;
        if is_for_all || self.rollout_percent <= 0.0 {
            return (is_for_all, Reason::Static);
        }
        match subject.id() {
            Some(id) => (share_of(&self.name, id) < self.rollout_percent, Reason::Split),
            None => (false, Reason::Default),
        }
    }

    /// The variant of one who has the flag, and whether the weights chose it.
    fn variant_for(&self, subject: &Subject) -> (Option<&Variant>, bool) {
        let total: u64 = self.variants.iter().map(|variant| u64::from(variant.weight)).sum();
        let Some(id) = subject.id().filter(|_| total > 0) else { return (self.default(), false) };
        // Another number than the percentage's, or a small percentage would only ever meet the first variant.
        let point = share_of(&format!("{}/variant", self.name), id) / 100.0 * total as f64;
        let mut end = 0.0;
        let chosen = self.variants.iter().find(|variant| {
            end += f64::from(variant.weight);
            point < end
        });
        (chosen.or(self.default()), true)
    }

    fn default(&self) -> Option<&Variant> {
        let name = self.default_variant.as_deref()?;
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// Refuses what can be no flag, naming each field that is wrong.
    pub(super) fn check(&self) -> Result<()> {
        let mut error = Error::invalid("this can't be a feature flag").code("bad_flag");
        if !is_name(&self.name) {
            error = error.field("/name", NAME_RULE);
        }
        if !(0.0..=100.0).contains(&self.rollout_percent) {
            error = error.field("/rollout_percent", "must be from 0 to 100");
        }
        for (field, listed) in [("/users", &self.users), ("/workspaces", &self.workspaces)] {
            if listed.len() > MOST_LISTED {
                error = error.field(field, format!("may list {MOST_LISTED} at most; a percentage has no such limit"));
            }
        }
        if let Some(wrong) = self.wrong_variants() {
            error = error.field("/variants", wrong);
        }
        match &self.default_variant {
            Some(_) if self.default().is_none() => {
                error = error.field("/default_variant", "must be one of the variants")
            }
            None if !self.variants.is_empty() => {
                error = error
                    .field("/default_variant", "is required where there are variants: who has not the flag gets it");
            }
            _ => {}
        }
        if error.field_errors().is_empty() { Ok(()) } else { Err(error) }
    }

    fn wrong_variants(&self) -> Option<&'static str> {
        let names: BTreeSet<&str> = self.variants.iter().map(|variant| variant.name.as_str()).collect();
        let kinds: BTreeSet<u8> = self.variants.iter().map(|variant| kind_of(&variant.value)).collect();
        if self.variants.len() > MOST_VARIANTS {
            Some("may be 100 at most")
        } else if names.len() < self.variants.len() {
            Some("must have different names")
        } else if !names.iter().all(|name| is_name(name)) {
            Some("must have names of letters, digits and `._-`")
        } else if kinds.len() > 1 {
            Some("must all be texts, all numbers, all booleans or all objects or lists")
        } else if kinds.contains(&0) {
            Some("must have values that are not null")
        } else {
            None
        }
    }
}

impl Subject {
    /// What the percentage goes by.
    fn id(&self) -> Option<&str> {
        self.user_id.as_deref().or(self.workspace_id.as_deref())
    }
}

const NAME_RULE: &str = "must be 1 to 100 letters, digits and `._-`, the first a letter or digit";

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    }
}

/// What is to change in a flag. What is not given stays.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    pub(super) enabled: Option<bool>,
    pub(super) rollout_percent: Option<f64>,
    pub(super) users: Option<Vec<String>>,
    pub(super) workspaces: Option<Vec<String>>,
    pub(super) variants: Option<Vec<Variant>>,
    pub(super) default_variant: Option<Option<String>>,
    pub(super) description: Option<Option<String>>,
}

impl Change {
    /// The flag as it is after the change. A new one is off until it is enabled; its percentage, where none is given, is 100, or 0 where it
    /// lists somebody: then it is for those.
    pub(super) fn apply(&self, name: &str, flag: Option<Flag>) -> Result<Flag> {
        let names_some = self.users.is_some() || self.workspaces.is_some();
        let fresh = || Flag {
            name: name.to_owned(),
            enabled: false,
            rollout_percent: if names_some { 0.0 } else { 100.0 },
            users: Vec::new(),
            workspaces: Vec::new(),
            variants: Vec::new(),
            default_variant: None,
            description: None,
        };
        let Change { enabled, rollout_percent, users, workspaces, variants, default_variant, description } =
            self.clone();
        let was = flag.unwrap_or_else(fresh);
        let flag = Flag {
            name: was.name,
            enabled: enabled.unwrap_or(was.enabled),
            rollout_percent: rollout_percent.unwrap_or(was.rollout_percent),
            users: users.unwrap_or(was.users),
            workspaces: workspaces.unwrap_or(was.workspaces),
            variants: variants.unwrap_or(was.variants),
            default_variant: default_variant.unwrap_or(was.default_variant),
            description: description.unwrap_or(was.description),
        };
        flag.check()?;
        Ok(flag)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flag(change: Change) -> Flag {
        change.apply("beta", None).expect("a flag")
    }

    fn user(id: &str) -> Subject {
        Subject { user_id: Some(id.to_owned()), workspace_id: None }
    }

    fn rollout(percent: f64) -> Flag {
        flag(Change { enabled: Some(true), rollout_percent: Some(percent), ..Change::default() })
    }

    /// Promise: N1
    #[test]
    fn as_the_percentage_grows_nobody_loses_the_flag_and_it_is_true_to_its_number() {
        let users: Vec<Subject> = (0..10_000).map(|n| user(&format!("user-{n}"))).collect();
        let has =
            |percent: f64| -> Vec<bool> { users.iter().map(|user| rollout(percent).evaluate(user).is_on).collect() };
        let mut before = has(0.0);
        assert!(!before.contains(&true));
        for percent in [0.5, 1.0, 10.0, 25.0, 50.0, 75.0, 99.0, 100.0] {
            let now = has(percent);
            assert!(before.iter().zip(&now).all(|(before, now)| !before || *now), "somebody lost it at {percent}");
            let on = now.iter().filter(|on| **on).count() as f64 / 100.0;
            assert!((on - percent).abs() < 2.0, "{on} % have a flag of {percent} %");
            before = now;
        }
        assert!(!before.contains(&false));
        let other = |user: &Subject| share_of("other", user.id().expect("a user")) < 50.0;
        let both = users.iter().filter(|user| rollout(50.0).evaluate(user).is_on && other(user)).count();
        assert!((2200..2800).contains(&both), "one flag's luck is another's: {both}");
    }

    #[test]
    fn the_side_of_a_subject_never_changes_between_versions() {
        // SHA-256 of `beta:ann` and of `new_dashboard:user-456`, as sha256sum tells.
        for (flag, subject, digits) in FROM_SHA256SUM {
            let number = u64::from_str_radix(digits, 16).expect("hexadecimal");
            assert_eq!(share_of(flag, subject), number as f64 / 16_f64.powi(13) * 100.0, "{flag}:{subject}");
        }
    }

    const FROM_SHA256SUM: [(&str, &str, &str); 2] =
        [("beta", "ann", "d092adc6933aa"), ("new_dashboard", "user-456", "d6fe53a6829a7")];

    /// Promise: N1, N2
    #[test]
    fn lists_win_over_the_percentage_and_nothing_over_a_flag_that_is_off() {
        let change = Change {
            enabled: Some(true),
            users: Some(vec!["ann".to_owned()]),
            workspaces: Some(vec!["w1".to_owned()]),
            ..Change::default()
        };
        let mut beta = flag(change);
        assert_eq!(beta.rollout_percent, 0.0, "it is for those that it lists");
        let in_workspace = |user_id: Option<&str>, id: &str| Subject {
            user_id: user_id.map(str::to_owned),
            workspace_id: Some(id.to_owned()),
        };
        for (subject, is_on, reason) in [
            (user("ann"), true, Reason::TargetingMatch),
            (in_workspace(Some("bob"), "w1"), true, Reason::TargetingMatch),
            (in_workspace(None, "w1"), true, Reason::TargetingMatch),
            (user("bob"), false, Reason::Static),
            (user("w1"), false, Reason::Static),
            (Subject::default(), false, Reason::Static),
        ] {
            let said = beta.evaluate(&subject);
            assert_eq!((said.is_on, said.reason), (is_on, reason), "{subject:?}");
        }
        beta.enabled = false;
        let said = beta.evaluate(&user("ann"));
        assert_eq!((said.is_on, said.reason, said.value), (false, Reason::Disabled, json!(false)));
    }

    /// Promise: N1
    #[test]
    fn without_user_and_workspace_it_is_on_at_100_percent_only() {
        for (percent, is_on, reason) in [(99.9, false, Reason::Default), (100.0, true, Reason::Static)] {
            let said = rollout(percent).evaluate(&Subject::default());
            assert_eq!((said.is_on, said.reason), (is_on, reason));
        }
        let by_workspace = Subject { user_id: None, workspace_id: Some("ann".to_owned()) };
        // It lies at 81 %, by the same share that a user of this id has.
        for (percent, is_on) in [(80.0, false), (83.0, true)] {
            assert_eq!(rollout(percent).evaluate(&by_workspace).is_on, is_on, "{percent} %");
            assert_eq!(rollout(percent).evaluate(&user("ann")).is_on, is_on, "{percent} %");
        }
    }

    /// Promise: N2
    #[test]
    fn a_change_changes_what_is_given_only() {
        let first = flag(Change {
            users: Some(vec!["ann".to_owned()]),
            description: Some(Some("new".to_owned())),
            ..Change::default()
        });
        assert!(!first.enabled, "nothing is on before somebody says so");
        let second =
            Change { enabled: Some(true), ..Change::default() }.apply("beta", Some(first.clone())).expect("a flag");
        assert_eq!(second, Flag { enabled: true, ..first.clone() });
        let third = Change { rollout_percent: Some(10.0), description: Some(None), ..Change::default() };
        let third = third.apply("beta", Some(second.clone())).expect("a flag");
        assert_eq!(third, Flag { rollout_percent: 10.0, description: None, ..second });
        assert_eq!(flag(Change { enabled: Some(true), ..Change::default() }).rollout_percent, 100.0);
    }

    #[test]
    fn variants_are_given_by_their_weights_always_the_same_to_the_same() {
        let variants =
            vec![Variant::new("red", "#f00", 1), Variant::new("blue", "#00f", 3), Variant::new("grey", "#888", 0)];
        let color = flag(Change {
            enabled: Some(true),
            rollout_percent: Some(50.0),
            variants: Some(variants),
            default_variant: Some(Some("grey".to_owned())),
            ..Change::default()
        });
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for n in 0..10_000 {
            let subject = user(&format!("user-{n}"));
            let said = color.evaluate(&subject);
            assert_eq!(said, color.evaluate(&subject));
            assert_eq!(said.is_on, said.variant != "grey");
            *counts.entry(said.variant).or_default() += 1;
        }
        for (name, wanted) in [("grey", 5000), ("red", 1250), ("blue", 3750)] {
            assert!(counts[name].abs_diff(wanted) < 200, "{counts:?}");
        }
        let said = color.evaluate(&user("user-1"));
        assert!(said.value_as::<String>().expect("a text").starts_with('#'));
        assert!(said.value_as::<bool>().is_err());

        let for_all = Flag { rollout_percent: 100.0, ..color };
        assert_eq!(for_all.evaluate(&user("ann")).reason, Reason::Split);
        assert_eq!(for_all.evaluate(&Subject::default()).variant, "grey", "nothing to choose by");
    }

    #[test]
    fn what_can_be_no_flag_is_refused_by_field() {
        let good = rollout(50.0);
        let wrong = |change: fn(&mut Flag)| {
            let mut flag = good.clone();
            change(&mut flag);
            let error = flag.check().expect_err("no flag");
            error.field_errors().iter().map(|field| field.pointer.clone()).collect::<Vec<_>>()
        };
        for name in ["", "-a", "a b", "a/b", "ä", "a\n", &"a".repeat(101)] {
            assert!(Flag { name: name.to_owned(), ..good.clone() }.check().is_err(), "{name}");
        }
        assert_eq!(wrong(|flag| flag.rollout_percent = 100.1), ["/rollout_percent"]);
        assert_eq!(wrong(|flag| flag.rollout_percent = f64::NAN), ["/rollout_percent"]);
        assert_eq!(wrong(|flag| flag.users = vec![String::new(); 1001]), ["/users"]);
        assert_eq!(wrong(|flag| flag.default_variant = Some("a".to_owned())), ["/default_variant"]);
        assert_eq!(wrong(|flag| flag.variants = vec![Variant::new("a", 1, 1)]), ["/default_variant"]);
        let mixed = |flag: &mut Flag| {
            flag.variants = vec![Variant::new("a", 1, 1), Variant::new("b", "2", 1)];
            flag.default_variant = Some("a".to_owned());
        };
        assert_eq!(wrong(mixed), ["/variants"]);
        assert_eq!(wrong(|flag| flag.variants = vec![Variant::new("a", Value::Null, 1)]).len(), 2);
        assert_eq!(wrong(|flag| flag.variants = vec![Variant::new("a", 1, 1), Variant::new("a", 2, 1)]).len(), 2);
    }
}
