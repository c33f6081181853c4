use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::*;
use crate::web::edge::{Edge, EdgeRules};

const PEER: ([u8; 4], u16) = ([198, 51, 100, 9], 4711);
/// Longer than anything here takes: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than what a connection's buffers take. One for all who ask.
static BIG: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; 16 << 20].into());

fn limits() -> Limits {
    Limits::from(&ServiceConfig::default())
}

fn edge(router: Router, limits: &Limits) -> Edge {
    let config = ServiceConfig { body_timeout: limits.body_timeout, ..ServiceConfig::default() };
    Edge::new(router, Arc::new(EdgeRules::from_config(&config).expect("rules")), None)
}

fn routes() -> Router {
    let quiet_stream = || {
        stream::unfold(0, async |n| {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            (n < 3).then(|| (Ok::<_, axum::Error>(Frame::data(Bytes::from("tick "))), n + 1))
        })
    };
    Router::new()
        .route("/ok", get(async || "fine"))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_secs(300)).await;
                "at last"
            }),
        )
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .route("/big", get(async || BIG.clone()))
        .route("/quiet", get(async move || Body::new(StreamBody::new(Box::pin(quiet_stream())))))
        .route(
            "/peer",
            get(async |axum::extract::ConnectInfo(peer): axum::extract::ConnectInfo<SocketAddr>| peer.to_string()),
        )
}

/// One connection in memory, whose time is the test's.
fn connect() -> (DuplexStream, JoinHandle<()>) {
    let (client, server) = tokio::io::duplex(16 << 10);
    let shared = Shared::new(limits());
    let edge = edge(routes(), &shared.limits);
    let served = tokio::spawn(async move { connection::drive(server, PEER.into(), edge, &shared).await });
    (client, served)
}

async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too; what came before it counts.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).expect("text")
}

/// Reads one response with a Content-Length.
async fn read_response(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.expect("a head")));
    }
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    text + std::str::from_utf8(&body).expect("text")
}

fn secs_since(begun: tokio::time::Instant) -> u64 {
    begun.elapsed().as_secs()
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let begun = tokio::time::Instant::now();
    let (mut client, _) = connect();
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(secs_since(begun), 10);
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn a_head_in_drops_is_cut_off_at_the_header_timeout() {
    let begun = tokio::time::Instant::now();
    let (mut client, served) = connect();
    client.write_all(b"GET /ok HTTP/1.1\r\nx: ").await.expect("room");
    while client.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    served.await.expect("no panic");
    assert!((10..=11).contains(&secs_since(begun)), "{}", secs_since(begun));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_six_header_timeouts_and_not_before() {
    let (mut client, served) = connect();
    for _ in 0..3 {
        client.write_all(b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("room");
        assert!(read_response(&mut client).await.ends_with("fine"));
        tokio::time::sleep(Duration::from_secs(59)).await;
    }
    let begun = tokio::time::Instant::now();
    served.await.expect("no panic");
    assert_eq!(secs_since(begun), 1);
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn the_second_head_on_a_connection_has_its_own_timeout() {
    let (mut client, served) = connect();
    client.write_all(b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("room");
    read_response(&mut client).await;
    tokio::time::sleep(Duration::from_secs(33)).await;
    client.write_all(b"GET /o").await.expect("room");
    let begun = tokio::time::Instant::now();
    served.await.expect("no panic");
    assert!((9..=10).contains(&secs_since(begun)), "{}", secs_since(begun));
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_answered_408_and_closed() {
    let begun = tokio::time::Instant::now();
    let (mut client, _) = connect();
    client.write_all(b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345").await.expect("room");
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
    assert!((30..=31).contains(&secs_since(begun)), "{}", secs_since(begun));
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let begun = tokio::time::Instant::now();
    let (mut client, served) = connect();
    client.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("room");
    served.await.expect("no panic");
    assert_eq!(secs_since(begun), 30);
    assert!(read_to_end(&mut client).await.len() < 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_everything() {
    let (mut client, _) = connect();
    client.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("room");
    let mut total = 0;
    let mut part = vec![0; 64 << 10];
    loop {
        match client.read(&mut part).await.expect("no error") {
            0 => break,
            count => total += count,
        }
        tokio::time::sleep(Duration::from_secs(25)).await;
    }
    assert!(total > 16 << 20, "{total}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_and_a_quiet_stream_may_take_their_time() {
    let (mut client, _) = connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("room");
    assert!(read_response(&mut client).await.ends_with("at last"));
    client.write_all(b"GET /quiet HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("room");
    assert_eq!(read_to_end(&mut client).await.matches("tick ").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn handlers_see_the_peer() {
    let (mut client, _) = connect();
    client.write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("room");
    assert!(read_response(&mut client).await.ends_with("198.51.100.9:4711"));
}

/// Promise: A2, A4
#[tokio::test(start_paused = true)]
async fn what_is_not_http_is_answered_in_the_same_shape() {
    let long_header = format!("GET /ok HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    let many_headers = format!("GET /ok HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
    let long_url = format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "x".repeat(17_000));
    let longer_url = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(65_535));
    for (bytes, status) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
        ("HELLO\r\n\r\n", 400),
        ("GET /ok HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", 400),
        ("POST /ok HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (&long_header, 431),
        (&many_headers, 431),
        (&long_url, 414),
        (&longer_url, 431),
    ] {
        let (mut client, _) = connect();
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let (_, answer) = tokio::join!(writer.write_all(bytes.as_bytes()), read_to_end(&mut reader));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.40}: {head}");
        let document: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(document["status"], status);
        let id = document["request_id"].as_str().expect("an id");
        assert!(
            head.contains(&format!("x-request-id: {id}\r\n")) && head.contains("application/problem+json"),
            "{head}"
        );
    }
}

async fn http2(client: DuplexStream, window: u32) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(client)).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

fn get_request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://a{path}")).body(Empty::new()).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn http2_is_spoken_without_tls_and_closed_when_idle() {
    let (client, served) = connect();
    let mut sender = http2(client, 65_535).await;
    for path in ["/ok", "/slow"] {
        let response = sender.send_request(get_request(path)).await.expect("a response");
        assert_eq!((response.status(), response.version()), (StatusCode::OK, axum::http::Version::HTTP_2));
        let text = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(!text.is_empty());
    }
    let begun = tokio::time::Instant::now();
    served.await.expect("no panic");
    assert!((59..=60).contains(&secs_since(begun)), "{}", secs_since(begun));
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn an_http2_client_that_takes_nothing_is_cut_off() {
    let begun = tokio::time::Instant::now();
    let (client, served) = connect();
    let mut sender = http2(client, 0).await;
    let response = sender.send_request(get_request("/big")).await.expect("a head");
    served.await.expect("no panic");
    assert!((30..=40).contains(&secs_since(begun)), "{}", secs_since(begun));
    drop(response);
}

/// A server on a port of its own.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<Drained>,
}

impl Running {
    async fn start(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let edge = edge(router, &limits);
        let done = tokio::spawn(serve(listener, edge, limits, Turnstile::default(), async {
            // A test that ends without a stop drops the sender.
            let _ = stopped.await;
        }));
        Running { address, stop: Some(stop), done }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.expect("written");
        timeout(PATIENCE, read_response(&mut stream)).await.expect("an answer in time")
    }

    fn stop(&mut self) {
        let stop = self.stop.take().expect("stopped once");
        stop.send(()).expect("the server is running");
    }
}

/// Promise: R-28
#[tokio::test]
async fn one_client_too_many_is_told_to_come_back() {
    let server = Running::start(routes(), Limits { max_connections: 2, ..limits() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    let answer = server.get("/ok").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("x-request-id: "), "{answer}");
    // A place that is given back is there for the next.
    drop(held.pop());
    let freed = async {
        while !server.get("/ok").await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("a free place");
}

/// A client that is still sending when it is refused can read why.
#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let server = Running::start(routes(), limits()).await;
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let (mut reader, mut writer) = stream.split();
        let send = async {
            writer
                .write_all(b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n")
                .await
                .expect("written");
            let _ = writer.write_all(&vec![b'x'; 4_000_000]).await;
        };
        let read = async {
            let answer = timeout(PATIENCE, read_response(&mut reader)).await.expect("an answer in time");
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        };
        tokio::select! {
            () = async { tokio::join!(send, std::future::pending::<()>()); } => {}
            () = read => {}
        }
    }
}

/// A route that says when it was entered and waits to be let go.
fn gated() -> (Router, Arc<Semaphore>, Arc<Semaphore>) {
    let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (entered, gate) = (entered.clone(), gate.clone());
        async move || {
            entered.add_permits(1);
            gate.acquire().await.expect("an open gate").forget();
            "finished"
        }
    };
    (Router::new().route("/gated", get(handler)).route("/ok", get(async || "fine")), entered, gate)
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (router, entered, gate) = gated();
    let mut server = Running::start(router, limits()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    read_response(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gated HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    entered.acquire().await.expect("entered").forget();

    server.stop();
    assert_eq!(timeout(PATIENCE, read_to_end(&mut idle)).await.expect("closed in time"), "");
    assert!(TcpStream::connect(server.address).await.is_err(), "a new connection was accepted");
    assert!(!server.done.is_finished());
    gate.add_permits(1);
    let answer = timeout(PATIENCE, read_to_end(&mut busy)).await.expect("closed in time");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("finished"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(server.done.await.expect("no panic"), Drained { is_clean: true, cut: 0 });
}

/// A connection that the system accepted before the stop is answered, even if its request comes a moment after.
#[tokio::test]
async fn a_request_on_its_way_at_the_stop_is_answered() {
    let mut server = Running::start(routes(), limits()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.connect().await);
    }
    server.stop();
    for client in &mut clients {
        client.write_all(b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    }
    for client in &mut clients {
        let answer = timeout(PATIENCE, read_to_end(client)).await.expect("closed in time");
        assert!(answer.ends_with("fine"), "{answer}");
    }
    assert!(server.done.await.expect("no panic").is_clean);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_cuts_what_is_left() {
    let (router, entered, _gate) = gated();
    let mut server = Running::start(router, Limits { shutdown_timeout: Duration::from_millis(50), ..limits() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gated HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    entered.acquire().await.expect("entered").forget();
    server.stop();
    assert_eq!(server.done.await.expect("no panic"), Drained { is_clean: false, cut: 1 });
    assert_eq!(read_to_end(&mut busy).await, "");
}

/// Slow heads, slow bodies and slow readers at once: all are cut off, while normal requests are answered as ever.
/// Promise: R-28
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_do_not_hurt_others() {
    // The long form has the full figures.
    let is_full = std::env::var_os("CHAOS_SCALE").is_some();
    let (slow_heads, slow_bodies, slow_readers) = if is_full { (2_000, 2_000, 500) } else { (200, 200, 50) };
    let all_hostile = slow_heads + slow_bodies + slow_readers;
    let second = Duration::from_secs(1);
    let limits = Limits { header_timeout: second, idle_timeout: second * 6, body_timeout: second, ..limits() };
    let server = Running::start(routes(), limits).await;
    let mut hostile = JoinSet::new();
    let cut = Arc::new(AtomicUsize::new(0));
    for n in 0..all_hostile {
        let mut stream = server.connect().await;
        let cut = cut.clone();
        hostile.spawn(async move {
            let opening: &[u8] = if n < slow_heads {
                b"GET /ok HTTP/1.1\r\nx: "
            } else if n < slow_heads + slow_bodies {
                b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n12345"
            } else {
                b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n"
            };
            stream.write_all(opening).await.expect("written");
            if n < slow_heads {
                // A drop every 100 ms keeps the head alive, as the attack does.
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            } else if n < slow_heads + slow_bodies {
                read_to_end(&mut stream).await;
            } else {
                stream.ready(tokio::io::Interest::ERROR).await.expect("a reset");
            }
            cut.fetch_add(1, Ordering::Relaxed);
        });
    }

    let mut waits = Vec::new();
    let begun = Instant::now();
    let mut all_cut = false;
    while !all_cut && begun.elapsed() < PATIENCE * 4 {
        let asked = Instant::now();
        let answer = server.get("/ok").await;
        waits.push(asked.elapsed());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        all_cut = cut.load(Ordering::Relaxed) == all_hostile;
    }
    waits.sort_unstable();
    assert!(all_cut, "some hostile clients were never cut off");
    while let Some(ended) = hostile.join_next().await {
        ended.expect("no panic");
    }
    println!(
        "R-28 held: {} normal requests, 0 errors, p99 {} ms, slowest {} ms; {slow_heads} slow heads, {slow_bodies} slow bodies and {slow_readers} \
         slow readers, all cut off after {} ms",
        waits.len(),
        waits[waits.len() * 99 / 100].as_millis(),
        waits[waits.len() - 1].as_millis(),
        begun.elapsed().as_millis()
    );
}
