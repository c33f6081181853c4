//! What a service may be called: its folder, its crate and its program have the name.

use std::fmt;

use app_kernel::base::error::{Error, Result};

/// The longest name that crates.io takes.
const LONGEST: usize = 64;

/// What crates and programs are called already, what the folders of a build are called, and what Windows has no files of.
const TAKEN: &[&str] = &[
    "app_kernel",
    "app_kernel_macros",
    "serde",
    "serde_json",
    "tokio",
    "alloc",
    "core",
    "proc_macro",
    "std",
    "test",
    "build",
    "deps",
    "examples",
    "incremental",
    "aux",
    "con",
    "nul",
    "prn",
    "com1",
    "com2",
    "com3",
    "com4",
    "com5",
    "com6",
    "com7",
    "com8",
    "com9",
    "lpt1",
    "lpt2",
    "lpt3",
    "lpt4",
    "lpt5",
    "lpt6",
    "lpt7",
    "lpt8",
    "lpt9",
];

/// The words of Rust (Rust Reference, keywords): strict, reserved and weak ones that can't name a crate.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// A name that cargo and the file system take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceName(String);

impl ServiceName {
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = |what: &str| {
            Err(Error::invalid(format!(
                "`{text}` can't be the name of a service: {what}. Example: app-kernel new my-shop"
            )))
        };
        let identifier = text.replace('-', "_");
        if !text.starts_with(|first: char| first.is_ascii_lowercase()) {
            return refuse("it must begin with a small letter");
        }
        if !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
        {
            return refuse("it may have small letters, digits, `-` and `_`");
        }
        if text.len() > LONGEST {
            return refuse("it may have 64 letters at most");
        }
        if KEYWORDS.contains(&identifier.as_str()) {
            return refuse("that is a word of Rust");
        }
        if TAKEN.contains(&identifier.as_str()) {
            return refuse("that is taken already");
        }
        Ok(ServiceName(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As Rust names the crate.
    pub(super) fn identifier(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_takes_is_a_name() {
        for (text, identifier) in [("my-shop", "my_shop"), ("shop_2", "shop_2"), ("a", "a"), ("x", "x")] {
            assert_eq!(ServiceName::parse(text).expect("a name").identifier(), *identifier);
        }
    }

    #[test]
    fn what_can_not_be_a_name_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "begin with a small letter"),
            ("2shop", "begin with a small letter"),
            ("-shop", "begin with a small letter"),
            ("Shop", "begin with a small letter"),
            ("../shop", "begin with a small letter"),
            ("my shop", "may have small letters"),
            ("my/shop", "may have small letters"),
            ("myShop", "may have small letters"),
            ("größe", "may have small letters"),
            (&*"x".repeat(65), "64 letters at most"),
            ("match", "a word of Rust"),
            ("app-kernel", "taken already"),
            ("test", "taken already"),
            ("nul", "taken already"),
        ] {
            let message = ServiceName::parse(text).expect_err("no name").to_string();
            assert!(message.contains(reason) && message.ends_with("Example: app-kernel new my-shop"), "{message}");
        }
    }
}
