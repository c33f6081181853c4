//! Whom a webhook reaches: the public internet, and nobody else. Canaries listen on this machine; none is ever connected to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app_kernel::engine::outbound::Guard;
use app_kernel::feature::webhooks::{DeliveryState, Outcome};
use app_kernel::prelude::*;
use app_kernel::testing::TestService;
use serde_json::json;
use tokio::net::TcpListener;

use super::{app, last, log_of, make, owner, thing, trigger};
use crate::support::figure;
use crate::support::receiver::{Receiver, Way};

/// Counts who connects.
struct Canary {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Canary {
    async fn on(address: SocketAddr) -> Option<Self> {
        let listener = TcpListener::bind(address).await.ok()?;
        let address = listener.local_addr().ok()?;
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Some(Canary { address, connections, task })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// What no name server and no reader of addresses may lead to.
const SPELLINGS: [&str; 62] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "00000177.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "0",
    "0x0",
    "0.0.0.0",
    "0.1.2.3",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "hook.localhost",
    "ⓛocalhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::1]",
    "10.0.0.1",
    "0xa.1",
    "012.0.0.1",
    "100.64.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "3232235777",
    "192.168.257",
    "169.254.169.254",
    "2852039166",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.254.169.254",
    "[::ffff:169.254.169.254]",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fc00::1]",
    "224.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "[ff02::1]",
];

/// Promise: R-20
#[tokio::test]
async fn no_spelling_of_a_private_address_becomes_a_webhook() {
    let service = TestService::start(|config| crate::workspaces::app(config).webhooks()).await;
    let (ann, ours) = owner(&service, "ann").await;
    let canary = Canary::on((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let (all, port) = (format!("/workspaces/{ours}/webhooks"), canary.address.port());
    for spelling in SPELLINGS {
        let url = format!("http://{spelling}:{port}/hook");
        let refused = ann.post(&all, json!({ "url": url })).await.expect_problem(422, "unprocessable");
        assert_eq!(refused.wrong_fields(), ["/url"], "{spelling}: {}", refused.text());
    }
    for url in [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://ann:b@example.com",
        "https://example.com/#a",
        "http://example.com:22",
        "http://example.com:0",
    ] {
        let refused = ann.post(&all, json!({ "url": url })).await.expect_problem(422, "unprocessable");
        assert_eq!(refused.wrong_fields(), ["/url"], "{url}");
    }
    assert_eq!(ann.get(&all).await.expect(200).json(), json!([]));
    // One that came in by another door, such as a restored backup or a setting that was withdrawn, is not dialled either.
    let lenient = service.beside(app).await;
    let webhook = make(&lenient, &ours, &format!("http://localhost:{port}/")).await;
    drop(lenient);
    let sql = "UPDATE [kernel_webhooks] SET [url] = ?";
    for spelling in ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0"] {
        service.db().execute(sql, [format!("http://{spelling}:{port}/")]).await.expect("changed");
        trigger(&service, &ours, thing(1)).await;
        service.run_jobs().await;
        let outcome = last(&service, &webhook).await.info.last_outcome;
        assert!(matches!(outcome, Some(Outcome::NotAdmitted | Outcome::Unreachable)), "{spelling}: {outcome:?}");
    }
    assert_eq!(canary.connections(), 0);
    println!("R-20 held: {} spellings refused, 0 connections to the canary", SPELLINGS.len());
}

/// Promise: R-20
#[tokio::test]
async fn production_takes_https_only() {
    let service = TestService::start(|config| {
        crate::workspaces::app(ServiceConfig { production: true, ..config })
            .webhooks()
            .webhook_guard(Guard::new(|_| true, |_| async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) }))
    })
    .await;
    let (ann, ours) = owner(&service, "ann").await;
    let all = format!("/workspaces/{ours}/webhooks");
    let refused = ann.post(&all, json!({ "url": "http://example.com/" })).await.expect_problem(422, "unprocessable");
    assert_eq!(refused.wrong_fields(), ["/url"]);
    ann.post(&all, json!({ "url": "https://example.com/" })).await.expect(201);
}

/// A name server that tells the next of these lists each time it is asked, and one address that stands for the public internet, because
/// tests stay on this machine.
#[cfg(target_os = "linux")]
fn rebinding(answers: Vec<Vec<IpAddr>>, public: IpAddr, asked: Arc<AtomicUsize>) -> Guard {
    Guard::new(
        move |address| address == public,
        move |_| {
            let n = asked.fetch_add(1, Ordering::SeqCst);
            let answer = answers[n % answers.len()].clone();
            async move { Ok(answer) }
        },
    )
}

/// Promise: R-20
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_server_that_changes_its_answer_leads_nowhere() {
    let events = figure(60, 1000);
    let public: IpAddr = [127, 0, 0, 2].into();
    let receiver = Receiver::on("127.0.0.2:0", |_, _| Way::Status(200, String::new())).await;
    let port = receiver.address().port();
    let private: [IpAddr; 3] = [[127, 0, 0, 1].into(), [127, 0, 0, 3].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    let mut canaries = Vec::new();
    for address in private {
        canaries.extend(Canary::on(SocketAddr::new(address, port)).await);
    }
    assert!(!canaries.is_empty(), "no canary sits on port {port}");
    let answers = vec![
        vec![public],
        vec![private[0]],
        vec![public, private[1]],
        vec![private[2], public],
        vec![public],
        private.to_vec(),
    ];
    let asked = Arc::<AtomicUsize>::default();
    let guard = rebinding(answers, public, Arc::clone(&asked));
    let service = TestService::start(|config| crate::workspaces::app(config).webhooks().webhook_guard(guard)).await;
    let (ann, ours) = owner(&service, "ann").await;
    let url = format!("http://rebind.test:{port}/hook");
    let all = format!("/workspaces/{ours}/webhooks");
    ann.post(&all, json!({ "url": url })).await.expect(201); // told the public address
    ann.post(&all, json!({ "url": url })).await.expect_problem(422, "unprocessable"); // and now another
    let webhook = ann.get(&all).await.expect(200).json()[0]["id"].as_str().expect("an id").to_owned();
    for n in 0..events {
        trigger(&service, &ours, thing(n)).await;
    }
    service.run_jobs().await;
    let count = async |outcome: &str| {
        let sql = "SELECT COUNT(*) AS [n] FROM [kernel_webhook_attempts] WHERE [outcome] = ?";
        service.db().query(sql, [outcome]).await.expect("a count")[0]["n"].as_int().expect("a number") as usize
    };
    let (delivered, refused) = (count("delivered").await, count("not_admitted").await);
    assert_eq!(delivered + refused, events);
    assert!(delivered > 0 && refused > delivered, "{delivered} delivered, {refused} refused");
    assert_eq!(receiver.received().len(), delivered);
    assert_eq!(asked.load(Ordering::SeqCst), events + 2, "each request asks once, and dials what it was told");
    let connections: usize = canaries.iter().map(Canary::connections).sum();
    assert_eq!(connections, 0);
    let path = format!("{all}/{webhook}/deliveries?state=pending&limit=500");
    let told = ann.get(&path).await.expect(200).text();
    assert!(!told.contains("127.0.0"), "nobody learns what an address was: {told}");
    println!(
        "R-20 held: {events} requests by a name server with 6 answers, {delivered} delivered, {refused} refused, 0 connections to {} canaries",
        canaries.len()
    );
}

/// Promise: R-20
#[tokio::test]
async fn a_redirect_to_a_private_address_is_an_answer_like_any_other() {
    let canary = Canary::on((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let service = TestService::start(app).await;
    let (_, ours) = owner(&service, "ann").await;
    let mut webhooks = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        let receiver = Receiver::always(Way::Redirect(status, format!("http://{}/", canary.address))).await;
        webhooks.push((make(&service, &ours, &receiver.url()).await, receiver));
    }
    trigger(&service, &ours, thing(1)).await;
    service.run_jobs().await;
    for (webhook, receiver) in &webhooks {
        let delivery = log_of(&service, webhook).await.remove(0);
        assert_eq!((delivery.state, delivery.last_outcome), (DeliveryState::Pending, Some(Outcome::Refused)));
        assert_eq!(receiver.received().len(), 1);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(canary.connections(), 0);
}
