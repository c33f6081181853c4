//! A server that reads whole requests and answers as it is told, byte by byte; it remembers what arrived.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// This answer, as it stands.
    Say(String),
    /// The connection is closed without an answer.
    Close,
    /// There is never an answer.
    Silence,
    /// A head that promises more, then a byte now and then.
    Drip,
    /// A body that does not end.
    Flood,
}

/// An answer with a body.
pub(super) fn say(status: &str, headers: &str, body: &str) -> Act {
    Act::Say(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

/// The server.
pub(super) struct RawServer {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<String>>>,
    acts: Arc<Mutex<Vec<Act>>>,
}

impl RawServer {
    /// One that does these acts in turn, a request each; the last goes on for ever.
    pub(super) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let arrived = Arc::<Mutex<Vec<String>>>::default();
        let acts = Arc::new(Mutex::new(acts.into_iter().collect::<Vec<_>>()));
        let server = RawServer { address, arrived: Arc::clone(&arrived), acts: Arc::clone(&acts) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&arrived), Arc::clone(&acts)));
            }
        });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived: whole requests.
    pub(super) fn arrived(&self) -> Vec<String> {
        self.arrived.lock().expect("nobody panicked").clone()
    }

    /// From now on it does this.
    pub(super) fn now_does(&self, act: Act) {
        *self.acts.lock().expect("nobody panicked") = vec![act];
    }
}

async fn serve(mut stream: TcpStream, arrived: Arc<Mutex<Vec<String>>>, acts: Arc<Mutex<Vec<Act>>>) {
    while let Some(request) = read_request(&mut stream).await {
        arrived.lock().expect("nobody panicked").push(request);
        let act = {
            let mut acts = acts.lock().expect("nobody panicked");
            if acts.len() > 1 { acts.remove(0) } else { acts[0].clone() }
        };
        // A client that has gone away is what some of the tests are about.
        let went_well = match act {
            Act::Say(text) => stream.write_all(text.as_bytes()).await.is_ok(),
            Act::Close => false,
            Act::Silence => std::future::pending().await,
            Act::Drip => drip(&mut stream).await,
            Act::Flood => flood(&mut stream).await,
        };
        if !went_well {
            return;
        }
    }
}

async fn drip(stream: &mut TcpStream) -> bool {
    let mut is_there = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.is_ok();
    while is_there {
        tokio::time::sleep(Duration::from_millis(20)).await;
        is_there = stream.write_all(b".").await.is_ok();
    }
    false
}

async fn flood(stream: &mut TcpStream) -> bool {
    let mut is_there = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok();
    while is_there {
        is_there = stream.write_all(&[b'.'; 16 * 1024]).await.is_ok();
    }
    false
}

/// A head, and as much of a body as it says.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
}
