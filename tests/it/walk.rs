//! The walk through the product: two people, both transports, one change, and a restart in between.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_change_reaches_both_transports_at_once_except_the_socket_that_asked() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!("one")).await;
    ada.lets(&bob, "read", &root).await;
    let channel = format!("channel=document:{root}");
    let (mut own, mut other) = (ada.ws(&channel).await, ada.ws(&channel).await);
    let mut stream = bob.sse(&channel).await;

    let cursor = ada
        .at(own.id())
        .changes(&document, json!({ "text": "two" }))
        .await;

    let frame = other.next_event().await;
    assert_eq!(frame["event"], "changed-document");
    assert_eq!(frame["channel"], json!(format!("document:{root}")));
    assert_eq!(frame["data"]["id"], json!(document));
    assert_eq!(frame["data"]["data"], json!({ "text": "two" }));
    assert_eq!(frame["cursor"], json!(cursor));
    assert_eq!(stream.next_event().await, frame);
    assert_eq!(stream.last_id, Some(cursor));
    assert!(own.so_far().await.is_empty());
}

#[tokio::test]
async fn each_client_resumes_on_the_other_transport_after_a_restart() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let channel = format!("channel=document:{root}");
    let (ws, sse) = (ada.ws(&channel).await, ada.sse(&channel).await);
    let (ws_cursor, sse_cursor) = (ws.welcome["cursor"].clone(), sse.last_id.clone().unwrap());
    for n in 1..=700 {
        ada.changes(&document, json!(n)).await;
    }
    let folder = app.stop().await;

    let app = TestApp::start_in(folder, |_| {}).await;
    let mut ada = app.nobody();
    ada.log_in("ada").await;
    let mut sse = ada
        .sse(&format!(
            "{channel}&lastEventId={}",
            ws_cursor.as_str().unwrap()
        ))
        .await;
    let mut ws = ada.ws(&format!("{channel}&cursor={sse_cursor}")).await;
    for welcome in [&sse.welcome, &ws.welcome] {
        assert_eq!(welcome["recovered"], json!(true));
        assert_eq!(welcome["cursor"], ws_cursor);
    }
    for n in 1..=700 {
        assert_eq!(sse.next_event().await["data"]["data"], json!(n));
        assert_eq!(ws.next_event().await["data"]["data"], json!(n));
    }
    ada.changes(&document, json!("live")).await;
    assert_eq!(sse.next_event().await["data"]["data"], json!("live"));
    assert_eq!(ws.next_event().await["data"]["data"], json!("live"));
}
