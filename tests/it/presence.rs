//! Who is here: members are users, a reload is no coming and going, and list and changes are of one piece.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::jwt::{SECRET, token};
use crate::support::{Client, Dice, Person, Shown, TestApp, Way, WsClient, eventually};

/// As short as a test wants it, and long enough to reconnect in.
const GRACE: Duration = Duration::from_millis(600);
/// So long that nobody is out by it.
const FOREVER: Duration = Duration::from_secs(600);

async fn start(grace: Duration) -> TestApp {
    TestApp::start_with(|config| {
        config.presence_grace = grace;
        config.max_connections_per_user = 10_000;
    })
    .await
}

/// The names in a list of members.
fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter()
        .map(|member| member["user"]["name"].as_str().unwrap())
        .collect()
}

/// What the next event says of whom.
async fn next(client: &mut WsClient) -> (String, String) {
    let frame = client.next_event().await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&frame["event"]), text(&frame["data"]["user"]["name"]))
}

fn said(event: &str, name: &str) -> (String, String) {
    (event.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_list_and_then_each_change() {
    let app = start(FOREVER).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let mut first = ada.ws("").await;
    let answer = first
        .call(json!({ "type": "join", "channel": "presence:lobby", "meta": { "color": "red" } }))
        .await;
    assert_eq!(answer["type"], "ack", "{answer}");
    assert_eq!(names(&answer["members"]), ["ada"]);
    assert_eq!(answer["members"][0]["meta"], json!({ "color": "red" }));
    assert!(answer["members"][0]["since"].is_string() && answer.get("count").is_none());

    let mut second = bob.ws("").await;
    let answer = second.joins("presence:lobby").await;
    assert_eq!(names(&answer["members"]), ["ada", "bob"]);
    assert_eq!(answer["members"][1]["meta"], json!({}));
    let joined = first.next_event().await;
    assert_eq!(joined["event"], "user-joined");
    assert_eq!(joined["channel"], "presence:lobby");
    assert_eq!(joined["data"], answer["members"][1]);
    assert!(joined.get("cursor").is_none(), "volatile: {joined}");

    let answer = second
        .call(
            json!({ "type": "presence", "channel": "presence:lobby", "meta": { "typing": true } }),
        )
        .await;
    assert_eq!(answer["members"][1]["meta"], json!({ "typing": true }));
    let updated = first.next_event().await;
    assert_eq!(updated["event"], "user-updated");
    assert_eq!(updated["data"], answer["members"][1]);

    second.leaves("presence:lobby").await;
    assert_eq!(next(&mut first).await, said("user-left", "bob"));
    // Of oneself nobody is told what the answers have said.
    assert!(second.so_far().await.is_empty());
}

#[tokio::test]
async fn welcome_has_the_list_on_both_transports() {
    let app = start(FOREVER).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("Notes").await;
    ada.lets(&bob, "read", &root).await;
    let channel = format!("presence:document:{root}");
    let mut watch = ada.ws(&format!("channel={channel}")).await;
    assert_eq!(names(&watch.welcome["presence"][&channel]), ["ada"]);
    for way in Way::BOTH {
        let client = bob.listens(way, &format!("channel={channel}")).await;
        assert_eq!(
            names(&client.welcome()["presence"][&channel]),
            ["ada", "bob"]
        );
        if way == Way::BOTH[0] {
            assert_eq!(next(&mut watch).await, said("user-joined", "bob"));
        }
        drop(client);
    }
    assert!(watch.so_far().await.is_empty());
    let none = ada.ws("").await;
    assert!(none.welcome.get("presence").is_none());
}

#[tokio::test]
async fn three_tabs_are_one_member() {
    let app = start(FOREVER).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let mut watch = ada.ws("channel=presence:lobby").await;
    let mut tabs = Vec::new();
    for way in [Way::WebSocket, Way::Sse, Way::WebSocket] {
        tabs.push(bob.listens(way, "channel=presence:lobby").await);
    }
    assert_eq!(next(&mut watch).await, said("user-joined", "bob"));
    assert!(watch.so_far().await.is_empty());
    let Some(Client::WebSocket(mut last)) = tabs.pop() else {
        panic!("the last tab is a WebSocket");
    };
    last.leaves("presence:lobby").await;
    assert!(watch.so_far().await.is_empty());
    tabs.remove(1);
    eventually("the stream is gone", async || {
        app.app.registry().counts().0 == 3
    })
    .await;
    let Some(Client::WebSocket(mut first)) = tabs.pop() else {
        panic!("the first tab is a WebSocket");
    };
    // Nobody is left to come back for: the last one has said that it goes.
    first.leaves("presence:lobby").await;
    assert_eq!(next(&mut watch).await, said("user-left", "bob"));
}

#[tokio::test]
async fn who_drops_out_has_time_to_come_back() {
    let app = start(GRACE).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let mut watch = ada.ws("channel=presence:lobby").await;
    for way in Way::BOTH {
        let page = bob.listens(way, "channel=presence:lobby").await;
        assert_eq!(next(&mut watch).await, said("user-joined", "bob"));
        drop(page);
        eventually("the page is gone", async || {
            app.app.registry().counts().0 == 1
        })
        .await;
        // A reload: nobody hears of it, and the member is the same.
        let page = bob.listens(way.other(), "channel=presence:lobby").await;
        assert_eq!(
            names(&page.welcome()["presence"]["presence:lobby"]),
            ["ada", "bob"]
        );
        assert!(watch.so_far().await.is_empty());
        drop(page);
        let before = std::time::Instant::now();
        assert_eq!(next(&mut watch).await, said("user-left", "bob"));
        assert!(before.elapsed() > GRACE / 2, "{:?}", before.elapsed());
    }
}

#[tokio::test]
async fn who_is_sent_away_for_good_is_out_at_once() {
    let app = start(FOREVER).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = app.administrator("root").await;
    let mut watch = ada.ws("channel=presence:lobby").await;
    let _page = bob.ws("channel=presence:lobby").await;
    assert_eq!(next(&mut watch).await, said("user-joined", "bob"));
    bob.post("/auth/logout", json!({})).await.is(204);
    assert_eq!(next(&mut watch).await, said("user-left", "bob"));
    let carl = app.person("carl").await;
    let page = carl.ws("channel=presence:lobby").await;
    assert_eq!(next(&mut watch).await, said("user-joined", "carl"));
    root.delete(&format!("/admin/connections/{}", page.id()))
        .await
        .is(204);
    assert_eq!(next(&mut watch).await, said("user-left", "carl"));
}

#[tokio::test]
async fn who_loses_a_document_is_out_of_its_presence_also_while_away() {
    let app = start(FOREVER).await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let root = ada.makes_root("Notes").await;
    let query = format!("channel=presence:document:{root}");
    let mut watch = ada.ws(&query).await;
    for stays in [true, false] {
        ada.lets(&bob, "read", &root).await;
        let mut page = Some(bob.ws(&query).await);
        assert_eq!(next(&mut watch).await, said("user-joined", "bob"));
        if !stays {
            page = None;
            eventually("the page is gone", async || {
                app.app.registry().counts().0 == 1
            })
            .await;
        }
        ada.bars(&bob, &root).await;
        assert_eq!(next(&mut watch).await, said("user-left", "bob"));
        if let Some(mut page) = page {
            assert!(
                page.so_far()
                    .await
                    .iter()
                    .all(|frame| frame["event"] != "user-left")
            );
        }
        bob.get(&format!("/channels/document:{root}/presence"))
            .await
            .is_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn the_list_over_http_is_paged_and_guarded() {
    let app = start(FOREVER).await;
    let ada = app.person("ada").await;
    let mut pages = Vec::new();
    for n in 0..5 {
        let person = app.person(&format!("p{n}")).await;
        pages.push(person.ws("channel=presence:lobby").await);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/channels/presence:lobby/presence?limit=2&after={after}");
        let page = ada.get(&path).await.is(200).json;
        assert_eq!(page["count"], 5);
        seen.extend(names(&page["items"]).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4"]);
    let nothing = ada
        .get("/channels/presence:empty/presence")
        .await
        .is(200)
        .json;
    assert_eq!(nothing, json!({ "items": [], "next": null, "count": 0 }));
    ada.get("/channels/nonsense/presence")
        .await
        .is_problem(400, "invalid-channel");
    ada.get("/channels/admin/presence")
        .await
        .is_problem(403, "forbidden");
    Person::nobody(app.address)
        .get("/channels/presence:lobby/presence")
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn mistakes_are_explained_and_change_nothing() {
    let app = start(FOREVER).await;
    let ada = app.person("ada").await;
    let mut page = ada
        .ws("channel=presence:lobby&channel=presence:there")
        .await;
    for (command, code) in [
        (
            json!({ "type": "presence", "channel": "presence:lobby" }),
            "invalid-message",
        ),
        (json!({ "type": "presence", "meta": {} }), "invalid-message"),
        (
            json!({ "type": "presence", "channel": "global", "meta": {} }),
            "invalid-channel",
        ),
        (
            json!({ "type": "presence", "channel": "presence:else", "meta": {} }),
            "not-joined",
        ),
        (
            json!({ "type": "presence", "channel": "presence:lobby", "meta": "x".repeat(2_100) }),
            "too-large",
        ),
        (
            json!({ "type": "join", "channel": "presence:else", "meta": "x".repeat(2_100) }),
            "too-large",
        ),
        (
            json!({ "type": "publish", "channel": "presence:lobby", "event": "hello" }),
            "forbidden",
        ),
        (
            json!({ "type": "publish", "channel": "presence:lobby", "event": "user-left" }),
            "invalid-event",
        ),
        (
            json!({ "type": "join", "channel": "presence:presence:lobby" }),
            "forbidden",
        ),
    ] {
        let answer = page.call(command.clone()).await;
        assert_eq!(answer["code"], code, "{command}: {answer}");
    }
    let here = ada
        .get("/channels/presence:lobby/presence")
        .await
        .is(200)
        .json;
    assert_eq!(here["items"][0]["meta"], json!({}));
}

#[tokio::test]
async fn which_users_are_online_and_when_they_last_were() {
    let app = start(FOREVER).await;
    let (ada, bob, carl) = (
        app.person("ada").await,
        app.person("bob").await,
        app.person("carl").await,
    );
    let page = bob.sse("").await;
    let asked = json!({ "users": [bob.id, carl.id, "nobody-at-all"] });
    let answer = ada.post("/users/online", asked.clone()).await.is(200).json;
    let of = |answer: &Value, n: usize| {
        let item = answer["items"][n].clone();
        (item["online"].as_bool().unwrap(), item["lastSeen"].clone())
    };
    assert!(of(&answer, 0).0 && of(&answer, 0).1.is_string());
    assert_eq!(of(&answer, 1), (false, Value::Null));
    assert_eq!(of(&answer, 2), (false, Value::Null));
    drop(page);
    eventually("bob is gone, and that is noted", async || {
        let answer = ada.post("/users/online", asked.clone()).await.is(200).json;
        !of(&answer, 0).0 && of(&answer, 0).1.is_string()
    })
    .await;
    let before = ada.post("/users/online", asked.clone()).await.json;
    let (ada, folder) = (ada.clone(), app.stop().await);
    let app = TestApp::start_in(folder, |_| {}).await;
    let after = ada
        .moved_to(app.address)
        .post("/users/online", asked)
        .await
        .json;
    assert_eq!(before, after);
    let many = json!({ "users": vec!["x"; 1_001] });
    let ada = ada.moved_to(app.address);
    ada.post("/users/online", many)
        .await
        .is_problem(400, "invalid-body");
    ada.post("/users/online", json!({ "users": ["a b"] }))
        .await
        .is_problem(400, "invalid-body");
    Person::nobody(app.address)
        .post("/users/online", json!({ "users": [] }))
        .await
        .is_problem(401, "unauthorized");
}

/// Somebody who keeps the list by what it is told.
struct Observer {
    page: Client,
    here: BTreeMap<String, Value>,
}

impl Observer {
    fn new(page: Client) -> Self {
        let list = &page.welcome()["presence"]["presence:lobby"];
        let items = list.as_array().unwrap().iter();
        let here = items
            .map(|member| (id(member), member["meta"].clone()))
            .collect();
        Self { page, here }
    }

    /// Follows what came up to a mark. A change that says nothing new is a mistake.
    async fn follow(&mut self, mark: &str) {
        for frame in self.page.before(mark).await {
            let (member, event) = (&frame["data"], frame["event"].as_str().unwrap());
            let before = match event {
                "user-joined" | "user-updated" => {
                    self.here.insert(id(member), member["meta"].clone())
                }
                "user-left" => self.here.remove(&id(member)),
                _ => continue,
            };
            assert_eq!(
                before.is_none(),
                event == "user-joined",
                "{frame} after {before:?}"
            );
            assert!(
                event != "user-updated" || before.as_ref() != Some(&member["meta"]),
                "{frame}"
            );
        }
    }
}

fn id(member: &Value) -> String {
    member["user"]["id"].as_str().unwrap().to_owned()
}

/// A thousand users come and go at random on both transports; at each quiet point every list is what is true.
#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_true_at_every_quiet_point() {
    const PEOPLE: usize = 1_000;
    let mut dice = Dice(7);
    let mut roll = move |sides: usize| usize::try_from(dice.roll(sides as u64)).unwrap();
    let app = TestApp::start_with(|config| {
        config.presence_grace = GRACE;
        config.max_connections_per_ip = 10_000;
        config.token_secret = Some(SECRET.into());
    })
    .await;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        // Of an application with accounts of its own: nobody has to register.
        let id = format!("app~{n}");
        let mut person = app
            .nobody()
            .with_token(Shown::Query, &token(&id, 3_600_000, &json!({})));
        person.id = id;
        people.push((person, Vec::<Client>::new()));
    }
    let watcher = app.administrator("watcher").await;
    let mut observers = Vec::new();
    for way in Way::BOTH {
        observers.push(Observer::new(
            watcher.listens(way, "channel=presence:lobby").await,
        ));
    }
    for round in 0..3 {
        for step in 0..500 {
            let (person, tabs) = &mut people[roll(PEOPLE)];
            match roll(5) {
                0 | 1 if tabs.len() < 3 => {
                    let way = if roll(2) == 0 {
                        Way::Sse
                    } else {
                        Way::WebSocket
                    };
                    tabs.push(person.listens(way, "channel=presence:lobby").await);
                }
                2 if !tabs.is_empty() => {
                    tabs.swap_remove(roll(tabs.len()));
                }
                3 => {
                    if let Some(Client::WebSocket(page)) = tabs.last_mut() {
                        let meta = json!(step);
                        page.call(json!({ "type": "presence", "channel": "presence:lobby", "meta": meta }))
                            .await;
                    }
                }
                _ => {
                    if let Some(Client::WebSocket(page)) = tabs.last_mut() {
                        page.leaves("presence:lobby").await;
                        tabs.pop();
                    }
                }
            }
        }
        // Another observer that comes in the middle of it all.
        let way = if round % 2 == 0 {
            Way::Sse
        } else {
            Way::WebSocket
        };
        observers.push(Observer::new(
            watcher.listens(way, "channel=presence:lobby").await,
        ));
        let mut truth: Vec<String> = people
            .iter()
            .filter(|(_, tabs)| !tabs.is_empty())
            .map(|(person, _)| person.id.clone())
            .collect();
        truth.push(watcher.id.clone());
        truth.sort();
        eventually("everybody who is gone is out", async || {
            let path = "/channels/presence:lobby/presence?limit=1000";
            watcher.get(path).await.json["count"] == json!(truth.len())
        })
        .await;
        // Changes of `meta` are told within a tenth of a second; one more beat has passed when this one is told.
        let path = "/channels/presence:lobby/presence?limit=1000";
        let list = watcher.get(path).await.is(200).json;
        let expected: BTreeMap<String, Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| (id(member), member["meta"].clone()))
            .collect();
        assert_eq!(expected.keys().cloned().collect::<Vec<_>>(), truth);
        let mut quiet = 0;
        while observers.iter().any(|observer| observer.here != expected) {
            quiet += 1;
            assert!(quiet < 50, "round {round}: a list did not become true");
            let mark = app.marks().await;
            for observer in &mut observers {
                observer.follow(&mark).await;
            }
            tokio::task::yield_now().await;
        }
    }
}
