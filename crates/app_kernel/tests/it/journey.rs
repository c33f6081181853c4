//! The README's session on the terminal, run again: the quick start's own binary, bash and curl, and what really comes back.
//!
//! In the README's console blocks, a line that starts with `$ ` is a command (a line that ends with `\` goes on in the next one); the lines
//! below it are what it writes. What differs from run to run is compared by these rules:
//! - an id (a UUID) or a time is the first, second, .. one of the session: the same one must come in the same places;
//! - the values of `access_token` and `refresh_token` are any;
//! - `localhost:8000` is where the service listens.
//!
//! `UPDATE_DOCUMENTS=1 ./test -- --test it journey` writes what came back into the README, tokens cut short.

use std::process::Output;

use crate::support::program::Place;
use crate::support::repository;

const README: &str = "README.md";
/// Where the README says that the service listens.
const ADDRESS: &str = "localhost:8000";
/// Stands before the output of each command.
const MARK: &str = "@@@ the next command";

/// Promise: A8, A9, A10, C10, F1
#[test]
fn the_session_in_the_readme_is_what_really_comes_back() {
    let place = Place::new();
    let serving = place.serve();
    let readme = repository::read(README);
    let session = part(&readme, "<!-- session -->\n", "<!-- end of session -->\n");
    let steps = steps_of(session);
    assert!(steps.len() > 10, "only {} commands found in the README's session", steps.len());

    let outputs = run(&place, &steps, serving.url());
    let happened: Vec<Step> = steps
        .iter()
        .zip(outputs)
        .map(|(step, output)| Step { output: shorten_tokens(&output), ..step.clone() })
        .collect();
    keep(session, &steps, &happened);
    assert_eq!(serving.stop().code, Some(0));
}

/// Promise: A10
#[test]
fn the_start_in_the_readme_is_what_the_program_prints() {
    let place = Place::new().with("LOG_FORMAT", "pretty");
    let serving = place.serve();
    let address = serving.url().trim_start_matches("http://").to_owned();
    let ended = serving.stop();

    let readme = repository::read(README);
    let shown = part(&readme, "<!-- start -->\n", "<!-- end of start -->\n");
    let steps = steps_of(shown);
    assert_eq!(steps.len(), 1, "the README starts the service with one command");
    // The tables that the first start makes are not shown, nor is the end.
    let lines = ended.out.iter().filter(|line| !line.contains(" schema: "));
    let upto = ended.out.iter().position(|line| line.contains("listening on")).expect("it listened");
    let last = &ended.out[upto];
    let mut output = String::new();
    for line in lines {
        output.push_str(&line.replace(&address, "127.0.0.1:8000"));
        output.push('\n');
        if line == last {
            break;
        }
    }
    let happened = vec![Step { output: output.trim_matches('\n').to_owned(), ..steps[0].clone() }];
    keep(shown, &steps, &happened);
}

// --- how -----------------------------------------------------------------------------------------------------------------------------

/// One command of a console block, and what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    command: String,
    output: String,
}

/// The text between two marks.
fn part<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let after = text.split_once(start).unwrap_or_else(|| panic!("{README} has no `{}`", start.trim())).1;
    after.split_once(end).unwrap_or_else(|| panic!("{README} has no `{}`", end.trim())).0
}

/// The commands of all console blocks.
fn steps_of(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_block = false;
    let mut goes_on = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
            goes_on = false;
            continue;
        }
        if !in_block {
            continue;
        }
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), output: String::new() }),
            (None, Some(step)) => {
                let text = if goes_on { &mut step.command } else { &mut step.output };
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(line);
            }
            (None, None) => panic!("{README}: a console block starts with a command, not with `{line}`"),
        }
        goes_on = (line.starts_with("$ ") || goes_on) && line.ends_with('\\');
    }
    steps
}

/// The same text with other outputs below its commands.
fn with_outputs(text: &str, steps: &[Step], outputs: &[Step]) -> String {
    let mut updated = text.to_owned();
    let mut from = 0;
    for (step, happened) in steps.iter().zip(outputs) {
        let block = |step: &Step| {
            let output = if step.output.is_empty() { String::new() } else { format!("{}\n", step.output) };
            format!("$ {}\n{output}", step.command)
        };
        let (old, new) = (block(step), block(happened));
        let at = from + updated[from..].find(&old).expect("what was read from it is in it");
        updated.replace_range(at..at + old.len(), &new);
        from = at + new.len();
    }
    updated
}

/// Runs the commands in one shell and gives what each wrote.
fn run(place: &Place, steps: &[Step], url: &str) -> Vec<String> {
    let mut script = "exec 2>&1\n".to_owned();
    for step in steps {
        script.push_str(&format!("echo '{MARK}'\n{}\n", step.command));
    }
    let script = script.replace(ADDRESS, url.trim_start_matches("http://"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut bash = place.command("bash");
    let Output { stdout, status, .. } = bash.env("PATH", path).args(["-c", &script]).output().expect("bash is there");
    let written = String::from_utf8(stdout).expect("the session writes text");
    assert!(
        !written.contains("curl: command not found"),
        "curl is not there; install it, for example by `apt-get install curl`"
    );
    assert!(status.success(), "the session ended with {status}:\n{written}");
    let written = written.replace(url.trim_start_matches("http://"), ADDRESS);
    let mark = format!("{MARK}\n");
    let outputs = written.split(&mark).skip(1);
    outputs.map(|output| output.trim_end_matches('\n').to_owned()).collect()
}

/// Fails where the README shows something else than what happened; with UPDATE_DOCUMENTS, writes it there.
fn keep(shown: &str, steps: &[Step], happened: &[Step]) {
    let differs = (normal(steps).into_iter().zip(normal(happened))).find(|(shown, happened)| shown != happened);
    let Some((in_readme, in_truth)) = differs else {
        return;
    };
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        repository::replace(README, shown, &with_outputs(shown, steps, happened));
        return;
    }
    panic!(
        "{README} does not show what really comes back from\n$ {}\nit shows:\n{}\nthere came:\n{}\n\
         UPDATE_DOCUMENTS=1 ./test -- --test it journey writes it there",
        in_readme.command, in_readme.output, in_truth.output
    );
}

/// The steps, with what differs from run to run in the same words.
fn normal(steps: &[Step]) -> Vec<Step> {
    let mut seen = Vec::new();
    let normal = |step: &Step| Step { output: normal_output(&step.output, &mut seen), ..step.clone() };
    steps.iter().map(normal).collect()
}

fn normal_output(text: &str, seen: &mut Vec<String>) -> String {
    let mut normal = String::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        match kind_of(word) {
            Some(kind) => {
                let known = seen.iter().position(|known| known == word);
                let number = known.unwrap_or_else(|| {
                    seen.push(word.to_owned());
                    seen.len() - 1
                });
                normal.push_str(&format!("<{kind} {}>", number + 1));
            }
            None => normal.push_str(word),
        }
        let mut between = after.chars();
        normal.extend(between.next());
        rest = between.as_str();
    }
    cut_tokens(&normal, |_| "<any>".to_owned())
}

/// What a word is, where it differs from run to run.
fn kind_of(word: &str) -> Option<&'static str> {
    let has_form = |form: &str| {
        word.len() == form.len()
            && word.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
                b'x' => byte.is_ascii_hexdigit(),
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    if has_form("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
        Some("id")
    } else if has_form("0000-00-00T00:00:00.000000Z") {
        Some("time")
    } else {
        None
    }
}

fn shorten_tokens(text: &str) -> String {
    cut_tokens(text, |token| token.chars().take(6).chain(['…']).collect())
}

/// Replaces the values of all tokens in JSON.
fn cut_tokens(text: &str, replacement: impl Fn(&str) -> String) -> String {
    let mut text = text.to_owned();
    for name in ["\"access_token\":\"", "\"refresh_token\":\""] {
        let mut from = 0;
        while let Some(start) = text[from..].find(name).map(|at| from + at + name.len()) {
            let end = text[start..].find('"').map_or(text.len(), |length| start + length);
            let new = replacement(&text[start..end]);
            text.replace_range(start..end, &new);
            from = start + new.len();
        }
    }
    text
}

#[test]
fn ids_and_times_must_come_again_in_the_same_places() {
    let ann = "018f0000-0000-7000-8000-00000000000a";
    let bob = "018f0000-0000-7000-8000-00000000000b";
    let normal = |text: &str| normal_output(text, &mut Vec::new());
    assert_eq!(
        normal(&format!("{{\"id\":\"{ann}\",\"at\":\"2026-01-02T03:04:05.678901Z\"}}")),
        "{\"id\":\"<id 1>\",\"at\":\"<time 2>\"}"
    );
    assert_ne!(normal(&format!("{ann} {ann}")), normal(&format!("{ann} {bob}")));
    assert_eq!(normal("{\"access_token\":\"eyJ0…\",\"version\":1}"), "{\"access_token\":\"<any>\",\"version\":1}");
    assert_eq!(normal("ü 2026-01-02 12:30 a-b"), "ü 2026-01-02 12:30 a-b");
}

#[test]
fn commands_are_told_from_their_outputs() {
    let text = "Prose.\n```console\n$ a \\\n    b\none\n\ntwo\n$ c\n```\n```sh\n$ d\n```\n";
    let step = |command: &str, output: &str| Step { command: command.to_owned(), output: output.to_owned() };
    let steps = steps_of(text);
    assert_eq!(steps, [step("a \\\n    b", "one\n\ntwo"), step("c", "")]);
    let updated = with_outputs(text, &steps, &[step("a \\\n    b", "1"), step("c", "2")]);
    assert_eq!(updated, "Prose.\n```console\n$ a \\\n    b\n1\n$ c\n2\n```\n```sh\n$ d\n```\n");
}
