//! A mail server for one test: as much of SMTP (RFC 5321) as a client needs to hand in mail, with AUTH PLAIN (RFC 4954).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail as the server took it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Headers and text, with the dots of RFC 5321, 4.5.2 taken out.
    pub(crate) data: String,
}

/// The server. It ends with the test.
pub(crate) struct SmtpServer {
    address: SocketAddr,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    credentials: Arc<Mutex<Vec<String>>>,
}

impl SmtpServer {
    /// Takes all mail.
    pub(crate) async fn start() -> Self {
        Self::answering("250 taken").await
    }

    /// Answers each recipient with this line.
    pub(crate) async fn answering(to_recipients: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let (taken, deliveries) = mpsc::unbounded_channel();
        let credentials = Arc::default();
        let seen = Arc::clone(&credentials);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(talk(client, to_recipients, taken.clone(), Arc::clone(&seen)));
            }
        });
        SmtpServer { address, deliveries, credentials }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next mail; waits for it.
    pub(crate) async fn next(&mut self) -> Delivery {
        self.deliveries.recv().await.expect("the server runs")
    }

    /// What clients said in AUTH PLAIN, in base64.
    pub(crate) fn credentials(&self) -> Vec<String> {
        self.credentials.lock().expect("no panic").clone()
    }
}

async fn talk(
    client: TcpStream,
    to_recipients: &'static str,
    taken: mpsc::UnboundedSender<Delivery>,
    credentials: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    client.write_all(b"220 test ready\r\n").await?;
    let mut mail = Delivery::default();
    let mut line = String::new();
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (command, rest) = line.trim_end().split_once([' ', ':']).unwrap_or((line.trim_end(), ""));
        let path = |rest: &str| rest.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let answer = match command.to_ascii_uppercase().as_str() {
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN",
            "AUTH" => {
                credentials.lock().expect("no panic").push(rest.trim_start_matches("PLAIN ").to_owned());
                "235 welcome"
            }
            "MAIL" => {
                mail = Delivery { from: path(rest), ..Delivery::default() };
                "250 go on"
            }
            "RCPT" => {
                mail.to.push(path(rest));
                to_recipients
            }
            "DATA" => {
                client.write_all(b"354 end with a dot\r\n").await?;
                mail.data = read_data(&mut client).await?;
                taken.send(mail.clone()).expect("the test listens");
                "250 taken"
            }
            "QUIT" => {
                client.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            "RSET" | "NOOP" => "250 fine",
            _ => "500 what?",
        };
        client.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn read_data(client: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let (mut data, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        client.read_line(&mut line).await?;
        match line.strip_prefix('.') {
            Some("\r\n") => return Ok(data),
            Some(rest) => data += rest,
            None => data += &line,
        }
    }
}
