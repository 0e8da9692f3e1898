//! Changes that share a place in the log, or a commit, do not get in each other's way.

use serde_json::json;

use crate::support::{Application, TestApp};

#[tokio::test]
async fn who_was_put_out_and_let_in_again_stays_when_another_change_has_the_same_place() {
    let application = Application::start().await;
    let rules = application.rules("[kinds.order]\njoin = \"ask\"", "");
    let app = TestApp::start_with(|config| {
        TestApp::has_key(config);
        config.rules = rules;
    });
    let app = app.await;
    let (ada, bob, eve) = (
        app.person("ada").await,
        app.person("bob").await,
        app.person("eve").await,
    );
    let group = bob.makes_group("others").await;
    bob.admits(&eve, &group).await;
    application.gives(&ada, "read", "order:7");
    let mut ws = ada.ws("channel=order:7").await;
    // Neither is told, so neither has a place in the log of its own.
    let path = format!("/channels/order:7/members/{}", ada.id);
    app.back_end().delete(&path).await.is(204);
    ws.joins("order:7").await;

    bob.expels(&eve, &group).await;

    app.says("order:7", "after", "1").await;
    app.says(&format!("user:{}", ada.id), "last", "2").await;
    assert_eq!(ws.next_event().await["event"], json!("after"));
}
