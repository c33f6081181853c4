//! The `docker` command. Each call has its time; one that takes longer is ended.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::model::{Found, Wanted};
use crate::base::error::{Error, Result};

/// How long Docker may take to say that it is there.
const GREETING: Duration = Duration::from_secs(5);
/// How long a word about a container may take, or its start.
const ANSWER: Duration = Duration::from_secs(60);
/// How long making a container may take: the first time, its image is fetched.
const FETCHING: Duration = Duration::from_secs(15 * 60);
/// What Docker says where there is a container of this name.
const NAME_TAKEN: &str = "is already in use by container";
/// How much of what it says is repeated.
const LAST_LINES: usize = 5;

/// Whether it is there and can start something; why not, in words.
pub(super) async fn is_there() -> Result<(), String> {
    let output = output(&["version", "--format", "{{.Server.Version}}"], &[], GREETING).await?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("Docker does not answer ({})", last_lines(&output.stderr, 1)))
    }
}

/// What a container is like; none where there is none of this name.
pub(super) async fn look(container: &str) -> Result<Option<Found>> {
    let output =
        output(&["container", "inspect", container], &[], ANSWER).await.map_err(failed("looking for a container"))?;
    if !output.status.success() {
        return Ok(None);
    }
    let described: Vec<Described> = serde_json::from_slice(&output.stdout).map_err(|cause| {
        Error::internal(format!("docker describes {container} in words that are not understood")).cause(cause)
    })?;
    Ok(described.into_iter().next().map(Found::from))
}

/// Makes a container. Where another process was quicker, its one is there.
pub(super) async fn make(wanted: &Wanted) -> Result<()> {
    let environment = wanted.environment()?;
    let arguments = wanted.run_arguments(&environment);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let container = wanted.kind.container();
    let output = output(&arguments, &environment, FETCHING).await.map_err(failed("making a container"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = last_lines(&output.stderr, LAST_LINES);
    if said.contains(NAME_TAKEN) {
        // Somebody else made it a moment ago, and it is as good as ours.
        return look(container)
            .await?
            .map_or_else(|| Err(cannot_start(container, &said)), |found| wanted.check(&found));
    }
    // It may have been made, and can't run: it would stand in the way of the next start.
    let _ = self::output(&["container", "rm", container], &[], ANSWER).await;
    Err(cannot_start(container, &said))
}

/// Starts one that was stopped.
pub(super) async fn start(container: &str) -> Result<()> {
    let output =
        output(&["container", "start", container], &[], ANSWER).await.map_err(failed("starting a container"))?;
    if output.status.success() { Ok(()) } else { Err(cannot_start(container, &last_lines(&output.stderr, LAST_LINES))) }
}

/// Why one has ended, by its own words.
pub(super) async fn ended(container: &str) -> Error {
    let lines = LAST_LINES.to_string();
    let said = output(&["container", "logs", "--tail", &lines, container], &[], ANSWER).await;
    let said = said.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    cannot_start(container, &last_lines(&said, LAST_LINES))
}

fn cannot_start(container: &str, said: &str) -> Error {
    Error::unavailable(format!(
        "docker can't start the container {container}: {said}; put that right, or set DEV_AUTOSTART=false and start a server yourself"
    ))
}

fn failed(doing: &'static str) -> impl Fn(String) -> Error {
    move |because| Error::unavailable(format!("{doing}: {because}; set DEV_AUTOSTART=false to do without"))
}

async fn output(
    arguments: &[&str],
    environment: &[(&'static str, String)],
    patience: Duration,
) -> std::result::Result<Output, String> {
    let mut command = Command::new("docker");
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    match tokio::time::timeout(patience, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(cause)) if cause.kind() == std::io::ErrorKind::NotFound => Err("Docker is not there".to_owned()),
        Ok(Err(cause)) => Err(format!("`docker` can't be run ({cause})")),
        Err(_) => Err(format!("Docker does not answer within {} s", patience.as_secs())),
    }
}

/// The end of what it says, in one line.
fn last_lines(said: &[u8], most: usize) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(most)..].join(" / ")
}

/// What is read of `docker container inspect`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    state: State,
    config: Config,
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

impl From<Described> for Found {
    fn from(described: Described) -> Self {
        let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let bindings = described.host_config.port_bindings.unwrap_or_default().into_values().flatten().flatten();
        Found {
            is_running: described.state.running,
            environment: described.config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
            ports: bindings.filter_map(|binding| binding.host_port.parse().ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_says_of_a_container_is_understood() {
        let text = r#"[{"Id":"1f","State":{"Status":"exited","Running":false},"Config":{"Env":["POSTGRES_USER=ann","PATH=/bin","A=b=c"],"Image":"postgres:17"},
            "HostConfig":{"PortBindings":{"5432/tcp":[{"HostIp":"127.0.0.1","HostPort":"5433"}]},"Binds":null}}]"#;
        let described: Vec<Described> = serde_json::from_str(text).expect("understood");
        let found = described.into_iter().map(Found::from).next().expect("one");
        assert_eq!((found.is_running, found.ports.as_slice()), (false, &[5433][..]));
        assert_eq!((&*found.environment["POSTGRES_USER"], &*found.environment["A"]), ("ann", "b=c"));
    }

    #[test]
    fn the_last_lines_are_one_line() {
        assert_eq!(last_lines(b"a\n b \n\n c\n", 2), "b / c");
        assert_eq!(last_lines(b"", 2), "");
    }
}
