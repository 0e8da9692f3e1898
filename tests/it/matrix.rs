//! Who may do what: every route against every role, with ids that are one's own, somebody else's, of nothing and malformed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, TestApp, Way};

/// The roles, in the order of the columns below.
const ROLES: [&str; 6] = [
    "nobody",
    "stranger",
    "reader",
    "writer",
    "member",
    "administrator",
];

/// Everybody, and what the owner has made for them.
struct World {
    owner: Person,
    people: [Person; 6],
}

/// What the cases are tried on; made anew after each that changed something.
struct Things {
    root: String,
    document: String,
    group: String,
    open_room: String,
    group_room: String,
    said: String,
    said_in_group: String,
}

impl World {
    async fn new(app: &TestApp) -> Self {
        let people = [
            app.nobody(),
            app.person("stranger").await,
            app.person("reader").await,
            app.person("writer").await,
            app.person("member").await,
            app.administrator("administrator").await,
        ];
        Self {
            owner: app.person("owner").await,
            people,
        }
    }

    /// A root that the reader reads, the writer writes, and the member reads by its group; an open chat room where the
    /// reader has said something, and one of the group, where the owner has.
    async fn things(&self) -> Things {
        let [_, _, reader, writer, member, _] = &self.people;
        let owner = &self.owner;
        let root = owner.makes_root("notes").await;
        let document = owner.makes_document(&root, json!(1)).await;
        let group = owner.makes_group("readers").await;
        owner.lets(reader, "read", &root).await;
        owner.lets(writer, "write", &root).await;
        owner.admits(member, &group).await;
        owner.lets_group(&group, "read", &root).await;
        let open_room = owner.makes_room("open", None).await;
        let group_room = owner.makes_room("closed", Some(&group)).await;
        Things {
            said: reader.says(&open_room, "Hello.").await.id(),
            said_in_group: owner.says(&group_room, "Hello.").await.id(),
            root,
            document,
            group,
            open_room,
            group_room,
        }
    }

    /// Puts ids in the places that are named for them.
    fn fill(&self, template: &str, things: &Things, person: &Person) -> String {
        let missing = "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
        let own = if person.id.is_empty() {
            missing
        } else {
            &person.id
        };
        [
            ("{root}", &*things.root),
            ("{document}", &things.document),
            ("{group}", &things.group),
            ("{open room}", &things.open_room),
            ("{group room}", &things.group_room),
            ("{said}", &things.said),
            ("{said in group}", &things.said_in_group),
            ("{own}", own),
            ("{owner}", &self.owner.id),
            ("{stranger}", &self.people[1].id),
            ("{reader}", &self.people[2].id),
            ("{missing}", missing),
            ("{malformed}", "%27%20OR%201=1--"),
        ]
        .iter()
        .fold(template.to_owned(), |filled, (place, id)| {
            filled.replace(place, id)
        })
    }
}

/// A method, a path, a body (`-` for none), and the status for each role. Read by columns, so not formatted.
#[rustfmt::skip]
const ROUTES: [(&str, &str, &str, [u16; 6]); 86] = [
    ("GET", "/auth/me", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/status", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/users", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/users/{own}", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/users/{owner}", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/users/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/users/{malformed}", "-", [401, 404, 404, 404, 404, 404]),
    ("PATCH", "/users/{own}", "{}", [401, 200, 200, 200, 200, 200]),
    ("PATCH", "/users/{own}", r#"{"admin":true}"#, [401, 403, 403, 403, 403, 200]),
    ("PATCH", "/users/{owner}", "{}", [401, 403, 403, 403, 403, 200]),
    ("PATCH", "/users/{missing}", "{}", [401, 403, 403, 403, 403, 404]),
    ("PATCH", "/users/{malformed}", "{}", [401, 403, 403, 403, 403, 404]),
    ("GET", "/groups", "-", [401, 200, 200, 200, 200, 200]),
    ("POST", "/groups", r#"{"name":"new"}"#, [401, 201, 201, 201, 201, 201]),
    ("GET", "/groups/{group}", "-", [401, 404, 404, 404, 200, 200]),
    ("GET", "/groups/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/groups/{malformed}", "-", [401, 404, 404, 404, 404, 404]),
    ("PUT", "/groups/{group}", r#"{"name":"new"}"#, [401, 404, 404, 404, 403, 200]),
    ("PUT", "/groups/{missing}", r#"{"name":"new"}"#, [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/groups/{group}", "-", [401, 404, 404, 404, 403, 204]),
    ("DELETE", "/groups/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("PUT", "/groups/{group}/members/{stranger}", "{}", [401, 404, 404, 404, 403, 204]),
    ("PUT", "/groups/{group}/members/{own}", r#"{"manager":true}"#, [401, 404, 404, 404, 403, 204]),
    ("PUT", "/groups/{group}/members/{missing}", "{}", [401, 404, 404, 404, 403, 404]),
    ("PUT", "/groups/{missing}/members/{own}", "{}", [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/groups/{group}/members/{own}", "-", [401, 404, 404, 404, 204, 404]),
    ("DELETE", "/groups/{group}/members/{owner}", "-", [401, 404, 404, 404, 403, 409]),
    ("DELETE", "/groups/{group}/members/{malformed}", "-", [401, 404, 404, 404, 403, 404]),
    ("GET", "/document-roots", "-", [401, 200, 200, 200, 200, 200]),
    ("POST", "/document-roots", r#"{"name":"new"}"#, [401, 201, 201, 201, 201, 201]),
    ("GET", "/document-roots/{root}", "-", [401, 404, 200, 200, 200, 200]),
    ("GET", "/document-roots/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/document-roots/{malformed}", "-", [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/document-roots/{root}", "-", [401, 404, 403, 204, 403, 403]),
    ("DELETE", "/document-roots/{root}?onBehalfOf=true", "-", [401, 404, 403, 403, 403, 204]),
    ("DELETE", "/document-roots/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/document-roots/{missing}?onBehalfOf=true", "-", [401, 404, 404, 404, 404, 404]),
    ("PUT", "/document-roots/{root}/permissions/users/{stranger}", r#"{"access":"read"}"#, [401, 404, 403, 204, 403, 204]),
    ("PUT", "/document-roots/{root}/permissions/users/{own}", r#"{"access":"write"}"#, [401, 404, 403, 204, 403, 204]),
    ("PUT", "/document-roots/{root}/permissions/users/{missing}", r#"{"access":"read"}"#, [401, 404, 403, 404, 403, 404]),
    ("PUT", "/document-roots/{missing}/permissions/users/{own}", r#"{"access":"read"}"#, [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/document-roots/{root}/permissions/users/{reader}", "-", [401, 404, 403, 204, 403, 204]),
    ("DELETE", "/document-roots/{root}/permissions/users/{stranger}", "-", [401, 404, 403, 404, 403, 404]),
    ("PUT", "/document-roots/{root}/permissions/groups/{group}", r#"{"access":"write"}"#, [401, 404, 403, 404, 403, 204]),
    ("PUT", "/document-roots/{root}/permissions/groups/{malformed}", r#"{"access":"write"}"#, [401, 404, 403, 404, 403, 404]),
    ("DELETE", "/document-roots/{root}/permissions/groups/{group}", "-", [401, 404, 403, 204, 403, 204]),
    ("DELETE", "/document-roots/{root}/permissions/groups/{missing}", "-", [401, 404, 403, 404, 403, 404]),
    ("GET", "/documents", "-", [401, 400, 400, 400, 400, 400]),
    ("GET", "/documents?rootId={root}", "-", [401, 404, 200, 200, 200, 200]),
    ("GET", "/documents?rootId={missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("POST", "/documents", r#"{"rootId":"{root}","type":"text","data":1}"#, [401, 404, 403, 201, 403, 403]),
    ("POST", "/documents", r#"{"rootId":"{missing}","type":"text","data":1}"#, [401, 404, 404, 404, 404, 404]),
    ("GET", "/documents/{document}", "-", [401, 404, 200, 200, 200, 200]),
    ("GET", "/documents/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/documents/{malformed}", "-", [401, 404, 404, 404, 404, 404]),
    ("PUT", "/documents/{document}", r#"{"data":2}"#, [401, 404, 403, 204, 403, 403]),
    ("PUT", "/documents/{document}?onBehalfOf=true", r#"{"data":2}"#, [401, 404, 403, 403, 403, 204]),
    ("PUT", "/documents/{missing}?onBehalfOf=true", r#"{"data":2}"#, [401, 404, 404, 404, 404, 404]),
    ("PUT", "/documents/{malformed}", r#"{"data":2}"#, [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/documents/{document}", "-", [401, 404, 403, 204, 403, 403]),
    ("DELETE", "/documents/{document}?onBehalfOf=true", "-", [401, 404, 403, 403, 403, 204]),
    ("DELETE", "/documents/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/rooms", "-", [401, 200, 200, 200, 200, 200]),
    ("POST", "/rooms", r#"{"name":"new"}"#, [401, 201, 201, 201, 201, 201]),
    ("POST", "/rooms", r#"{"name":"new","groupId":"{group}"}"#, [401, 404, 404, 404, 201, 201]),
    ("POST", "/rooms", r#"{"name":"new","groupId":"{missing}"}"#, [401, 404, 404, 404, 404, 404]),
    ("GET", "/rooms/{open room}", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/rooms/{group room}", "-", [401, 404, 404, 404, 200, 200]),
    ("GET", "/rooms/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/rooms/{malformed}", "-", [401, 404, 404, 404, 404, 404]),
    ("PUT", "/rooms/{open room}", r#"{"name":"new"}"#, [401, 403, 403, 403, 403, 200]),
    ("PUT", "/rooms/{group room}", r#"{"name":"new"}"#, [401, 404, 404, 404, 403, 200]),
    ("DELETE", "/rooms/{open room}", "-", [401, 403, 403, 403, 403, 204]),
    ("DELETE", "/rooms/{group room}", "-", [401, 404, 404, 404, 403, 204]),
    ("DELETE", "/rooms/{missing}", "-", [401, 404, 404, 404, 404, 404]),
    ("GET", "/rooms/{open room}/messages", "-", [401, 200, 200, 200, 200, 200]),
    ("GET", "/rooms/{group room}/messages?before=", "-", [401, 404, 404, 404, 200, 200]),
    ("GET", "/rooms/{malformed}/messages", "-", [401, 404, 404, 404, 404, 404]),
    ("POST", "/rooms/{open room}/messages", r#"{"text":"Hi."}"#, [401, 201, 201, 201, 201, 201]),
    ("POST", "/rooms/{group room}/messages", r#"{"text":"Hi."}"#, [401, 404, 404, 404, 201, 201]),
    ("POST", "/rooms/{missing}/messages", r#"{"text":"Hi."}"#, [401, 404, 404, 404, 404, 404]),
    ("PATCH", "/rooms/{open room}/messages/{said}", r#"{"text":"Hi."}"#, [401, 403, 200, 403, 403, 403]),
    ("PATCH", "/rooms/{group room}/messages/{said in group}", r#"{"text":"Hi."}"#, [401, 404, 404, 404, 403, 403]),
    ("DELETE", "/rooms/{open room}/messages/{said}", "-", [401, 403, 204, 403, 403, 204]),
    ("DELETE", "/rooms/{group room}/messages/{said in group}", "-", [401, 404, 404, 404, 403, 204]),
    ("DELETE", "/rooms/{open room}/messages/{said in group}", "-", [401, 404, 404, 404, 404, 404]),
];

#[tokio::test]
async fn every_route_knows_every_role() {
    let app = TestApp::start().await;
    let world = World::new(&app).await;
    let (mut things, mut wrong) = (world.things().await, Vec::new());
    for (method, path, body, expected) in ROUTES {
        for ((role, person), expected) in ROLES.iter().zip(&world.people).zip(expected) {
            let filled = world.fill(path, &things, person);
            let method: Method = method.parse().unwrap();
            let mut request = person.builder(method.clone(), &format!("/api/v1{filled}"));
            if body != "-" {
                let body: Value = serde_json::from_str(&world.fill(body, &things, person)).unwrap();
                request = request.json(&body);
            }
            let answer = Person::send(request).await;
            if answer.status != expected {
                wrong.push(format!(
                    "{method} {path} {body} by {role}: {} and not {expected}",
                    answer.status
                ));
            }
            if method != Method::GET && answer.status.is_success() {
                things = world.things().await;
            }
            let is_problem = answer
                .headers
                .get("content-type")
                .is_some_and(|of| of == "application/problem+json");
            assert_eq!(
                is_problem,
                answer.status.as_u16() >= 400,
                "{method} {path}: {answer:?}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A channel, and whether each role may be in it. Nobody may be anywhere.
const CHANNELS: [(&str, [bool; 6]); 14] = [
    ("global", [false, true, true, true, true, true]),
    ("user:{own}", [false, true, true, true, true, true]),
    ("user:{owner}", [false, false, false, false, false, true]),
    ("admin", [false, false, false, false, false, true]),
    ("group:{group}", [false, false, false, false, true, true]),
    ("document:{root}", [false, false, true, true, true, true]),
    (
        "document:{missing}",
        [false, false, false, false, false, true],
    ),
    (
        "presence:document:{root}",
        [false, false, true, true, true, true],
    ),
    ("chat:{open room}", [false, true, true, true, true, true]),
    (
        "chat:{group room}",
        [false, false, false, false, true, true],
    ),
    ("chat:{missing}", [false, false, false, false, false, true]),
    (
        "presence:chat:{group room}",
        [false, false, false, false, true, true],
    ),
    ("presence:lobby", [false, true, true, true, true, true]),
    (
        "socket:{missing}",
        [false, false, false, false, false, false],
    ),
];

#[tokio::test]
async fn every_channel_knows_every_role_at_every_door() {
    let app = TestApp::start().await;
    let world = World::new(&app).await;
    let things = world.things().await;
    for (template, expected) in CHANNELS {
        for ((role, person), expected) in ROLES.iter().zip(&world.people).zip(expected) {
            let channel = world.fill(template, &things, person);
            let query = format!("channel={channel}");
            let refused = if *role == "nobody" { 401 } else { 403 };
            for way in Way::ALL {
                if expected {
                    assert!(
                        person.listens(way, &query).await.is_in(&channel),
                        "{template} by {role}"
                    );
                } else {
                    person.is_refused(way, &query).await.is(refused);
                }
            }
            if *role != "nobody" {
                let answer = person
                    .ws("")
                    .await
                    .call(json!({ "type": "join", "channel": channel }))
                    .await;
                let expected = if expected { "ack" } else { "error" };
                assert_eq!(answer["type"], expected, "{template} by {role}: {answer}");
            }
        }
    }
}
