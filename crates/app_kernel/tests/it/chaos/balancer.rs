//! What stands before several processes of a service, and leads each connection to one that says that it is ready: HAProxy where it is
//! installed, else a small one of ours that does as much.

use std::net::{SocketAddr, TcpListener as Free};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How often each process is asked whether it is ready.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How long an answer to that may take. A machine under test may be busy; a balancer that gives up early turns away from healthy processes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A balancer at work. Stopped when dropped.
#[derive(Debug)]
pub(super) struct Balancer {
    address: SocketAddr,
    haproxy: Option<Child>,
}

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    let listener = Free::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one").port()
}

impl Balancer {
    /// Before the processes on these ports of this machine. Its files, where it has any, lie in this folder.
    pub(super) async fn start(ports: &[u16], folder: &Path) -> Self {
        let is_installed = Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_ok();
        if is_installed { Self::haproxy(ports, folder).await } else { Self::ours(ports).await }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name, for a figure.
    pub(super) fn name(&self) -> &'static str {
        if self.haproxy.is_some() { "HAProxy" } else { "a balancer of ours" }
    }

    async fn haproxy(ports: &[u16], folder: &Path) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let millis = BETWEEN_LOOKS.as_millis();
        let servers = ports
            .iter()
            .map(|port| format!("    server at{port} 127.0.0.1:{port} check inter {millis}ms fall 1 rise 1\n"));
        let servers: String = servers.collect();
        let text = format!(
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    timeout check 5s\n    \
             retries 3\n    option redispatch\nfrontend front\n    bind {address}\n    default_backend shop\n\
             backend shop\n    option httpchk GET /readyz\n{servers}"
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text).expect("the folder can be written");
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let haproxy = command.spawn().expect("it is installed");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Balancer { address, haproxy: Some(haproxy) }
    }

    async fn ours(ports: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let servers: Arc<[Server]> = ports.iter().map(|port| Server::new(*port)).collect();
        for at in 0..servers.len() {
            let servers = Arc::clone(&servers);
            tokio::spawn(async move { servers[at].look().await });
        }
        tokio::spawn(async move {
            let turn = Arc::new(AtomicUsize::new(0));
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(lead(client, Arc::clone(&servers), Arc::clone(&turn)));
            }
        });
        Balancer { address, haproxy: None }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(haproxy) = &mut self.haproxy {
            let _ = haproxy.kill();
            let _ = haproxy.wait();
        }
    }
}

/// One of the processes, and whether it said that it is ready when it was asked last.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    is_ready: AtomicBool,
}

impl Server {
    fn new(port: u16) -> Self {
        Server { address: SocketAddr::from(([127, 0, 0, 1], port)), is_ready: AtomicBool::new(false) }
    }

    /// Asks it for ever.
    async fn look(&self) {
        loop {
            let answer = tokio::time::timeout(PATIENCE, self.ask()).await.unwrap_or(None);
            self.is_ready.store(answer.is_some_and(|head| head.starts_with(b"HTTP/1.1 200 ")), Ordering::Relaxed);
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn ask(&self) -> Option<Vec<u8>> {
        let mut connection = TcpStream::connect(self.address).await.ok()?;
        connection.write_all(b"GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    }
}

/// Leads a connection to the next one that is ready, and past those that can't be reached.
async fn lead(mut client: TcpStream, servers: Arc<[Server]>, turn: Arc<AtomicUsize>) {
    let first = turn.fetch_add(1, Ordering::Relaxed);
    for at in 0..servers.len() {
        let server = &servers[(first + at) % servers.len()];
        if !server.is_ready.load(Ordering::Relaxed) {
            continue;
        }
        if let Ok(mut connection) = TcpStream::connect(server.address).await {
            // How it ends, the client sees.
            let _ended = tokio::io::copy_bidirectional(&mut client, &mut connection).await;
            return;
        }
    }
}
