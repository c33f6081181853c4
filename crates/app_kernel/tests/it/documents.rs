//! The documents say what is: the README's quick start runs, its table of variables is the program's, links lead somewhere.
//!
//! What is copied from the sources can be copied again: `UPDATE_DOCUMENTS=1 ./test -- --test it documents`.

use app_kernel::base::config::VARIABLES;

use crate::support::repository;

const README: &str = "README.md";
const QUICK_START: &str = "examples/quickstart/src/main.rs";

/// Promise: A9, A10
#[test]
fn the_quick_start_in_the_readme_is_the_example_that_runs() {
    let example = repository::read(QUICK_START);
    keep(README, "```rust\n", "```\n", &example);
}

#[test]
fn the_example_of_a_test_in_the_readme_is_one_that_runs() {
    let file = repository::read("crates/app_kernel/tests/it/example.rs");
    let test = &file[file.find("#[tokio::test]").expect("it has a test")..];
    keep(README, "<!-- example of a test -->\n\n```rust\n", "```\n", test);
}

/// Promise: T3
#[test]
fn the_readme_lists_every_variable_with_its_default() {
    let row = |v: &app_kernel::base::config::Variable| {
        format!("| `{}` | {} | {} |\n", v.name, v.default.replace('|', "\\|"), v.meaning.replace('|', "\\|"))
    };
    let rows: String = VARIABLES.iter().map(row).collect();
    let table = format!("\n| Variable | Default | What it does |\n|---|---|---|\n{rows}\n");
    keep(README, "<!-- variables -->\n", "<!-- end of variables -->\n", &table);
}

#[test]
fn the_change_log_has_a_section_for_what_is_not_released() {
    let log = repository::read("CHANGELOG.md");
    let (_, unreleased) = log.split_once("\n## Unreleased\n").expect("CHANGELOG.md has a section `## Unreleased`");
    let section = unreleased.split("\n## ").next().unwrap_or_default();
    assert!(section.contains("\n- "), "CHANGELOG.md: say under `## Unreleased` what has changed for users");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for document in repository::files("", "md") {
        for (line, target) in relative_links(&repository::read(&document)) {
            links += 1;
            if let Err(problem) = follow(&document, &target) {
                broken.push(format!("{document}:{line}: `{target}` {problem}"));
            }
        }
    }
    assert!(links > 10, "only {links} links found");
    assert!(broken.is_empty(), "broken links:\n{}\n", broken.join("\n"));
}

#[test]
fn no_document_or_script_names_a_path_of_one_machine() {
    let files = ["md", "toml", "sh", "yml", "yaml"].map(|extension| repository::files("", extension)).concat();
    let scripts = ["test", ".ci/run"].map(str::to_owned);
    let mut found = Vec::new();
    for path in files.iter().chain(&scripts) {
        for (line, text) in (1..).zip(repository::read(path).lines()) {
            // Whole path components, so that a route such as `/work/{id}` in prose would be found too: write another example.
            let homes = ["/work/", "/root/", "/home/", "/Users/", "/tmp/wt/"];
            if homes.iter().any(|home| {
                text.match_indices(home).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric()))
            }) {
                found.push(format!("{path}:{line}: {}", text.trim()));
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine:\n{}\n", found.join("\n"));
}

#[test]
fn every_promise_that_a_test_names_is_in_the_table() {
    let table = repository::read("docs/promises.md");
    let known: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect();
    let mut unknown = Vec::new();
    let mut named = 0;
    for path in repository::files("", "rs") {
        for (line, text) in (1..).zip(repository::read(&path).lines()) {
            let Some(ids) = text.trim_start().strip_prefix("/// Promise: ") else {
                continue;
            };
            for id in ids.split(',').map(str::trim) {
                named += 1;
                if !known.contains(&id) {
                    unknown.push(format!("{path}:{line}: `{id}` is not in docs/promises.md; write ids with commas between them, and add a promise that is new there"));
                }
            }
        }
    }
    assert!(named > 5, "only {named} promises found");
    assert!(unknown.is_empty(), "unknown promises:\n{}\n", unknown.join("\n"));
}

// --- how -----------------------------------------------------------------------------------------------------------------------------

/// The text between the first `start` and the `end` after it must be `wanted`; with UPDATE_DOCUMENTS it is made so.
fn keep(document: &str, start: &str, end: &str, wanted: &str) {
    let text = repository::read(document);
    let from = text.find(start).map(|at| at + start.len());
    let from = from.unwrap_or_else(|| panic!("{document} has no `{}`", start.trim()));
    let length =
        text[from..].find(end).unwrap_or_else(|| panic!("{document} has no `{}` after `{}`", end.trim(), start.trim()));
    let found = &text[from..from + length];
    if found == wanted {
        return;
    }
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        repository::replace(document, &format!("{start}{found}{end}"), &format!("{start}{wanted}{end}"));
        return;
    }
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    panic!(
        "{document} does not say what the sources say, after `{}`: {differs:?}\nUPDATE_DOCUMENTS=1 ./test -- --test it documents copies them",
        start.trim()
    );
}

/// The links of a Markdown text that lead to another file or to a heading, with their lines; not those in code.
pub(crate) fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for (_, rest) in prose.match_indices("](").map(|(at, mark)| (at, &prose[at + mark.len()..])) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                links.push((number, target.to_owned()));
            }
        }
    }
    links
}

/// Whether a link of this document leads to a file, and to a heading where it names one.
fn follow(document: &str, target: &str) -> Result<(), String> {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { document.to_owned() } else { beside(document, file) };
    if !repository::exists(&path) {
        return Err(format!("leads to {path}, which is not there"));
    }
    let Some(heading) = heading else {
        return Ok(());
    };
    let has_heading = headings(&repository::read(&path)).iter().any(|found| found == heading);
    if has_heading { Ok(()) } else { Err(format!("leads to a heading that {path} does not have")) }
}

/// The path, from the root, of a file that this document names relative to itself.
pub(crate) fn beside(document: &str, file: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The headings as links name them: lower case, hyphens for spaces, letters and digits only.
fn headings(text: &str) -> Vec<String> {
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |title: &str| {
        let kept = title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>();
        kept.replace(' ', "-")
    };
    titles.map(slug).collect()
}

#[test]
fn links_are_found_in_prose_and_not_in_code() {
    let text = "See [a](b.md) and [c](../d.md#e-f \"title\").\n```\n[x](y.md)\n```\n`[x](y.md)` [g](https://h.example) [i](#j)\n";
    let wanted = [(1, "b.md"), (1, "../d.md#e-f"), (5, "#j")].map(|(line, target)| (line, target.to_owned()));
    assert_eq!(relative_links(text), wanted);
    assert_eq!(beside("docs/decisions/README.md", "../promises.md"), "docs/promises.md");
    assert_eq!(headings("# A b: `c`\ntext\n## D-e\n"), ["a-b-c", "d-e"]);
}
