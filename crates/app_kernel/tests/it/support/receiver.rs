//! A server that receives webhooks: it keeps what comes, byte for byte, and behaves as its test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a request is waited for. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a receiver does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Answers with this status and body.
    Status(u16, String),
    /// Sends the client elsewhere.
    Redirect(u16, String),
    /// Never answers.
    Silence,
    /// Answers a byte at a time, and never ends: from the first byte on, or from the body on.
    Drip { from_the_head: bool },
    /// Answers with more than anybody wants, without end.
    Flood(u16),
    /// Resets the connection.
    Reset,
    /// Sends half a head, and goes away.
    HalfAHead,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The path.
    pub(crate) path: String,
    /// The headers, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// A header that is there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    /// The `webhook-id`.
    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

type Behave = Box<dyn Fn(&Received, usize) -> Way + Send + Sync>;

/// The server, on a port of its own. Stops when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    count: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// One that answers 204.
    pub(crate) async fn start() -> Self {
        Self::that(|_, _| Way::Status(204, String::new())).await
    }

    /// One that does always the same.
    pub(crate) async fn always(way: Way) -> Self {
        Self::that(move |_, _| way.clone()).await
    }

    /// One that is told with each request how many came before, and says what to do.
    pub(crate) async fn that(behave: impl Fn(&Received, usize) -> Way + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", behave).await
    }

    /// The same on an address.
    pub(crate) async fn on(address: &str, behave: impl Fn(&Received, usize) -> Way + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let (received, (told, count)) = (Arc::<Mutex<Vec<Received>>>::default(), watch::channel(0));
        let (kept, behave): (_, Arc<Behave>) = (Arc::clone(&received), Arc::new(Box::new(behave)));
        let told = Arc::new(told);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, behave, told) = (Arc::clone(&kept), Arc::clone(&behave), Arc::clone(&told));
                tokio::spawn(async move { serve(stream, &kept, &behave, &told).await });
            }
        });
        Receiver { address, received, count, task }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for a webhook.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What has come.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panics").clone()
    }

    /// Waits until so many requests were there, and answers them.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut counts = self.count.clone();
        let waited = tokio::time::timeout(PATIENCE, counts.wait_for(|now| *now >= count)).await;
        assert!(waited.is_ok(), "{} of {count} requests came", self.received().len());
        self.received()
    }
}

async fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Received>>, behave: &Behave, told: &watch::Sender<usize>) {
    let Some(request) = read(&mut stream).await else { return };
    let before = {
        let mut kept = kept.lock().expect("nobody panics");
        kept.push(request.clone());
        kept.len() - 1
    };
    let way = behave(&request, before);
    told.send_replace(before + 1);
    // The client may be gone by any of these.
    let _ = answer(&mut stream, way).await;
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { path, headers, body })
}

async fn answer(stream: &mut TcpStream, way: Way) -> std::io::Result<()> {
    match way {
        Way::Status(status, body) => {
            // 204 has no body, nor a length of one.
            let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
            let head = format!("HTTP/1.1 {status} X\r\n{length}connection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        }
        Way::Redirect(status, to) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.shutdown().await
        }
        Way::Silence => drain(stream).await,
        Way::Drip { from_the_head } => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n";
            if !from_the_head {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(b"\r\n").await?;
            }
            let endless = head.bytes().chain(std::iter::repeat(b'x'));
            for byte in endless.skip(if from_the_head { 0 } else { head.len() }) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(())
        }
        Way::Flood(status) => {
            stream.write_all(format!("HTTP/1.1 {status} X\r\nconnection: close\r\n\r\n").as_bytes()).await?;
            loop {
                stream.write_all(&[b'f'; 16384]).await?;
            }
        }
        Way::Reset => stream.set_zero_linger(),
        Way::HalfAHead => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await,
    }
}

/// Until the client goes away.
async fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}
