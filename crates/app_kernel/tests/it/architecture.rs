//! Keeps the house that ARCHITECTURE.md draws: floors that use only those below them, and the few things that only one place may do.
//! A finding names the file, the line, the rule and the cure.

use std::collections::BTreeMap;

use crate::support::repository;
use crate::support::rust_source::{PathUse, RustSource};

/// The sources of the library.
const LIBRARY: &str = "crates/app_kernel/src/";

/// The floors, from the ground up. A file of a floor uses its own floor and those below.
const FLOORS: [&str; 9] = ["base", "store", "engine", "kernel", "web", "feature", "console", "service", "testing"];

/// Which features know which, beside themselves.
const FEATURE_ARROWS: [(&str, &str); 12] = [
    ("workspaces", "auth"),
    ("jobs", "auth"),
    ("api_keys", "auth"),
    ("api_keys", "workspaces"),
    ("oauth", "auth"),
    ("webhooks", "jobs"),
    ("webhooks", "workspaces"),
    ("audit", "auth"),
    ("metering", "auth"),
    ("metering", "workspaces"),
    ("flags", "auth"),
    ("flags", "api_keys"),
];

/// The most lines of code, without tests and comments, that a file may have.
const LONGEST_FILE: usize = 600;

/// Something that only some places of the library may name.
struct Reserved {
    /// What is looked for.
    is: fn(&[&str]) -> bool,
    /// Which files may: their paths below the library's sources start so.
    places: &'static [&'static str],
    /// The rule and the cure.
    rule: &'static str,
}

const RESERVED: [Reserved; 7] = [
    Reserved {
        is: |path| path[0].starts_with("opentelemetry"),
        places: &["engine/otlp.rs"],
        rule: "only engine/otlp.rs names OpenTelemetry's crates; spans are made with base/trace",
    },
    Reserved {
        is: |path| path[0] == "redis",
        places: &["store/redis/"],
        rule: "only store/redis/ names the client of Redis; add what you need to the seam in store/redis/mod.rs",
    },
    Reserved {
        is: |path| {
            matches!(path[0], "rusqlite" | "tokio_postgres" | "tokio_postgres_rustls" | "deadpool" | "mysql_async")
        },
        places: &["store/db/driver/"],
        rule: "only store/db/driver/ names a driver crate; add what you need to the seam in store/db/driver/mod.rs",
    },
    Reserved {
        is: |path| {
            matches!(path[0], "axum" | "hyper" | "hyper_util" | "tower" | "tower_http" | "http_body" | "http_body_util")
        },
        places: &[
            "engine/carried.rs",
            "engine/http_client/",
            "engine/otlp.rs",
            "engine/outbound",
            "engine/s3.rs",
            "kernel.rs",
            "web/",
            "feature/",
            "console/",
            "service/",
            "testing/",
            "lib.rs",
            "prelude.rs",
        ],
        rule: "base, store and engine know nothing of HTTP, but for engine/outbound, s3.rs, otlp.rs and http_client/ as clients; do it in web/",
    },
    Reserved {
        is: |path| {
            matches!(
                path,
                [.., "Timestamp" | "SystemTime" | "Zoned" | "Utc" | "Local" | "OffsetDateTime", "now" | "now_utc"]
            )
        },
        places: &["base/clock.rs"],
        rule: "only base/clock.rs asks the system for the time; take a `Clock`, which tests can move",
    },
    Reserved {
        is: |path| {
            let sources = ["rand", "fastrand", "getrandom", "SystemRandom", "OsRng", "new_v4", "now_v7", "new_v7"];
            path.iter().any(|name| sources.contains(name))
        },
        places: &["base/id.rs", "base/secret.rs"],
        rule: "only base/id.rs and base/secret.rs make randomness; call `new_id`, `random_token` or `fill_random`",
    },
    Reserved {
        is: |path| matches!(path, [.., "env", "var" | "var_os" | "vars" | "vars_os"]),
        places: &["base/config.rs", "base/config/", "testing/"],
        rule: "only base/config reads the environment; add the variable to its table `VARIABLES` and a field to `ServiceConfig`",
    },
];

// --- the house as it stands --------------------------------------------------------------------------------------------------------

/// Promise: A11
#[test]
fn the_library_keeps_its_floors_and_its_reserved_places() {
    let mut findings = Vec::new();
    let files = shipped_files(LIBRARY, "lib.rs", &mut findings);
    let features = features_of(files.keys().map(String::as_str));
    for (file, source) in &files {
        check_file(file, source, &features, &mut findings);
    }
    assert!(files.len() > 10, "only {} files found below {LIBRARY}", files.len());
    report(&findings);
}

/// Promise: R-35
#[test]
fn every_crate_forbids_unsafe_code() {
    let mut findings = Vec::new();
    let roots = crate_roots();
    // The examples are to be read; for them, the workspace's lint says it.
    for root in roots.iter().filter(|root| root.starts_with("crates/")) {
        if !source_of(root).forbids_unsafe {
            findings.push(format!(
                "{root}:1: a crate root without `#![forbid(unsafe_code)]`; add the line below its module doc"
            ));
        }
    }
    for manifest in repository::files("", "toml").iter().filter(|path| path.ends_with("/Cargo.toml")) {
        let text = repository::read(manifest);
        if text.contains("[package]") && !text.contains("[lints]\nworkspace = true\n") {
            findings.push(format!(
                "{manifest}:1: a crate without the workspace's lints; add `[lints]` with `workspace = true`"
            ));
        }
    }
    assert!(roots.contains(&format!("{LIBRARY}lib.rs")), "the library's root was not found among {roots:?}");
    assert!(
        repository::read("Cargo.toml").contains("\nunsafe_code = \"forbid\"\n"),
        "Cargo.toml: the workspace's lints allow unsafe code"
    );
    report(&findings);
}

#[test]
fn no_file_is_forgotten() {
    let mut findings = Vec::new();
    let mut seen = 0;
    for root in crate_roots() {
        let (folder, file) = root.rsplit_once('/').expect("a crate root lies in a folder");
        // `src/bin/*.rs` and `tests/*.rs` are roots without modules of their own here.
        if matches!(file, "lib.rs" | "main.rs") {
            seen += find_forgotten(
                &format!("{folder}/"),
                file,
                &repository::files(folder, "rs"),
                &source_of,
                &mut findings,
            );
        }
    }
    assert!(seen > 20, "only {seen} files found");
    report(&findings);
}

#[test]
fn every_decision_note_is_in_the_index_and_the_index_in_the_architecture() {
    let index = repository::read("docs/decisions/README.md");
    let notes = repository::files("docs/decisions", "md");
    for note in notes.iter().filter_map(|path| path.strip_prefix("docs/decisions/")) {
        let is_linked = note == "README.md" || index.contains(&format!("]({note})"));
        assert!(is_linked, "docs/decisions/{note} is not linked in docs/decisions/README.md; add a line for it");
    }
    assert!(notes.len() > 1, "there are no notes");
    assert!(repository::read("ARCHITECTURE.md").contains("](docs/decisions/README.md)"));
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}\n", findings.len(), findings.join("\n"));
}

fn source_of(path: &str) -> RustSource {
    RustSource::read(&repository::read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a crate that ship, by their paths below its folder: those that only tests declare are left out.
fn shipped_files(folder: &str, root: &str, findings: &mut Vec<String>) -> BTreeMap<String, RustSource> {
    let mut shipped = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(file) = waiting.pop() {
        let path = format!("{folder}{file}");
        let source = match RustSource::read(&repository::read(&path)) {
            Ok(source) => source,
            Err(error) => {
                findings.push(format!("{path}:1: {error}"));
                continue;
            }
        };
        for module in source.modules.iter().filter(|module| !module.only_for_tests) {
            let candidates = module_files(&file, &module.name);
            waiting.extend(candidates.into_iter().filter(|file| repository::exists(&format!("{folder}{file}"))));
        }
        shipped.insert(file, source);
    }
    shipped
}

/// Where `mod name;` of this file may lie.
fn module_files(file: &str, name: &str) -> [String; 2] {
    let folder = module_folder(file);
    [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")]
}

/// The folder of a file's child modules, with its slash: `a/mod.rs` and `a.rs` both have `a/`.
fn module_folder(file: &str) -> String {
    let (folder, name) = file.rsplit_once('/').map_or(("", file), |(folder, name)| (folder, name));
    let slash = if folder.is_empty() { "" } else { "/" };
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => format!("{folder}{slash}"),
        name => format!("{folder}{slash}{}/", name.trim_end_matches(".rs")),
    }
}

/// The module that a file of the library is: `store/db/mod.rs` is `["store", "db"]`.
fn module_of(file: &str) -> Vec<String> {
    let folder = module_folder(file);
    folder.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Every file that is the root of a crate: library, binaries, integration tests, benchmarks.
fn crate_roots() -> Vec<String> {
    let is_root = |path: &&String| {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] => true,
            [.., "tests" | "benches" | "examples", _, "main.rs"] => true,
            [.., "tests" | "benches", _] => true,
            [.., package, "build.rs"] => package != "src",
            _ => false,
        }
    };
    let sources = repository::files("", "rs");
    // Samples for compile-error tests are no crates of ours.
    sources.iter().filter(is_root).filter(|path| !path.contains("/ui/")).cloned().collect()
}

/// Names the files below `folder` that no `mod` declares, and answers how many files there are.
fn find_forgotten(
    folder: &str,
    root: &str,
    files: &[String],
    read: &dyn Fn(&str) -> RustSource,
    findings: &mut Vec<String>,
) -> usize {
    let files: Vec<&str> =
        files.iter().filter_map(|path| path.strip_prefix(folder)).filter(|file| !file.starts_with("bin/")).collect();
    let declared: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let modules = read(&format!("{folder}{file}")).modules;
            modules.into_iter().flat_map(|module| module_files(file, &module.name)).collect::<Vec<_>>()
        })
        .collect();
    for file in &files {
        let is_root = *file == root || matches!(*file, "lib.rs" | "main.rs");
        if !is_root && !declared.iter().any(|declared| declared == file) {
            let name = module_of(file).pop().unwrap_or_default();
            findings.push(format!(
                "{folder}{file}:1: never compiled; add `mod {name};` to the file of the module above it"
            ));
        }
    }
    files.len()
}

// --- the rules -----------------------------------------------------------------------------------------------------------------------

/// The features there are: folders and files below `feature/`.
fn features_of<'a>(files: impl Iterator<Item = &'a str>) -> Vec<String> {
    let below = files.filter_map(|file| file.strip_prefix("feature/"));
    let names = below.map(|rest| rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs"));
    names.filter(|name| *name != "mod").map(str::to_owned).collect()
}

/// Checks one shipped file of the library; `file` is its path below the library's sources.
fn check_file(file: &str, source: &RustSource, features: &[String], findings: &mut Vec<String>) {
    if source.code_lines > LONGEST_FILE {
        findings.push(format!(
            "{LIBRARY}{file}:1: {} lines of code without tests; {LONGEST_FILE} are the most. Find the second thing that it does and give it a file",
            source.code_lines
        ));
    }
    let module = module_of(file);
    if let Some(floor) = module.first().filter(|floor| !FLOORS.contains(&floor.as_str()) && *floor != "prelude") {
        findings.push(format!("{LIBRARY}{file}:1: `{floor}` is no floor; put it on one of {}", FLOORS.join(" < ")));
        return;
    }
    for path in &source.paths {
        let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
        for reserved in RESERVED.iter().filter(|reserved| (reserved.is)(&names)) {
            if !reserved.places.iter().any(|place| file.starts_with(place)) {
                findings.push(finding(file, path, reserved.rule));
            }
        }
        if let Some(target) = resolve(&module, source, path) {
            check_arrow(file, &module, path, &target, features, findings);
        }
    }
}

fn finding(file: &str, path: &PathUse, rule: &str) -> String {
    format!("{LIBRARY}{file}:{}: `{}`: {rule}", path.line, path.names.join("::"))
}

/// The path from the library's root on, where it leads into the library; nothing for other crates and imported names.
fn resolve(module: &[String], source: &RustSource, path: &PathUse) -> Option<Vec<String>> {
    let mut here = module.to_vec();
    here.extend(path.inside.iter().cloned());
    let (first, mut rest) = path.names.split_first()?;
    match first.as_str() {
        "crate" | "app_kernel" => return Some(rest.to_vec()),
        "self" => {}
        "super" => {
            here.pop();
        }
        child if path.inside.is_empty() && source.modules.iter().any(|module| module.name == child) => {
            here.push(child.to_owned())
        }
        _ => return None,
    }
    while let Some((up, after)) = rest.split_first().filter(|(name, _)| *name == "super") {
        debug_assert_eq!(up, "super");
        here.pop();
        rest = after;
    }
    here.extend(rest.iter().cloned());
    Some(here)
}

/// Checks that a file of `module` may use `target`.
fn check_arrow(
    file: &str,
    module: &[String],
    path: &PathUse,
    target: &[String],
    features: &[String],
    findings: &mut Vec<String>,
) {
    let (Some(from), Some(to)) = (module.first(), target.first()) else {
        return; // the root is the map: it names all floors
    };
    let number = |floor: &str| FLOORS.iter().position(|name| *name == floor).map(|at| at + 1);
    let Some(from_number) = number(from) else {
        return; // the prelude stands beside the root
    };
    let Some(to_number) = number(to) else {
        if from != "testing" {
            let rule = "the public names at the root are for users; inside the library, name the floor that it lies on";
            findings.push(finding(file, path, rule));
        }
        return;
    };
    if to_number > from_number {
        let rule = format!(
            "{from} (floor {from_number}) uses {to} (floor {to_number}), but a floor uses only those below it; \
             move down what both need, or let a floor above hand it in"
        );
        findings.push(finding(file, path, &rule));
    }
    if from == "feature" && to == "feature" {
        check_feature_arrow(file, module.get(1), path, target.get(1), features, findings);
    }
}

fn check_feature_arrow(
    file: &str,
    from: Option<&String>,
    path: &PathUse,
    to: Option<&String>,
    features: &[String],
    findings: &mut Vec<String>,
) {
    let Some(to) = to.filter(|to| features.contains(to)) else {
        return; // what all features share lies in feature/mod.rs
    };
    match from {
        None => findings.push(finding(
            file,
            path,
            "feature/mod.rs is what all features share and knows none of them; list them in service/features.rs",
        )),
        Some(from) if from == to || FEATURE_ARROWS.contains(&(from, to)) => {}
        Some(from) => {
            let rule = format!(
                "{from} may not know {to}; let `service` hand in what {from} needs, or add the arrow to ARCHITECTURE.md and here"
            );
            findings.push(finding(file, path, &rule));
        }
    }
}

// --- the rules on bad samples --------------------------------------------------------------------------------------------------------

#[cfg(test)]
mod samples {
    use super::{RustSource, check_file, find_forgotten, module_of};

    /// What the rules say of one file, without the common start of its path.
    fn findings(file: &str, text: &str) -> Vec<String> {
        let features = ["auth", "workspaces", "webhooks"].map(str::to_owned);
        let mut findings = Vec::new();
        check_file(file, &RustSource::read(text).expect("Rust"), &features, &mut findings);
        findings.iter().map(|finding| finding.trim_start_matches(super::LIBRARY).to_owned()).collect()
    }

    #[test]
    fn a_floor_may_use_itself_and_those_below() {
        let text = "use crate::{base::error::{Error, Result}, store::db::Db};\nuse super::value::Value;\nfn f() { self::g(); app_kernel::base::id::new_id() }\n";
        assert_eq!(findings("store/db/row.rs", text), Vec::<String>::new());
    }

    #[test]
    fn a_floor_may_not_use_one_above_however_it_is_written() {
        let rule = "store (floor 2) uses web (floor 5), but a floor uses only those below it; move down what both need, or let a floor above hand it in";
        let texts = [
            ("use crate::{base::error::Error, web::reply};", "1: `crate::web::reply`"),
            ("use app_kernel::web::*;", "1: `app_kernel::web::*`"),
            ("\nfn f() -> super::super::super::web::Reply {}", "2: `super::super::super::web::Reply`"),
            ("mod a { use super::super::super::super::web::b; }", "1: `super::super::super::super::web::b`"),
            ("fn f() { log!(crate::web::b()) }", "1: `crate::web::b`"),
        ];
        for (text, start) in texts {
            assert_eq!(findings("store/db/row.rs", text), [format!("store/db/row.rs:{start}: {rule}")]);
        }
    }

    #[test]
    fn tests_may_use_every_floor_and_every_crate() {
        let text =
            "#[cfg(test)]\nmod tests {\n    use crate::testing::TestDatabase;\n    use rusqlite::Connection;\n}\n";
        assert_eq!(findings("base/id.rs", text), Vec::<String>::new());
    }

    #[test]
    fn features_know_only_those_that_an_arrow_leads_to() {
        assert_eq!(
            findings("feature/workspaces/store.rs", "use crate::feature::auth::User;\nuse super::super::Feature;"),
            Vec::<String>::new()
        );
        let found = findings("feature/auth/routes.rs", "use super::super::workspaces::store;");
        let rule = "auth may not know workspaces; let `service` hand in what auth needs, or add the arrow to ARCHITECTURE.md and here";
        assert_eq!(found, [format!("feature/auth/routes.rs:1: `super::super::workspaces::store`: {rule}")]);
        let found = findings("feature/mod.rs", "pub mod auth;\npub use auth::User;");
        assert_eq!(
            found,
            [
                "feature/mod.rs:2: `auth::User`: feature/mod.rs is what all features share and knows none of them; list them in service/features.rs"
            ]
        );
    }

    #[test]
    fn names_at_the_root_are_for_users() {
        let found = findings("web/reply.rs", "use crate::Result;\nuse crate::prelude::*;");
        let rule = "the public names at the root are for users; inside the library, name the floor that it lies on";
        assert_eq!(
            found,
            [
                format!("web/reply.rs:1: `crate::Result`: {rule}"),
                format!("web/reply.rs:2: `crate::prelude::*`: {rule}")
            ]
        );
        assert_eq!(
            findings("prelude.rs", "pub use crate::web::reply::Reply;\npub use crate::Result;"),
            Vec::<String>::new()
        );
        assert_eq!(findings("lib.rs", "pub use service::Service;\npub mod service;"), Vec::<String>::new());
    }

    #[test]
    fn what_has_a_place_stays_there() {
        let cases = [
            ("store/db/driver/sqlite.rs", "store/db/save.rs", "use rusqlite as sql;", "only store/db/driver/ names"),
            ("web/server.rs", "store/db/save.rs", "fn f(x: axum::Router) {}", "know nothing of HTTP"),
            ("base/clock.rs", "web/server.rs", "fn f() { jiff::Timestamp::now(); }", "only base/clock.rs asks"),
            (
                "base/clock.rs",
                "feature/auth/model.rs",
                "fn f() { std::time::SystemTime::now(); }",
                "only base/clock.rs asks",
            ),
            ("base/id.rs", "feature/auth/model.rs", "fn f() { Uuid::new_v4(); }", "make randomness"),
            (
                "base/secret.rs",
                "feature/auth/model.rs",
                "use argon2::password_hash::rand_core::OsRng;",
                "make randomness",
            ),
            (
                "base/config.rs",
                "service/mod.rs",
                "use std::env;\nfn f() { env::var(\"X\"); }",
                "only base/config reads",
            ),
            ("testing/databases.rs", "kernel.rs", "use std::env::{self, var};", "only base/config reads"),
        ];
        for (right, wrong, text, rule) in cases {
            assert_eq!(findings(right, text), Vec::<String>::new(), "{right}");
            let found = findings(wrong, text);
            assert!(found.len() == 1 && found[0].contains(rule), "{wrong}: {found:?}");
        }
        assert_eq!(
            findings("web/server.rs", "fn f() { std::time::Instant::now(); std::env::args(); }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_long_file_and_a_room_without_a_floor_are_found() {
        let long = "fn f() {}\n".repeat(601);
        let found = findings("web/server.rs", &long);
        assert_eq!(
            found,
            [
                "web/server.rs:1: 601 lines of code without tests; 600 are the most. Find the second thing that it does and give it a file"
            ]
        );
        let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(findings("web/server.rs", &tested), Vec::<String>::new());
        let found = findings("utils/strings.rs", "");
        assert_eq!(
            found,
            [
                "utils/strings.rs:1: `utils` is no floor; put it on one of base < store < engine < kernel < web < feature < console < service < testing"
            ]
        );
    }

    #[test]
    fn a_file_that_no_mod_declares_is_found() {
        let texts = [
            ("t/main.rs", "mod a;\nmod b;\n"),
            ("t/a.rs", ""),
            ("t/b/mod.rs", "#[cfg(test)]\nmod c;\nmod d {}\n"),
            ("t/b/c.rs", ""),
            ("t/b/e.rs", ""),
            ("t/f.rs", ""),
        ];
        let files = texts.map(|(path, _)| path.to_owned());
        let read = |path: &str| {
            let text = texts.iter().find(|(name, _)| *name == path).expect("a sample").1;
            RustSource::read(text).expect("Rust")
        };
        let mut findings = Vec::new();
        assert_eq!(find_forgotten("t/", "main.rs", &files, &read, &mut findings), 6);
        let cure =
            |path, name| format!("t/{path}:1: never compiled; add `mod {name};` to the file of the module above it");
        assert_eq!(findings, [cure("b/e.rs", "e"), cure("f.rs", "f")]);
    }

    #[test]
    fn a_files_module_is_where_its_path_says() {
        assert_eq!(module_of("lib.rs"), Vec::<String>::new());
        assert_eq!(module_of("kernel.rs"), ["kernel"]);
        assert_eq!(module_of("store/db/mod.rs"), ["store", "db"]);
        assert_eq!(module_of("store/db/driver/sqlite.rs"), ["store", "db", "driver", "sqlite"]);
    }
}
