//! The way to a server, which can be cut: what is sent meanwhile is lost, and whoever was connected then has to connect anew.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Listens on a port of its own, and hands on what comes to the server and back.
#[derive(Debug)]
pub(super) struct Wire {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Wire {
    /// To the server at this address, such as `127.0.0.1:5432`.
    pub(super) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let (is_cut, cut) = watch::channel(false);
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(hand_on(client, server.clone(), cut.clone()));
            }
        });
        Wire { address, is_cut }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes, and nobody is told so.
    pub(super) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// New connections pass again. Those of before are closed: what was sent on them is lost.
    pub(super) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

/// Until one of the two is done, or the wire has been cut and mended.
async fn hand_on(mut client: TcpStream, server: String, mut cut: watch::Receiver<bool>) {
    let passes = async {
        // A server that is not there is a connection that is closed.
        if let Ok(mut server) = TcpStream::connect(server).await {
            let _closed = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    };
    let mut passes = std::pin::pin!(passes);
    tokio::select! {
        biased;
        Ok(_) = cut.wait_for(|is_cut| *is_cut) => {}
        () = &mut passes => return,
    }
    // Both ends stay open, and hear nothing.
    let _mended = cut.wait_for(|is_cut| !*is_cut).await;
}
