//! The server: accepts connections, serves a router on each, and ends them in time.
//!
//! axum's own loop never times a client out and waits for streams for ever; this one does neither.

mod deadline;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::app::Roomcast;
pub(crate) use deadline::Deadline;

/// How long a client may take for the head of a request, the first byte included.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a request's head, and of what is read ahead of its body.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long nothing is accepted after accepting failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on an address.
///
/// # Errors
/// When that is not possible; the message says what to do.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: the port is taken\n  try       ROOMCAST_LISTEN={}:{}, or port 0 for a free one",
            address.ip(),
            address.port().checked_add(1).unwrap_or(3000),
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}\n  example   ROOMCAST_LISTEN=127.0.0.1:3000"),
    })
}

/// Serves a router until the application is told to stop.
pub async fn serve(app: &Roomcast, listener: TcpListener, router: Router) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stopping().cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                app.tasks()
                    .spawn(connection(app.clone(), stream, peer, router.clone()));
            }
            // The client was gone before we looked.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; those that are there go on");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(app: Roomcast, stream: TcpStream, peer: SocketAddr, router: Router) {
    // Events are small and not to be waited for.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let stream = Deadline::new(stream, app.config().ping_timeout);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = app.stopping().cancelled() => {
            // The request in flight is answered, and the connection closed after it.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
