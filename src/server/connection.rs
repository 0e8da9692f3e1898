//! One connection: plain or TLS, HTTP/1.1 or HTTP/2, from the first byte to its end, with a time for everything.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use futures_util::TryFutureExt;
use http::{HeaderValue, Request, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use super::Deadline;
use super::loan::{Lent, Loan};
use crate::app::Roomcast;
use crate::config::Config;
use crate::transport::stream::Offer;
use crate::transport::upgrade::SaysWelcome;

/// The most bytes of a request's head, and of what is read ahead of its body.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// What the kernel keeps of what a client does not take, in bytes; without a bound it is some megabytes.
const UNSENT_BYTES: u32 = 128 * 1024;
/// Requests, streams and sockets at once on one connection of HTTP/2.
const MAX_STREAMS: u32 = 250;
/// What a client may send ahead on one stream of HTTP/2, and on all of a connection, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is kept of what a client does not take of one stream, in bytes.
const STREAM_BUFFER: usize = 64 * 1024;
/// Streams that a client may reset before the server has looked at them (CVE-2023-44487).
const MAX_RESETS: usize = 20;
/// How long a new connection may take for its request once the server stops.
const LATE: Duration = Duration::from_secs(1);
/// How long a connection of HTTP/2 stays on which nothing goes on.
const IDLE: Duration = Duration::from_secs(90);

/// Serves a connection as it comes.
pub(super) async fn plain(app: Roomcast, stream: TcpStream, peer: SocketAddr, router: Router) {
    let loan = Arc::new(Loan::default());
    let lent = Deadline::new(Lent::new(stream, &loan), app.config().ping_timeout);
    // In a box, so that an event stream that goes on does not hold room for it.
    Box::pin(serve_http1(&app, lent, Some(&loan), peer, router)).await;
    if let Some((stream, (socket, head))) = loan.inherit() {
        app.tasks().spawn(stream.run(socket, head));
    }
}

/// Serves a connection over TLS.
pub(super) async fn secure(
    app: Roomcast,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    config: Arc<ServerConfig>,
) {
    let stream = tokio::select! {
        stream = handshake(stream, config, app.config().header_timeout) => stream,
        // Who has not begun by then is not waited for.
        () = late(&app) => None,
    };
    let Some(stream) = stream else {
        return;
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Deadline::new(stream, app.config().ping_timeout);
    if h2 {
        let config = app.config();
        // Who only listens says no more than that it is there, as often as it is asked.
        let idle = IDLE.max(config.heartbeat + 2 * config.ping_timeout);
        serve_http2(&app, stream.idle_at_most(idle), peer, router).await;
    } else {
        serve_http1(&app, stream, None, peer, router).await;
    }
}

/// What the operating system is to do with a connection. One has it from the socket that listens, if that was prepared
/// before it came: many come before a server is ready. Where it cannot be had, the connection is as good as it is.
pub(super) fn prepare(socket: &SockRef<'_>, config: &Config) {
    let patience = config.ping_timeout.max(Duration::from_secs(1));
    // Set last.
    if matches!(socket.tcp_user_timeout(), Ok(Some(time)) if time == patience) {
        return;
    }
    // Events are small and not to be waited for.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
    // Who is gone without a word takes no bytes and answers no question: found out as soon as by a WebSocket's ping.
    let keepalive = TcpKeepalive::new()
        .with_time(config.heartbeat.max(Duration::from_secs(1)))
        .with_interval((config.ping_timeout / 3).max(Duration::from_secs(1)))
        .with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(patience));
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let shaking = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
            return Ok(Err(stream));
        }
        TlsAcceptor::from(config).accept(stream).await.map(Ok)
    };
    match timeout(patience, shaking).await {
        Ok(Ok(Ok(stream))) => Some(stream),
        Ok(Ok(Err(stream))) => {
            refuse_plain(stream).await;
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake was not finished in time");
            None
        }
    }
}

/// Somebody speaks HTTP where TLS is spoken: an answer says so better than the end of the connection.
async fn refuse_plain(mut stream: TcpStream) {
    const TEXT: &str = "This port speaks TLS: use https:// and wss://.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    let answering = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What was never read would make the kernel throw the answer away.
        let mut request = vec![0; MAX_HEADER_BYTES];
        stream.read(&mut request).await
    };
    let _ = timeout(Duration::from_secs(1), answering).await;
}

async fn serve_http1<S>(
    app: &Roomcast,
    stream: Deadline<S>,
    loan: Option<&Arc<Loan>>,
    peer: SocketAddr,
    router: Router,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = CancellationToken::new();
    let (begins, about) = (
        begun.clone(),
        Arc::new((app.stopping().clone(), loan.cloned())),
    );
    // What there is to know of the connection is behind one pointer: each request takes it along.
    let service = service_fn(move |request| {
        if !begins.is_cancelled() {
            begins.cancel();
        }
        let about = Arc::clone(&about);
        let answering = router.clone().call(with_peer(request, peer));
        answering.map_ok(move |response| {
            let (stopping, loan) = &*about;
            complete(response, stopping, loan.as_ref())
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config().header_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = until_over(connection.as_mut(), loan) => served,
        () = last_request(app, &begun) => {
            // The request in flight is answered, and the connection closed after it.
            connection.as_mut().graceful_shutdown();
            until_over(connection, loan).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// Sees to what an answer means for its connection.
fn complete(
    mut response: Response,
    stopping: &CancellationToken,
    loan: Option<&Arc<Loan>>,
) -> Response {
    let left = loan.is_some_and(|loan| leave(&mut response, loan));
    if let Some(loan) = loan
        && response.extensions_mut().remove::<SaysWelcome>().is_some()
    {
        loan.hold_head();
    }
    // That has a header of its own there, and no request comes after it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    // Whoever keeps the connection for the next request would lose that.
    if left || stopping.is_cancelled() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Leaves the socket to an event stream, where that goes out as it is. Whether it does.
fn leave(response: &mut Response, loan: &Loan) -> bool {
    let Some(offer) = response.extensions_mut().remove::<Offer>() else {
        return false;
    };
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    // HEAD has no body.
    if encoded || response.body().is_end_stream() {
        return false;
    }
    let stream = offer.take();
    stream.map(|stream| loan.leave_to(stream)).is_some()
}

/// Serves a connection to its end, or until its socket is to be taken back.
async fn until_over<C>(mut connection: Pin<&mut C>, loan: Option<&Arc<Loan>>) -> C::Output
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Pending if loan.is_some_and(|loan| loan.is_over()) => Poll::Ready(Ok(())),
        served => served,
    })
    .await
}

/// Waits until new connections have had their time, once the server stops.
async fn late(app: &Roomcast) {
    app.stopping().cancelled().await;
    tokio::time::sleep(LATE).await;
}

/// Waits until a connection is to take no more requests. hyper would send away one that is new without an answer, though
/// a request is on its way.
async fn last_request(app: &Roomcast, begun: &CancellationToken) {
    app.stopping().cancelled().await;
    let _ = timeout(LATE, begun.cancelled()).await;
}

async fn serve_http2<S>(app: &Roomcast, stream: Deadline<S>, peer: SocketAddr, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = CancellationToken::new();
    let service = router.map_request({
        let begun = begun.clone();
        move |request| {
            begun.cancel();
            with_peer(with_host(request), peer)
        }
    });
    let config = app.config();
    let mut builder = http2::Builder::new(Tracked(app.tasks().clone()));
    builder
        .timer(TokioTimer::new())
        // Only while something goes on; otherwise the connection ends by being idle.
        .keep_alive_interval(config.heartbeat)
        .keep_alive_timeout(config.ping_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        // WebSockets (RFC 8441).
        .enable_connect_protocol();
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = last_request(app, &begun) => {
            if !begun.is_cancelled() {
                // It may not even have said that it speaks HTTP/2.
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

fn with_peer(mut request: Request<Incoming>, peer: SocketAddr) -> Request<axum::body::Body> {
    request.extensions_mut().insert(ConnectInfo(peer));
    request.map(axum::body::Body::new)
}

/// Where HTTP/2 has the host in `:authority`, a header is of no account (RFC 9113, section 8.3.1). Here it is one again.
fn with_host(mut request: Request<Incoming>) -> Request<Incoming> {
    debug_assert_eq!(request.version(), Version::HTTP_2);
    let host = request
        .uri()
        .authority()
        .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

/// Runs the tasks of a connection of HTTP/2 where a shutdown waits for them.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_are_prepared_also_those_that_came_before_the_server_was_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config::default();
        let early = TcpStream::connect(address).await.unwrap();
        prepare(&SockRef::from(&listener), &config);
        let late = TcpStream::connect(address).await.unwrap();
        for inherited in [false, true] {
            let (stream, _) = listener.accept().await.unwrap();
            let socket = SockRef::from(&stream);
            let is_prepared = || {
                let patience = socket.tcp_user_timeout().unwrap();
                patience.is_some() && stream.nodelay().unwrap() && socket.keepalive().unwrap()
            };
            assert_eq!(is_prepared(), inherited);
            prepare(&socket, &config);
            assert!(is_prepared());
        }
        drop((early, late));
    }
}
