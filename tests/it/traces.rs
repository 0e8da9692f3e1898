//! Traces, in builds with the feature `otel`: a collector hears of a request, its commit and its publication, as parts of
//! the trace that the request came with.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Person, Program, roomcast};

const TRACE: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
const CALLER: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

/// What came, as it was sent.
type Heard = Arc<Mutex<Vec<u8>>>;

async fn collector() -> (String, Heard) {
    let heard = Heard::default();
    let hears = {
        let heard = Arc::clone(&heard);
        async move |body: Bytes| {
            heard.lock().unwrap().extend_from_slice(&body);
        }
    };
    let routes = Router::new().route("/v1/traces", post(hears));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, heard)
}

fn count(heard: &[u8], part: &[u8]) -> usize {
    heard
        .windows(part.len())
        .filter(|window| *window == part)
        .count()
}

async fn told(settings: &[(&str, &str)], traceparent: &str) {
    let folder = tempfile::tempdir().unwrap();
    let ours = [
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
        ("ROOMCAST_REGISTRATION", "open"),
    ];
    let settings = [&ours[..], settings].concat();
    let server = Program::start(roomcast(folder.path(), &["serve"], &settings)).await;
    let mut ada = server.nobody();
    ada.register("ada").await;
    ada.log_in("ada").await;
    let request = ada.builder(Method::POST, "/api/v1/groups?token-like=secret");
    let request = request
        .header("traceparent", traceparent)
        .json(&json!({ "name": "what-is-said" }));
    Person::send(request).await.is(201);
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
}

// With threads: the program's end waits for the collector.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_hears_what_a_request_led_to() {
    let (address, heard) = collector().await;
    let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    told(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)], sampled).await;
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    for name in ["POST /api/v1/groups", "commit", "publish", "roomcast"] {
        // A field of protobuf: its length, and the text.
        let field = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        assert!(count(&heard, &field) >= 1, "{name}");
    }
    assert_eq!(
        count(&heard, &TRACE),
        3,
        "the request, its commit, its publication"
    );
    assert_eq!(count(&heard, &CALLER), 1, "the request's parent");
    for secret in ["what-is-said", "secret", "correct horse"] {
        assert_eq!(count(&heard, secret.as_bytes()), 0, "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_does_not_sample_is_not_sent() {
    let (address, heard) = collector().await;
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    told(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)], unsampled).await;
    let heard = heard.lock().unwrap();
    assert!(count(&heard, b"POST /api/v1/auth/login") > 0);
    assert_eq!(count(&heard, &TRACE), 0);
}
