//! The guide says what is: each page has its place and its tests, and the commands and variables that it names are there. Its snippets
//! run in `docs/guide`.

use std::collections::{BTreeMap, BTreeSet};

use app_kernel::base::config::VARIABLES;

use crate::documents::{beside, relative_links};
use crate::support::program::Place;
use crate::support::repository;

const SUMMARY: &str = "docs/guide/SUMMARY.md";
/// What the pages call the reader's own service in commands.
const SERVICE: &str = "my-service";

/// The pages, by their paths.
fn pages() -> Vec<String> {
    let pages = repository::files("docs/guide", "md");
    let pages: Vec<String> = pages.into_iter().filter(|page| page != SUMMARY).collect();
    assert!(pages.len() > 15, "only {} pages found", pages.len());
    pages
}

#[test]
fn every_page_is_in_the_summary_and_its_snippets_are_run() {
    let (summary, tested) = (repository::read(SUMMARY), repository::read("docs/guide/src/lib.rs"));
    for page in pages() {
        let name = page.strip_prefix("docs/guide/").expect("a page lies there");
        assert!(summary.contains(&format!("]({name})")), "{page} is not in {SUMMARY}; add a line for it");
        assert!(tested.contains(&format!("\"{name}\"")), "{page} is not in docs/guide/src/lib.rs; add a line for it");
    }
}

/// Else a link would lead out of the book, to a page that it has not.
#[test]
fn the_book_has_every_document_that_its_pages_lead_to() {
    let links = |document: &str| -> BTreeSet<String> {
        let links = relative_links(&repository::read(document)).into_iter();
        let files = links.filter_map(|(_, target)| target.split('#').next().map(str::to_owned));
        files.filter(|file| file.ends_with(".md")).map(|file| beside(document, &file)).collect()
    };
    let mut book = links(SUMMARY);
    book.extend(repository::files("docs/decisions", "md"));
    let is_there = |target: &String| book.contains(target) || target == SUMMARY;
    let mut missing = Vec::new();
    for document in &book {
        let outside = links(document).into_iter().filter(|target| !is_there(target));
        missing.extend(outside.map(|target| format!("{document} leads to {target}")));
    }
    assert!(missing.is_empty(), "add these to {SUMMARY}:\n{}\n", missing.join("\n"));
}

#[test]
fn every_variable_that_the_guide_names_is_one() {
    // What shells, curl, compose files and tests have beside ours.
    let others = ["API", "AUTH", "JSON", "ROOT", "ID", "HOOK", "DELIVERY"];
    let known = |name: &str| {
        VARIABLES.iter().any(|variable| variable.name == name)
            || others.contains(&name)
            || name.starts_with("TEST_")
            || name == "DATABASES"
    };
    let mut unknown = Vec::new();
    let mut named = 0;
    for page in pages() {
        for (line, text) in outside_of_rust(&repository::read(&page)) {
            for name in variables(text) {
                named += 1;
                if !known(&name) {
                    unknown.push(format!("{page}:{line}: `{name}`"));
                }
            }
        }
    }
    assert!(named > 50, "only {named} variables found");
    assert!(unknown.is_empty(), "nothing reads these:\n{}\n", unknown.join("\n"));
}

#[test]
fn every_command_of_a_service_that_the_guide_shows_is_there() {
    let mut wrong = Vec::new();
    let mut helps = BTreeMap::<Vec<String>, Option<String>>::new();
    let place = Place::new();
    for page in pages() {
        for (line, text) in (1..).zip(repository::read(&page).lines()) {
            for (role, options) in commands(text) {
                let help = helps.entry(role.clone()).or_insert_with(|| {
                    let arguments: Vec<&str> = role.iter().map(String::as_str).chain(["--help"]).collect();
                    let ended = place.run(&arguments);
                    (ended.code == Some(0)).then(|| ended.out.join("\n"))
                });
                let Some(help) = help else {
                    wrong.push(format!("{page}:{line}: there is no `{}`", role.join(" ")));
                    continue;
                };
                let missing = options.iter().filter(|option| !help.contains(option.as_str()));
                wrong.extend(missing.map(|option| format!("{page}:{line}: `{}` has no {option}", role.join(" "))));
            }
        }
    }
    assert!(helps.len() > 8, "only {} commands found", helps.len());
    assert!(wrong.is_empty(), "commands that are not there:\n{}\n", wrong.join("\n"));
}

// --- how -----------------------------------------------------------------------------------------------------------------------------

/// The lines that are no Rust, with their numbers: what is in capitals there is a constant.
fn outside_of_rust(page: &str) -> Vec<(usize, &str)> {
    let mut in_rust = false;
    let is_outside = |(_, line): &(usize, &str)| {
        if line.starts_with("```") {
            in_rust = line.starts_with("```rust");
        }
        !in_rust
    };
    (1..).zip(page.lines()).filter(is_outside).collect()
}

/// What looks like an environment variable in a line: capitals with `_` or before `=`.
fn variables(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '<' | '>');
    let mut found = Vec::new();
    for piece in line.split(|c: char| !(is_part(c) || matches!(c, '=' | '…') || c.is_ascii_lowercase())) {
        let name = piece.split('=').next().unwrap_or_default();
        let is_name = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(is_part)
            && (name.contains('_') || piece.contains('='));
        // `GITHUB_…` stands for several.
        if is_name && !name.ends_with('_') && !name.contains("__") {
            found.push(name.to_owned());
        }
    }
    found
}

/// The commands of a service in a line: the words of the role, and the options.
fn commands(line: &str) -> Vec<(Vec<String>, Vec<String>)> {
    // A command stands at a line's beginning, behind variables, or in backticks; a unit of systemd names the program alone.
    let starts = line.match_indices(SERVICE).filter(|(at, _)| {
        let before = &line[..*at];
        before.ends_with('`') || before.split_whitespace().all(|word| word.contains('=') && !word.contains('/'))
    });
    starts
        .map(|(at, _)| {
            let rest = line[at + SERVICE.len()..].split(['`', '#', ')']).next().unwrap_or_default();
            let words: Vec<&str> = rest.split_whitespace().collect();
            let is_role =
                |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
            let role: Vec<String> = words.iter().take_while(is_role).map(|word| (*word).to_owned()).collect();
            let options = words.iter().filter(|word| word.starts_with("--")).map(|word| (*word).to_owned()).collect();
            (role, options)
        })
        .filter(|(role, _): &(Vec<String>, Vec<String>)| !role.is_empty())
        .collect()
}

#[test]
fn variables_and_commands_are_found() {
    assert_eq!(
        variables("`API_PREFIX` and APP_ENV=production, PORT=80; not HTTP, not `GITHUB_…`"),
        ["API_PREFIX", "APP_ENV", "PORT"]
    );
    assert_eq!(variables("OIDC_<NAME>_ISSUER"), ["OIDC_<NAME>_ISSUER"]);
    let words = |role: &[&str], options: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        (owned(role), owned(options))
    };
    let line = "WORKER_EMBEDDED=false my-service worker --tasks a,b --concurrency 50   # or `my-service backup list`";
    assert_eq!(commands(line), [words(&["worker"], &["--tasks", "--concurrency"]), words(&["backup", "list"], &[])]);
    assert_eq!(commands("ExecStart=/usr/local/bin/my-service"), []);
    assert_eq!(commands("my-service restore csv_20260130 --plan"), [words(&["restore"], &["--plan"])]);
}
