//! The server: accepts connections, serves a router on each, and ends them in time.
//!
//! axum's own loop never times a client out and waits for streams for ever; this one does neither.

mod connection;
mod deadline;
pub mod handover;
mod loan;
mod peers;
pub mod systemd;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

use crate::app::Roomcast;
use crate::metrics::Refusal;
pub(crate) use deadline::{Deadline, Patience};
pub(crate) use loan::Lent;
use peers::Peers;
pub use tls::Certificate;

/// How many may wait to be accepted. Many come at once when a server comes back; the kernel may allow fewer.
const BACKLOG: u32 = 4_096;
/// How long nothing is accepted after accepting failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that accepting fails.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Listens on an address.
///
/// # Errors
/// When that is not possible; the message says what to do.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: the port is taken\n  try       ROOMCAST_LISTEN={}:{}, or port 0 for a free one\n  or        roomcast serve --replace, if it is a Roomcast of yours that is to go",
            address.ip(),
            address.port().checked_add(1).unwrap_or(3000),
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}\n  example   ROOMCAST_LISTEN=127.0.0.1:3000"),
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Connections of a server that has just ended are no reason not to begin.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves a router until the application is told to stop.
pub async fn serve(app: &Roomcast, listener: TcpListener, router: Router) {
    open(app, listener, router, None);
    app.stopping().cancelled().await;
}

/// Serves a router from now on, over TLS where there is a certificate. Also while the application stops: who comes late
/// is told so. It ends with [`Roomcast::wait`], or when the socket is handed over.
pub fn open(
    app: &Roomcast,
    listener: TcpListener,
    router: Router,
    certificate: Option<Arc<Certificate>>,
) {
    if let Some(certificate) = &certificate {
        let following = Arc::clone(certificate).follow(app.stopping().clone());
        app.tasks().spawn(following);
    }
    app.doors()
        .spawn(accept(app.clone(), listener, router, certificate));
}

async fn accept(
    app: Roomcast,
    listener: TcpListener,
    router: Router,
    certificate: Option<Arc<Certificate>>,
) {
    connection::prepare(&SockRef::from(&listener), app.config());
    let peers = Peers::new(app.config());
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.leaving().cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = peers.admit(peer.ip()) else {
                    // Whoever has so many is not worth an answer.
                    app.metrics().refuse(Refusal::TcpConnections);
                    continue;
                };
                connection::prepare(&SockRef::from(&stream), app.config());
                let config = certificate.as_ref().map(|certificate| certificate.config());
                let (of, router) = (app.clone(), router.clone());
                let serving = async move {
                    let _place = place;
                    match config {
                        None => connection::plain(of, stream, peer, router).await,
                        // In a box, because it is large, and a task is moved as it begins.
                        Some(config) => {
                            Box::pin(connection::secure(of, stream, peer, router, config)).await;
                        }
                    }
                };
                if app.is_stopping() {
                    // Who comes late is told so, and not waited for: there may always be one more.
                    let ended = app.ended().clone();
                    app.doors().spawn(async move {
                        tokio::select! {
                            () = serving => {}
                            () = ended.cancelled() => {}
                        }
                    });
                } else {
                    app.tasks().spawn(serving);
                }
            }
            // The client was gone before we looked.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                if complained.is_none_or(|at| at.elapsed() > COMPLAINT_PAUSE) {
                    tracing::error!(%error, "cannot accept connections; those that are there go on");
                    complained = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
