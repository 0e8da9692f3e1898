//! What administrators see: how many are where, told as it changes and listed in pages, and ending a connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Person, TestApp, Way, WsClient};

/// Reads on until `connected-clients` of a channel has said so of a room; returns all that was said meanwhile.
async fn hears(client: &mut WsClient, channel: &str, room: &str, size: u64) -> Vec<Value> {
    let mut said = Vec::new();
    loop {
        let frame = client.next_event().await;
        if frame["event"] == "connected-clients" && frame["channel"] == channel {
            said.push(frame["data"].clone());
            let rooms = frame["data"]["rooms"].as_array().unwrap();
            if rooms.contains(&json!([room, size])) {
                return said;
            }
        }
    }
}

async fn counting(person: &Person, query: &str) -> WsClient {
    let mut client = WsClient::connect_silently(person.address, query, person.cookie.as_deref())
        .await
        .unwrap();
    client.hears_counts = true;
    client.welcome = client.next().await;
    client
}

#[tokio::test]
async fn administrators_hear_all_sizes_and_then_each_change() {
    let app = TestApp::start().await;
    let (ada, root) = (app.person("ada").await, app.administrator("root").await);
    let notes = ada.makes_root("Notes").await;
    let channel = format!("document:{notes}");
    let mut page = ada.ws(&format!("channel={channel}")).await;
    let mut watch = counting(&root, "").await;
    let full = watch.next_event().await;
    assert_eq!(
        (&full["event"], &full["channel"]),
        (&json!("connected-clients"), &json!("admin"))
    );
    assert!(full.get("cursor").is_none());
    assert_eq!(full["data"]["type"], "full");
    let rooms = full["data"]["rooms"].as_array().unwrap();
    assert!(rooms.contains(&json!([channel, 1])), "{full}");
    assert!(
        rooms.contains(&json!([format!("user:{}", ada.id), 1])),
        "{full}"
    );

    let second = ada.sse(&format!("channel={channel}")).await;
    let said = hears(&mut watch, "admin", &channel, 2).await;
    assert!(said.iter().all(|data| data["type"] == "update"), "{said:?}");
    drop(second);
    hears(&mut watch, "admin", &channel, 1).await;
    page.leaves(&channel).await;
    hears(&mut watch, "admin", &channel, 0).await;
    // Nobody else hears of other rooms.
    page.hears_counts = true;
    assert!(
        page.so_far()
            .await
            .iter()
            .all(|frame| frame["channel"] != "admin")
    );
}

#[tokio::test]
async fn a_room_hears_how_many_it_is_at_most_once_a_second() {
    let app = TestApp::start().await;
    let (ada, root) = (app.person("ada").await, app.administrator("root").await);
    let notes = ada.makes_root("Notes").await;
    let channel = format!("document:{notes}");
    let begin = Instant::now();
    let mut page = counting(&ada, &format!("channel={channel}")).await;
    hears(&mut page, &channel, &channel, 1).await;
    let mut watch = counting(&root, "").await;
    let mut others = Vec::new();
    for size in 2..=34 {
        others.push(ada.ws(&format!("channel={channel}")).await);
        if size % 10 == 0 {
            others.clear();
        }
    }
    let last = others.len() as u64 + 1;
    let said = hears(&mut page, &channel, &channel, last).await;
    let seconds = begin.elapsed().as_secs() as usize + 1;
    assert!(said.len() <= seconds, "{} in {seconds} s", said.len());
    let said = hears(&mut watch, "admin", &channel, last).await;
    let tenths = (begin.elapsed().as_millis() / 100) as usize + 1;
    assert!(said.len() <= tenths, "{} in {tenths} tenths", said.len());
}

#[tokio::test]
async fn rooms_are_filtered_sorted_and_paged() {
    let app = TestApp::start().await;
    let (ada, root) = (app.person("ada").await, app.administrator("root").await);
    let mut pages = Vec::new();
    for n in 0..7 {
        let channels: Vec<String> = (0..=n)
            .map(|room| format!("channel=presence:r{room}"))
            .collect();
        pages.push(ada.ws(&channels.join("&")).await);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/admin/rooms?kind=presence&limit=3&after={after}");
        let page = root.get(&path).await.is(200).json;
        assert_eq!(page["total"], 7);
        for room in page["items"].as_array().unwrap() {
            assert_eq!(room["members"], 1);
            seen.push((
                room["channel"].as_str().unwrap().to_owned(),
                room["connections"].clone(),
            ));
        }
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let expected: Vec<_> = (0..7)
        .map(|n| (format!("presence:r{n}"), json!(7 - n)))
        .collect();
    assert_eq!(seen, expected);
    let found = root.get("/admin/rooms?search=:r3").await.is(200).json;
    assert_eq!(
        found["items"][0],
        json!({ "channel": "presence:r3", "connections": 4, "members": 1 })
    );
    let by_name = root.get("/admin/rooms?sort=channel").await.is(200).json;
    let names: Vec<_> = by_name["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|room| room["channel"].to_string())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    root.get("/admin/rooms?sort=colour")
        .await
        .is_problem(400, "invalid-query");
    root.get("/admin/rooms?limit=0")
        .await
        .is_problem(400, "invalid-query");
    ada.get("/admin/rooms").await.is_problem(403, "forbidden");
    ada.get("/admin/connections")
        .await
        .is_problem(403, "forbidden");
    app.nobody()
        .get("/admin/rooms")
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn connections_are_found_and_ended() {
    let app = TestApp::start().await;
    let (zoe, tom) = (app.person("zoe").await, app.person("tom").await);
    let root = app.administrator("root").await;
    let mut by_way = BTreeMap::new();
    for (name, way) in [("websocket", Way::WebSocket), ("sse", Way::Sse)] {
        by_way.insert(name, zoe.listens(way, "channel=presence:lobby").await);
    }
    let _other = tom.ws("").await;
    for (name, client) in &by_way {
        let path = format!("/admin/connections?user={}&transport={name}", zoe.id);
        let found = root.get(&path).await.is(200).json;
        assert_eq!(found["total"], 1);
        let item = &found["items"][0];
        assert_eq!(item["socket"], client.id());
        assert_eq!(item["user"]["name"], "zoe");
        assert_eq!(item["address"], "127.0.0.1");
        assert!(
            item["channels"]
                .as_array()
                .unwrap()
                .contains(&json!("presence:lobby"))
        );
        assert!(item["since"].is_string() && item["waitingBytes"].is_number());
    }
    for query in ["transport=ws", "sort=age"] {
        root.get(&format!("/admin/connections?{query}"))
            .await
            .is_problem(400, "invalid-query");
    }
    for (query, total) in [
        ("", 3),
        ("channel=presence:lobby", 2),
        ("channel=presence:nowhere", 0),
        ("search=ZO", 2),
        ("search=tom", 1),
        ("search=127.0.0", 3),
        ("sort=name", 3),
        ("sort=-waiting", 3),
    ] {
        let found = root
            .get(&format!("/admin/connections?{query}"))
            .await
            .is(200)
            .json;
        assert_eq!(found["total"], total, "{query}");
    }
    root.get("/admin/connections?channel=x")
        .await
        .is_problem(400, "invalid-channel");

    let stays = by_way["sse"].id().to_owned();
    for (name, mut client) in by_way {
        let path = format!("/admin/connections/{}", client.id());
        zoe.delete(&path).await.is_problem(403, "forbidden");
        root.delete(&path).await.is(204);
        let (disconnect, code) = client.end().await;
        assert_eq!(disconnect["code"], "removed", "{name}");
        assert_eq!(disconnect["reconnect"], false);
        assert!(code.is_none_or(|code| code == 4403));
    }
    crate::support::eventually("both are gone", async || app.app.registry().counts().0 == 1).await;
    root.delete(&format!("/admin/connections/{stays}"))
        .await
        .is_problem(404, "not-found");
    root.delete("/admin/connections/nonsense")
        .await
        .is_problem(404, "not-found");
}

/// Ten thousand connections: a page of each list comes while a busy room is served as before.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_are_listed_without_stopping_delivery() {
    use roomcast::realtime::connection::Transport;
    use roomcast::realtime::registry::{Access, Arrival, Membership};
    use roomcast::realtime::{Channel, User, UserId};
    let app = TestApp::start_with(|config| {
        config.max_connections_per_user = 20_000;
        config.max_connections_per_ip = 20_000;
    })
    .await;
    let root = app.administrator("root").await;
    let registry = app.app.registry();
    let mut held = Vec::new();
    for n in 0..10_000 {
        let id = UserId::parse(&format!("u{n}")).unwrap();
        let user = User {
            id,
            name: format!("u{n}").into(),
            admin: false,
        };
        let automatic = |channel| (channel, Membership::automatic(Access::Read));
        let own = Channel::user(&user.id);
        let room: Channel = format!("document:{}", n % 500).parse().unwrap();
        let arrival = Arrival {
            access_version: registry.access_version(Some(&user.id)),
            user: Some(user),
            session: None,
            socket: None,
            transport: Transport::WebSocket,
            address: None,
            channels: vec![
                automatic(Channel::global()),
                automatic(own),
                automatic(room),
            ],
            resume: None,
        };
        held.push(registry.connect(arrival).unwrap().handle);
    }
    let mut page = root.ws("channel=document:1").await;
    for query in [
        "rooms?limit=100",
        "rooms?search=document&sort=channel",
        "connections?sort=name",
        "connections?search=u77",
    ] {
        let before = Instant::now();
        let found = root.get(&format!("/admin/{query}")).await.is(200).json;
        assert!(
            found["total"].as_u64().unwrap() > 100
                && !found["items"].as_array().unwrap().is_empty()
        );
        println!("{query}: {:?}", before.elapsed());
        app.says("document:1", "note", "1").await;
        assert_eq!(page.next_event().await["event"], "note");
    }
    drop(held);
    tokio::time::timeout(Duration::from_secs(20), app.stop())
        .await
        .unwrap();
}
