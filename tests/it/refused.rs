//! A change that is refused leaves nothing behind: no row, no event, and no lock on the database.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn after_a_refused_change_other_programs_can_use_the_database() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("notes").await;
    let document = ada.makes_document(&root, json!(0)).await;
    let before = ada.get(&format!("/documents/{document}")).await;

    bob.put(&format!("/documents/{document}"), json!({ "data": 1 }))
        .await
        .is_problem(404, "not-found");

    // Made through a connection of its own, as `roomcast user add` does beside a running server.
    app.administrator("root").await;
    let after = ada.get(&format!("/documents/{document}")).await;
    assert_eq!(after.json, before.json);
    assert_eq!(after.cursor(), before.cursor());
}
