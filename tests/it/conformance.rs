//! The Autobahn test suite against `examples/echo.rs`: what our sockets do with every frame that RFC 6455 knows, and how
//! they close. kosoku (on `PyPI`) is that suite for today's Python.

use std::collections::BTreeMap;

use roomcast::{Roomcast, config::Config, server};
use serde_json::Value;
use tokio::process::Command;

use crate::support::needs;

#[path = "../../examples/echo.rs"]
#[expect(dead_code, reason = "the example's main; the test has one of its own")]
mod example;

/// All that have nothing to do with compression, which we do not offer.
const CASES: usize = 301;
/// UTF-8 that is wrong is noticed at the end of its message, not at the byte: the suite calls that not strict.
const NOT_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_the_suite_passes_and_every_close_is_clean() {
    if !needs("kosoku") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        database_url: format!("sqlite://{}", folder.path().join("none.db").display()),
        ..Config::default()
    };
    let app = Roomcast::open(config).await.unwrap();
    let listener = server::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { server::serve(&app, listener, example::router()).await });

    let reports = folder.path().join("reports");
    let output = Command::new("kosoku")
        .args(["-x", "12.*", "-x", "13.*", &address, "-o"])
        .arg(&reports)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let index = std::fs::read(reports.join("index.json"))
        .unwrap_or_else(|error| panic!("no report: {error}; it said {output:?}"));
    let index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&index).unwrap();
    let cases = index.into_values().next().unwrap();
    assert_eq!(cases.len(), CASES);
    let fine = |name: &str, case: &Value| {
        let behaves = match case["behavior"].as_str() {
            // What the standard leaves open is reported without a judgement.
            Some("OK" | "INFORMATIONAL") => true,
            Some("NON-STRICT") => NOT_STRICT.contains(&name),
            _ => false,
        };
        behaves && matches!(case["behaviorClose"].as_str(), Some("OK" | "INFORMATIONAL"))
    };
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(name, case)| !fine(name, case))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
