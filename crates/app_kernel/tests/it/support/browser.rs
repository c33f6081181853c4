//! A real browser without a window: Debian's chromium, driven by chromedriver's HTTP interface (W3C WebDriver).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use app_kernel::testing::{Answer, Client};
use serde_json::{Value, json};

/// How long a page may take to come to what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How WebDriver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct RealBrowser {
    driver: Child,
    client: Client,
    session: String,
    /// Of this run alone; gone with it.
    _profile: tempfile::TempDir,
}

impl Drop for RealBrowser {
    fn drop(&mut self) {
        // Where a test has failed before `close`: the driver takes its browser along.
        let _ = Command::new("kill").arg(self.driver.id().to_string()).status();
        let _ = self.driver.wait();
    }
}

impl RealBrowser {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("it has one")).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            line.split("successfully on port ").nth(1).map(|port| port.trim_end_matches('.').to_owned())
        });
        let client = Client::new(format!("http://127.0.0.1:{}", port.expect("chromedriver says its port")));
        // Whoever writes needs somebody who reads.
        std::thread::spawn(move || lines.for_each(drop));
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // Nothing but this machine is looked up, whatever a page asks for.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            &format!("--user-data-dir={}", profile.path().display()),
        ]
        .map(str::to_owned);
        let options = json!({ "args": arguments });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let answer = value(client.post("/session", wanted).await);
        let session = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        RealBrowser { driver, client, session, _profile: profile }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        value(self.client.post(&format!("/session/{}{path}", self.session), body).await)
    }

    async fn read(&self, path: &str) -> String {
        let answer = value(self.client.get(&format!("/session/{}{path}", self.session)).await);
        answer.as_str().unwrap_or_else(|| panic!("{path} is {answer}")).to_owned()
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub(crate) async fn title(&self) -> String {
        self.read("/title").await
    }

    pub(crate) async fn url(&self) -> String {
        self.read("/url").await
    }

    /// What stands on the page.
    pub(crate) async fn source(&self) -> String {
        self.read("/source").await
    }

    /// Waits until there is such an element, and answers its name.
    async fn element(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        let path = format!("/session/{}/element", self.session);
        let looking = async {
            loop {
                let answer = self.client.post(&path, query.clone()).await;
                if let Some(element) = answer.json()["value"][ELEMENT].as_str() {
                    return element.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(element) => element,
            Err(_) => panic!("no {selector} on {}: {}", self.url().await, self.source().await),
        }
    }

    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Waits until the page's title is this.
    pub(crate) async fn wait_for_title(&self, title: &str) {
        let looking = async {
            while self.title().await != title {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            panic!("{} has the title {}, not {title}: {}", self.url().await, self.title().await, self.source().await);
        }
    }

    pub(crate) async fn close(self) {
        self.client.delete(&format!("/session/{}", self.session)).await.expect(200);
    }
}

fn value(answer: Answer) -> Value {
    answer.expect(200).json()["value"].clone()
}
