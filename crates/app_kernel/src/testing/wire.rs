//! The wire itself, for requests that no well-meaning client would send: broken ones, half ones, those whose sender goes away.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Answer;

/// A connection to a service, byte by byte.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    asked: String,
}

impl Wire {
    /// Connects to the server at `http://host:port`.
    ///
    /// # Panics
    /// Where nobody listens.
    pub async fn connect(url: &str) -> Self {
        let address = url.strip_prefix("http://").expect("the address of a service under test");
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{url} does not listen: {error}"));
        Wire { stream, asked: String::new() }
    }

    /// Sends one request and reads its answer. `head` is all lines up to the empty one; what concerns the body is added.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn ask(url: &str, head: &[u8], body: &[u8]) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("\r\ncontent-length: {}", body.len()) };
        let rest = format!("\r\nhost: test\r\nconnection: close{length}\r\n\r\n");
        let mut wire = Wire::connect(url).await;
        wire.send(&[head, rest.as_bytes(), body].concat()).await;
        wire.answer().await
    }

    /// Sends bytes as they are. A server that has closed the connection already has its answer on the way.
    pub async fn send(&mut self, bytes: &[u8]) {
        if self.asked.is_empty() {
            let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            self.asked = line.escape_ascii().to_string().chars().take(200).collect();
        }
        let _ = self.stream.write_all(bytes).await;
    }

    /// Waits until the server asks for the body of a request that `expect: 100-continue`.
    ///
    /// # Panics
    /// Where it answers anything else.
    pub async fn wait_for_continue(&mut self) {
        const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut said = vec![0; GO_ON.len()];
        self.stream.read_exact(&mut said).await.expect("the server says something");
        assert_eq!(said.escape_ascii().to_string(), GO_ON.escape_ascii().to_string());
    }

    /// All that the server sends until it closes the connection, as an answer.
    ///
    /// # Panics
    /// Where that is no answer.
    pub async fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        // A reset after the answer is how a server closes on a client that is still sending.
        let _ = self.stream.read_to_end(&mut bytes).await;
        read_answer(&self.asked, &bytes)
            .unwrap_or_else(|| panic!("{} was answered {:?}", self.asked, String::from_utf8_lossy(&bytes)))
    }

    /// Goes away with a reset instead of a goodbye, as a phone in a tunnel.
    pub fn reset(self) {
        // What is not read is lost with the connection; `SO_LINGER` 0 turns the close into a reset.
        let _ = self.stream.set_zero_linger();
    }
}

fn read_answer(asked: &str, bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, mut body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?);
    }
    let mut whole = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        while let Some(line) = body.windows(2).position(|window| window == b"\r\n") {
            let length = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?, 16).ok()?;
            whole.extend_from_slice(body.get(line + 2..line + 2 + length)?);
            body = body.get(line + 4 + length..)?;
        }
    } else {
        whole.extend_from_slice(body);
    }
    Some(Answer { asked: asked.to_owned(), status, headers, body: whole.into() })
}
