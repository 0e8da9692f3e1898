//! A WebSocket that says everything back, on the server's own accept loop, handshake and frames, without rooms:
//! `cargo run --example echo`. A conformance suite is pointed at it, `tests/it/conformance.rs`.

use std::time::Duration;

use axum::{Router, extract::Request, response::Response, routing::get};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use roomcast::config::Config;
use roomcast::transport::handshake;
use roomcast::transport::socket::{End, Limits, Message, Socket};
use roomcast::{Roomcast, server};

/// Larger than a server with people on it would have them.
const LIMITS: Limits = Limits {
    message_bytes: 16 * 1024 * 1024,
    fragments: 1024 * 1024,
    waiting_bytes: 20 * 1024 * 1024,
};

/// The handshake, and the echo in a task of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody waits for echoes at the end"
)]
async fn upgrade(mut request: Request) -> Response {
    let switching = match handshake(&request) {
        Ok(switching) => switching,
        Err(refused) => return *refused,
    };
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            echo(Socket::new(TokioIo::new(upgraded), Vec::new(), &LIMITS).await).await;
        }
    });
    switching
}

async fn echo(mut socket: Socket<TokioIo<Upgraded>>) {
    let end = loop {
        let said = match socket.read().await {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send([message]).await,
            Ok(_) => Ok(()),
            Err(end) => break end,
        };
        if let Err(end) = said {
            break end;
        }
    };
    match end {
        End::Close(close) => socket.close(close, []).await,
        End::Closed => socket.answer_close().await,
        End::Gone => {}
    }
}

/// The echo at `/`, to be served by a server of ours.
pub(crate) fn router() -> Router {
    Router::new().route("/", get(upgrade))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program says where it is")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config {
        database_url: format!("sqlite://{}", folder.path().join("none.db").display()),
        shutdown_timeout: Duration::from_secs(1),
        ..Config::default()
    };
    let roomcast = Roomcast::open(config).await?;
    let listener = server::listen("127.0.0.1:0".parse()?).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    tokio::select! {
        () = server::serve(&roomcast, listener, router()) => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    roomcast.stop();
    roomcast.wait().await;
    Ok(())
}
