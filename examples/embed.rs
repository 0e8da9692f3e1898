//! Roomcast inside another axum application, with a table and a route of its own: `cargo run --example embed`.
//! What a handler stores and what it tells are one transaction of ours; the accounts here are ours too.

use axum::{Router, routing::post};
use http::StatusCode;
use roomcast::config::{Config, Registration};
use roomcast::notify::{Notification, Notify, Tx};
use roomcast::{Roomcast, caller::Caller, error::Error, realtime::Channel, server};

/// Stores an order, and tells every socket of whoever made it.
async fn order(caller: Caller, mut tx: Tx, item: String) -> Result<(StatusCode, Notify), Error> {
    let insert = sqlx::query("insert into orders (item) values ($1)");
    insert.bind(&item).execute(tx.db()).await?;
    let count = sqlx::query_scalar("select count(*) from orders where item = $1");
    let count: i64 = count.bind(&item).fetch_one(tx.db()).await?;
    if count > 2 {
        // An answer of 400 or more takes the row back, and nobody hears of it.
        return Err(Error::Conflict("There were two of each.".into()));
    }
    let told = Notification::new("new-order", &item).to(Channel::user(&caller.user.id));
    Ok((StatusCode::CREATED, Notify::of(told)))
}

/// The route of the shop inside our layers, beside our own API, WebSocket and SSE.
pub(crate) async fn shop(config: Config) -> anyhow::Result<(Roomcast, Router)> {
    let roomcast = Roomcast::open(config).await?;
    let mut turn = roomcast.log().begin().await?;
    let table = sqlx::query("create table if not exists orders (item text not null)");
    table.execute(turn.db()).await?;
    turn.commit(Vec::new()).await?;
    let routes = Router::new().route("/orders", post(order));
    let router = roomcast.notifying(routes).merge(roomcast.router());
    Ok((roomcast, router))
}

const TRY: &str = r#"JSON='Content-Type: application/json' ADA='{"username":"ada","password":"correct horse"}'
curl URL/api/v1/auth/register -H "$JSON" -d "$ADA"; curl -c jar URL/api/v1/auth/login -H "$JSON" -d "$ADA"
curl -Nb jar URL/sse/events & curl -b jar URL/orders -d tea"#;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program says where it is")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config {
        database_url: format!("sqlite://{}", folder.path().join("shop.db").display()),
        registration: Registration::Open,
        ..Config::default()
    };
    let (roomcast, router) = shop(config).await?;
    let listener = server::listen("127.0.0.1:0".parse()?).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("listening on {url}\n{}", TRY.replace("URL", &url));
    tokio::select! {
        () = server::serve(&roomcast, listener, router) => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    roomcast.stop();
    roomcast.wait().await;
    Ok(())
}
