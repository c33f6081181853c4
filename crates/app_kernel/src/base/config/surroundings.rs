//! Where variables come from: the environment of the process and, in development, the file `.env` in the working directory. What the
//! environment says wins.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::base::error::{Error, Result};

/// The file that is read in development.
pub const ENV_FILE: &str = ".env";
/// What a Windows editor may put first.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The variables that a process finds. Values may be secrets, so they are not shown.
#[derive(Clone, Default)]
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    from_file: Vec<String>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.variables.keys().collect();
        f.debug_struct("Surroundings").field("names", &names).field("from_file", &self.from_file).finish()
    }
}

impl Surroundings {
    /// The environment, and `.env` of the working directory unless `APP_ENV` is `production`.
    ///
    /// # Errors
    /// Where `.env` can't be read or understood; names the line and the cure, and not what stands there.
    pub fn find() -> Result<Self> {
        Self::find_in(environment(), Path::new(""))
    }

    /// The same with this environment, in this folder.
    ///
    /// # Errors
    /// As [`Surroundings::find`].
    pub fn find_in(environment: impl IntoIterator<Item = (String, String)>, folder: &Path) -> Result<Self> {
        let mut found = Surroundings { variables: environment.into_iter().collect(), from_file: Vec::new() };
        if found.is_production() {
            return Ok(found);
        }
        for (name, value) in read(&folder.join(ENV_FILE))? {
            if !found.variables.contains_key(&name) {
                found.from_file.push(name.clone());
                found.variables.insert(name, value);
            }
        }
        if found.is_production() {
            return Err(Error::invalid(format!(
                "{ENV_FILE} sets APP_ENV=production, but is read in development only; set it in the environment, and all that production needs with it"
            )));
        }
        Ok(found)
    }

    /// The environment alone, where `.env` can't be read.
    #[must_use]
    pub(crate) fn without_file() -> Self {
        Surroundings { variables: environment().collect(), from_file: Vec::new() }
    }

    fn is_production(&self) -> bool {
        self.variables.get("APP_ENV").is_some_and(|value| value.trim() == "production")
    }

    /// All of them, by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The names of those that `.env` gave, in its order.
    #[must_use]
    pub fn from_file(&self) -> &[String] {
        &self.from_file
    }

    /// All but one, for those who want to know what else is wrong.
    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }
}

/// What is no text is none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The variables of a file, in its order, the first one of each name; none where there is no file.
fn read(path: &Path) -> Result<Vec<(String, String)>> {
    if path.is_dir() {
        return Ok(Vec::new()); // what some tools of Python call so
    }
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::invalid(format!(
            "{ENV_FILE} can't be read: {cause}; make it a text that this user may read, or remove it"
        ))),
    }
}

fn parse(text: &str) -> Result<Vec<(String, String)>> {
    // The parser takes spaces at the very end for the start of something.
    let text = format!("{}\n", text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
    let lines_read = Cell::new(0);
    let mut variables: Vec<(String, String)> = Vec::new();
    for item in dotenvy::Iter::new(LineByLine { rest: text.as_bytes(), lines_read: &lines_read }) {
        let (name, value) = item.map_err(|cause| bad_line(&cause, lines_read.get()))?;
        if !variables.iter().any(|(known, _)| *known == name) {
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// Says where, and not the cause itself: it repeats the line, which may hold a password.
fn bad_line(cause: &dotenvy::Error, lines_read: usize) -> Error {
    // A value in quotes may have several lines; the first one is told.
    let more_lines = match cause {
        dotenvy::Error::LineParse(text, _) => text.lines().count().saturating_sub(1),
        _ => 0,
    };
    let line = lines_read.saturating_sub(more_lines);
    Error::invalid(format!(
        "{ENV_FILE}, line {line}: this is no variable; write NAME=value, in quotes where the value has spaces, # or quotes itself"
    ))
}

/// Gives one line each time it is asked, so that who reads ahead is always at the end of a line that is counted.
struct LineByLine<'a> {
    rest: &'a [u8],
    lines_read: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |at| at + 1);
        let length = end.min(into.len());
        into[..length].copy_from_slice(&self.rest[..length]);
        if length == end && length > 0 {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

/// Whether the person at the terminal asked for no colours (no-color.org).
#[must_use]
pub fn wants_no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(environment: &[(&str, &str)], file: &str) -> Result<Surroundings> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(ENV_FILE), file).expect("it can be written");
        Surroundings::find_in(environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())), folder.path())
    }

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).expect("a good file")
    }

    #[test]
    fn what_the_environment_says_wins() {
        let found = found(&[("PORT", "1"), ("HOST", "")], "PORT=2\nHOST=::1\nDEBUG=true\n").expect("a good file");
        let values: Vec<&str> = ["PORT", "HOST", "DEBUG"].map(|name| found.variables()[name].as_str()).to_vec();
        assert_eq!(values, ["1", "", "true"]);
        assert_eq!(found.from_file(), ["DEBUG"]);
    }

    #[test]
    fn production_does_not_read_it() {
        let production = found(&[("APP_ENV", "production")], "= this would be refused").expect("not read");
        assert_eq!((production.variables().len(), production.from_file().len()), (1, 0));
        let text = found(&[], "APP_ENV=production").expect_err("too late").to_string();
        assert!(text.starts_with(".env sets APP_ENV=production, but is read in development only"), "{text}");
    }

    #[test]
    fn the_usual_ways_to_write_it_are_understood() {
        let text = "\u{feff}# a comment\r\n\nA=1\nexport B = two # and more\nC='it is $A'\nD=\"x\\ny ${A}\"\nE=\nF=\"two\nlines\"\nA=2";
        let wanted = [("A", "1"), ("B", "two"), ("C", "it is $A"), ("D", "x\ny 1"), ("E", ""), ("F", "two\nlines")];
        assert_eq!(parsed(text), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_not_repeated() {
        for (text, line) in [
            ("A=1\n\nhunter2\n", 3),
            ("A=\"one\ntwo\"\n# c\nB=hunter2 more\n", 4),
            ("A=1\nB=\"hunter2\nC=2\n", 2),
            ("1A=hunter2", 1),
        ] {
            let message = parse(text).expect_err("a bad line").to_string();
            assert!(message.starts_with(&format!(".env, line {line}: this is no variable; ")), "{text:?}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_folder_of_that_name_and_no_file_are_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let look = || Surroundings::find_in([], folder.path()).expect("nothing").variables().len();
        assert_eq!(look(), 0);
        std::fs::create_dir(folder.path().join(ENV_FILE)).expect("a folder");
        assert_eq!(look(), 0);
    }

    /// Promise: R-32
    #[test]
    fn values_are_not_shown() {
        let found = found(&[("JWT_SECRET", "hunter2")], "SMTP_URL=hunter2").expect("a good file");
        let shown = format!("{found:?}");
        assert!(shown.contains("JWT_SECRET") && shown.contains("SMTP_URL") && !shown.contains("hunter2"), "{shown}");
    }
}
