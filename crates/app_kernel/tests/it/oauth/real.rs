//! Signing in at servers that others wrote, and once in a real browser. `./test oauth` brings them; elsewhere these tests say that they are deselected.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use app_kernel::base::config::OAuthProvider;
use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestService};
use axum::response::Html;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::{ROUTES, count};
use crate::auth::auth_only;
use crate::support::browser::RealBrowser;
use crate::support::repository;

const CLIENT_ID: &str = "our-id";
const CLIENT_SECRET: &str = "our-secret-of-32-characters-or-so";

/// Where the servers are; nothing where these tests were not asked for.
fn tools() -> Option<PathBuf> {
    let tools = std::env::var_os("TEST_OAUTH_TOOLS").map(PathBuf::from);
    if tools.is_none() {
        // Past the test harness, which would keep it for itself.
        let line = "R-25 at real OAuth servers deselected: it takes servers from npm and a browser; run ./test oauth\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    tools
}

/// A server that ends with the test: its stdin closes.
struct Server {
    process: Child,
    issuer: String,
}

impl Server {
    fn start(tools: &Path, script: &str, arguments: &[&str]) -> Self {
        let script = repository::root().join("scripts/oauth").join(script);
        let mut node = Command::new("node");
        node.arg(script).args(arguments).current_dir(tools).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = node.spawn().expect("node starts");
        let lines = BufReader::new(process.stdout.take().expect("it has one")).lines().map_while(Result::ok);
        let mut said = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let issuer = said.find_map(|line| line["issuer"].as_str().map(str::to_owned)).expect("it says where it is");
        std::thread::spawn(move || said.for_each(drop));
        Server { process, issuer }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// An address that is known before the service is there: whoever comes is led on to it.
struct Door {
    listener: TcpListener,
    url: String,
}

impl Door {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        Door { listener, url }
    }

    /// Leads to the service; and keeps its clock at the time of the world, in which the real servers live.
    fn open(self, service: &TestService) -> tokio::task::JoinHandle<()> {
        let (inside, clock) = (service.url().replace("http://", ""), service.kernel().clock().clone());
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        let behind = app_kernel::base::clock::Clock::system().now().duration_since(clock.now());
                        clock.advance(Duration::try_from(behind).unwrap_or_default());
                    }
                    Ok((mut outer, _)) = self.listener.accept() => {
                        let inside = inside.clone();
                        tokio::spawn(async move {
                            let mut inner = TcpStream::connect(inside).await.expect("the service listens");
                            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                        });
                    }
                }
            }
        })
    }
}

/// A page of an app: it exchanges its code, and says in its title who is signed in.
const APP: &str = "<!doctype html><title>…</title><script>
(async () => {
  const code = new URLSearchParams(location.search).get('code')
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ code }) }
  const tokens = await (await fetch('/api/v1/auth/oauth/exchange', post)).json()
  const me = await fetch('/api/v1/auth/me', { headers: { authorization: 'Bearer ' + tokens.access_token } })
  document.title = tokens.access_token ? (await me.json()).email + document.cookie : tokens.code
})()
</script>";

async fn service(issuer: &str, public_url: String) -> TestService {
    let provider = OAuthProvider::oidc(issuer, CLIENT_ID, CLIENT_SECRET);
    let oauth_providers: BTreeMap<_, _> = [("corp".to_owned(), provider)].into();
    TestService::start(move |config| {
        auth_only(ServiceConfig { oauth_providers, public_url: Some(public_url), ..config })
            .route("/app", get(async || Html(APP)))
    })
    .await
}

fn location(answer: &app_kernel::testing::Answer) -> Url {
    Url::parse(answer.header("location").expect("somewhere to go")).expect("an address")
}

/// GET, as a browser that follows nothing.
async fn look(url: &Url) -> app_kernel::testing::Answer {
    Client::new(url.origin().ascii_serialization()).get(&url[url::Position::BeforePath..]).await
}

/// Promise: G1, R-25
#[tokio::test]
async fn somebody_signs_in_at_oauth2_mock_server() {
    let Some(tools) = tools() else { return };
    let server = Server::start(&tools, "mock.mjs", &[]);
    let door = Door::new().await;
    let service = service(&server.issuer, door.url.clone()).await;
    let door = door.open(&service);
    for _ in 0..2 {
        let started = service.anonymous().get(&format!("{ROUTES}/corp?redirect_uri=/app")).await.expect(302);
        let cookie =
            started.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
        let back = location(&look(&location(&started)).await.expect(302));
        let browser = service.anonymous().with_header("cookie", &cookie);
        let callback = &back[url::Position::BeforePath..];
        service.anonymous().get(callback).await.expect_problem(400, "invalid_state");
        let returned = browser.get(callback).await.expect(302);
        let code = returned.header("location").and_then(|to| to.strip_prefix("/app?code=")).expect("a code").to_owned();
        browser.get(callback).await.expect_problem(400, "invalid_state");
        let tokens = browser.post(&format!("{ROUTES}/exchange"), json!({ "code": code })).await.expect(200).json();
        let access = tokens["access_token"].as_str().expect("a token");
        let me = service.anonymous().with_token(access).get("/auth/me").await.expect(200).json();
        assert_eq!((&me["email"], &me["email_verified"]), (&json!("johndoe@example.com"), &json!(true)));
    }
    assert_eq!(count(&service.db(), "kernel_users").await, 1);
    door.abort();
}

/// Promise: G1, G2, G4, R-25
#[tokio::test]
async fn somebody_signs_in_at_oidc_provider_in_a_browser() {
    let Some(tools) = tools() else { return };
    let door = Door::new().await;
    let url = door.url.clone();
    let callback = format!("{url}{ROUTES}/corp/callback");
    let server = Server::start(&tools, "oidc-provider.mjs", &[CLIENT_ID, CLIENT_SECRET, &callback]);
    let service = service(&server.issuer, url.clone()).await;
    let door = door.open(&service);
    let browser = RealBrowser::start().await;
    let begin = format!("{url}{ROUTES}/corp?redirect_uri=/app");
    browser.go(&begin).await;
    browser.type_into("input[name=login]", "ann").await;
    browser.type_into("input[name=password]", "any").await;
    browser.click("button[type=submit]").await;
    browser.click("form input[value=consent] ~ button[type=submit]").await;
    // The page has exchanged its code; it can't see the cookie.
    browser.wait_for_title("ann@example.com").await;
    let code = browser.url().await;
    assert!(code.starts_with(&format!("{url}/app?code=oc_")), "{code}");
    assert_eq!(count(&service.db(), "kernel_users").await, 1);
    // Reloaded, the code is good no more.
    browser.go(&code).await;
    browser.wait_for_title("invalid_code").await;
    // Signed in there, it takes one journey; and what goes wrong is a page.
    browser.go(&begin).await;
    browser.wait_for_title("ann@example.com").await;
    browser.go(&format!("{callback}?code=x&state=y")).await;
    browser.wait_for_title("Bad Request").await;
    let page = browser.source().await;
    assert!(page.contains("begin again") && page.contains("invalid_state"), "{page}");
    browser.go(&begin.replace("/app", "//evil.example")).await;
    browser.wait_for_title("Unprocessable Entity").await;
    assert_eq!(count(&service.db(), "kernel_users").await, 1);
    browser.close().await;
    door.abort();
}
