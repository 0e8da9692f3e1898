//! Tokens open every door, in the header and in the query; bad ones open none, whatever else is shown; and none is ever
//! written down.

use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::jwt::{SECRET, claims, signed, token};
use crate::support::{
    Answer, PASSWORD, Person, Program, Shown, TestApp, Way, eventually, roomcast, run,
};

const HOUR: i64 = 3_600_000;

/// A server that takes tokens.
pub(crate) async fn app() -> TestApp {
    TestApp::start_with(|config| config.token_secret = Some(SECRET.into())).await
}

/// Everything that somebody can be refused at: the API and both transports.
async fn at_every_door(person: &Person) -> Vec<Answer> {
    let me = person.builder(Method::GET, "/api/v1/auth/me");
    let mut answers = vec![Person::send(me).await];
    for way in Way::BOTH {
        answers.push(person.is_refused(way, "channel=global").await);
    }
    answers
}

#[tokio::test]
async fn a_token_opens_every_door_in_the_header_and_in_the_query() {
    let app = app().await;
    let ada = app.person("ada").await;
    let root = app.administrator("root").await;
    let further = json!({ "name": "Somebody else" });
    for (sub, name, admin) in [
        // Users of ours are what their rows say; everybody else is what the token says.
        (&*ada.id, "ada", false),
        (&*root.id, "root", true),
        ("app~7", "Somebody else", false),
    ] {
        for shown in Shown::BOTH {
            let holder = app.nobody().with_token(shown, &token(sub, HOUR, &further));
            assert_eq!(
                holder.get("/auth/me").await.is(200).json,
                json!({ "id": sub, "username": name, "admin": admin })
            );
            for way in Way::BOTH {
                let client = holder.listens(way, "").await;
                assert_eq!(
                    client.welcome()["user"],
                    json!({ "id": sub, "name": name, "admin": admin })
                );
                assert!(client.is_in(&format!("user:{sub}")) && client.is_in("global"));
                assert_eq!(client.is_in("admin"), admin);
            }
        }
    }
    // Without a name the id is the name.
    let holder = app.nobody();
    let holder = holder.with_token(Shown::Header, &token("app~7", HOUR, &json!({})));
    assert_eq!(holder.get("/auth/me").await.json["username"], "app~7");
    // Whoever has rights by an account has them by a token too.
    let holder = app
        .nobody()
        .with_token(Shown::Header, &token(&ada.id, HOUR, &json!({})));
    let root = holder.makes_root("notes").await;
    holder.makes_document(&root, json!(1)).await;
    ada.sse(&format!("channel=document:{root}")).await;
}

#[tokio::test]
async fn a_bad_token_opens_no_door_not_even_beside_a_good_cookie() {
    let app = app().await;
    let ada = app.person("ada").await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let good = json!({ "sub": ada.id, "exp": now + 3_600 });
    let good = |header: &Value| signed(SECRET, header, &good.to_string());
    let with = |further: Value| token(&ada.id, HOUR, &further);
    let many: Vec<String> = (0..200).map(|n| format!("a:{n}")).collect();
    let unsigned = good(&json!({ "alg": "none" }));
    let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
    let doubled = format!(r#"{{"sub":"{}","sub":"root","exp":{}}}"#, ada.id, now + 60);
    for bad in [
        unsigned.to_owned(),
        good(&json!({ "alg": "none" })),
        good(&json!({ "alg": "RS256", "typ": "JWT" })),
        good(&json!({ "alg": "HS256", "kid": "../../dev/null" })),
        good(&json!({ "alg": "HS256", "crit": ["exp"] })),
        signed(
            "the secret from before the rotation, long enough",
            &header,
            &format!(r#"{{"sub":"{}","exp":{}}}"#, ada.id, now + 60),
        ),
        signed(SECRET, &header, &json!({ "sub": ada.id }).to_string()),
        signed(SECRET, &header, &json!({ "exp": now + 60 }).to_string()),
        signed(SECRET, &header, &doubled),
        signed(SECRET, &header, "[]"),
        signed(SECRET, &header, "no JSON"),
        token(&ada.id, 0, &json!({})),
        token(&ada.id, -1_000, &json!({})),
        with(json!({ "exp": 9999 })),
        with(json!({ "exp": "never" })),
        with(json!({ "nbf": now + 60 })),
        with(json!({ "aud": "another server" })),
        with(json!({ "sub": "../root" })),
        with(json!({ "name": "a\u{202e}b" })),
        with(json!({ "channels": ["*"] })),
        with(json!({ "channels": ["document:*"] })),
        with(json!({ "channels": ["socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11"] })),
        with(json!({ "channels": many })),
        with(json!({ "channels": "global" })),
        with(json!({ "padding": "x".repeat(8 * 1024) })),
        with(json!({ "roomcast:session": "0".repeat(64) })),
        "abc".to_owned(),
    ] {
        for shown in Shown::BOTH {
            for answer in at_every_door(&ada.with_token(shown, &bad)).await {
                let answer = answer.is_problem(401, "unauthorized");
                let said = answer.json.to_string();
                let parts = bad.split('.').filter(|part| part.len() > 3);
                for part in parts {
                    assert!(!said.contains(part), "{said}");
                }
            }
        }
    }
    let empty = ada.with_token(Shown::Query, "");
    for answer in at_every_door(&empty).await {
        answer.is_problem(401, "unauthorized");
    }
    ada.get("/auth/me").await.is(200);
}

#[tokio::test]
async fn a_token_wins_over_a_cookie_and_is_never_mixed_with_it() {
    let app = TestApp::start_with(|config| {
        config.token_secret = Some(SECRET.into());
        config.api_key = Some("a key that only back ends know, 32 bytes".into());
    })
    .await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let of_bob = token(&bob.id, HOUR, &json!({}));
    for shown in Shown::BOTH {
        let both = ada.with_token(shown, &of_bob);
        assert_eq!(both.get("/auth/me").await.json["username"], "bob");
        for way in Way::BOTH {
            let client = both.listens(way, "").await;
            assert_eq!(client.welcome()["user"]["name"], "bob");
            assert!(!client.is_in(&format!("user:{}", ada.id)));
        }
        // Ada's login has no part in it: it neither makes tokens for bob nor ends his connections.
        for path in ["/auth/token", "/auth/logout"] {
            both.post(path, json!({}))
                .await
                .is_problem(403, "forbidden");
        }
    }
    let mut of_bobs = ada.with_token(Shown::Header, &of_bob).ws("").await;
    ada.post("/auth/logout", json!({})).await.is(204);
    assert!(of_bobs.so_far().await.is_empty());

    let twice = bob.with_token(Shown::Header, &of_bob);
    for path in ["/api/v1/auth/me", "/sse/events"] {
        let request = twice.builder(Method::GET, &format!("{path}?token={of_bob}"));
        let answer = Person::send(request).await;
        answer.is_problem(400, "invalid-request");
    }
    // The API key is for headers, and no token.
    let key = "a%20key%20that%20only%20back%20ends%20know,%2032%20bytes";
    for answer in at_every_door(&bob.with_token(Shown::Query, key)).await {
        answer.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn without_a_secret_no_token_is_taken_and_none_is_made() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for shown in Shown::BOTH {
        let holder = ada.with_token(shown, &token(&ada.id, HOUR, &json!({})));
        for answer in at_every_door(&holder).await {
            let answer = answer.is_problem(401, "unauthorized");
            let detail = answer.json["detail"].as_str().unwrap();
            assert!(detail.contains("takes no tokens"), "{detail}");
        }
    }
    let answer = ada.post("/auth/token", json!({})).await;
    let answer = answer.is_problem(403, "forbidden");
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(detail.contains("ROOMCAST_TOKEN_SECRET"), "{detail}");
}

#[tokio::test]
async fn a_login_makes_tokens_that_end_with_it() {
    let app = app().await;
    let ada = app.person("ada").await;
    let made = ada.post("/auth/token", json!({})).await.is(201);
    let token = made.json["token"].as_str().unwrap();
    let read = claims(token);
    assert_eq!(read["sub"], ada.id);
    let left = read["exp"].as_i64().unwrap() - time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((3_590..=3_601).contains(&left), "{left}");
    let holder = app.nobody().with_token(Shown::Query, token);
    assert_eq!(holder.get("/auth/me").await.json["username"], "ada");
    holder
        .post("/auth/token", json!({}))
        .await
        .is_problem(403, "forbidden");
    app.nobody()
        .post("/auth/token", json!({}))
        .await
        .is_problem(401, "unauthorized");
    for ttl in [json!(0), json!(86_401), json!(-1), json!("1h"), json!(1.5)] {
        ada.post("/auth/token", json!({ "ttlSeconds": ttl }))
            .await
            .is_problem(400, "invalid-body");
    }
    for ttl in [1, 86_400] {
        ada.post("/auth/token", json!({ "ttlSeconds": ttl }))
            .await
            .is(201);
    }

    let mut clients = Vec::new();
    for way in Way::BOTH {
        clients.push(holder.listens(way, "").await);
    }
    ada.post("/auth/logout", json!({})).await.is(204);
    for client in &mut clients {
        let (disconnect, code) = client.end().await;
        assert_eq!(disconnect["code"], "session-ended");
        assert!(code.is_none_or(|code| code == 4401));
    }
    for answer in at_every_door(&holder).await {
        answer.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn who_has_no_account_here_owns_nothing_here() {
    let app = app().await;
    let holder = app
        .nobody()
        .with_token(Shown::Header, &token("app~7", HOUR, &json!({})));
    for (path, body) in [
        ("/groups", json!({ "name": "writers" })),
        ("/document-roots", json!({ "name": "notes" })),
    ] {
        holder.post(path, body).await.is_problem(403, "forbidden");
        assert_eq!(holder.get(path).await.is(200).json["items"], json!([]));
    }
    holder
        .patch("/users/app~7", json!({ "username": "x" }))
        .await
        .is(404);
}

#[tokio::test]
async fn addresses_are_told_to_nobody_else() {
    let app = app().await;
    for path in [
        "/livez",
        "/api/v1/auth/me",
        "/sse/events",
        "/ws",
        "/nothing",
    ] {
        let answer = Person::send(app.nobody().builder(Method::GET, path)).await;
        assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{path}");
    }
}

#[tokio::test]
async fn the_program_makes_tokens_that_its_server_takes() {
    let folder = tempfile::tempdir().unwrap();
    let secret = ("ROOMCAST_TOKEN_SECRET", SECRET);
    let make = async |args: &[&str], environment: &[(&str, &str)]| {
        let args = [&["token"], args].concat();
        run(roomcast(folder.path(), &args, environment), "").await
    };
    let listen = ("ROOMCAST_LISTEN", "127.0.0.1:0");
    let server = Program::start(roomcast(folder.path(), &["serve"], &[listen, secret])).await;
    let args = [
        "--user",
        "app~7",
        "--ttl",
        "2h",
        "--name",
        "Ada L.",
        "--channel",
        "order:1",
        "--channel",
        "order:2",
    ];
    let (status, said, complaint) = make(&args, &[secret]).await;
    assert_eq!((status, &*complaint), (Some(0), ""));
    let read = claims(said.trim());
    assert_eq!(read["channels"], json!(["order:1", "order:2"]));
    let holder = server.nobody().with_token(Shown::Query, said.trim());
    let ws = holder.ws("channel=order:1&channel=presence:order:2").await;
    assert_eq!(ws.welcome["user"]["name"], "Ada L.");

    for (args, environment, status, expected) in [
        (
            &["--user", "ada"][..],
            &[][..],
            78,
            "ROOMCAST_TOKEN_SECRET is not set",
        ),
        (&["--user", "a b"], &[secret], 2, "is no user id"),
        (&[], &[secret], 2, "--user"),
        (
            &["--user", "ada", "--ttl", "1"],
            &[secret],
            2,
            "is not a duration",
        ),
        (
            &["--user", "ada", "--channel", "*"],
            &[secret],
            2,
            "not a channel name",
        ),
        (
            &["--user", "ada", "--name", ""],
            &[secret],
            1,
            "\"name\" is not accepted",
        ),
    ] {
        let (ended, said, complaint) = make(args, environment).await;
        assert_eq!((ended, &*said), (Some(status), ""), "{args:?}: {complaint}");
        assert!(complaint.contains(expected), "{args:?}: {complaint}");
        assert!(!complaint.contains(SECRET), "{complaint}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| !entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("roomcast.db"))
            .count(),
        0,
        "making a token makes nothing else"
    );
}

#[tokio::test]
async fn no_token_is_ever_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let key = "a key that only back ends know, 32 bytes";
    let mut command = roomcast(
        folder.path(),
        &["serve"],
        &[
            ("ROOMCAST_LISTEN", "127.0.0.1:0"),
            ("ROOMCAST_TOKEN_SECRET", SECRET),
            ("ROOMCAST_API_KEY", key),
            // Nothing that is asked for makes the WebSocket library say what it reads.
            (
                "RUST_LOG",
                "trace,tungstenite=trace,tungstenite::protocol=trace",
            ),
            ("ROOMCAST_REGISTRATION", "open"),
        ],
    );
    let file = std::fs::File::create(&log).unwrap();
    let server = Program::start_logging(&mut command, Stdio::from(file)).await;
    let mut ada = server.nobody();
    ada.register("ada").await;
    ada.log_in("ada").await;
    let made = ada.post("/auth/token", json!({})).await.is(201);
    let made = made.json["token"].as_str().unwrap().to_owned();
    let (good, other) = (
        token(&ada.id, HOUR, &json!({})),
        token(&ada.id, HOUR, &json!({ "nbf": 1 })),
    );
    let (ended, foreign) = (
        token(&ada.id, -HOUR, &json!({})),
        signed(
            "another secret, which is not this server's",
            &json!({ "alg": "HS256" }),
            "{}",
        ),
    );
    for shown in Shown::BOTH {
        for shown_token in [&made, &good] {
            let holder = server.nobody().with_token(shown, shown_token);
            holder.get("/auth/me").await.is(200);
            holder.get("/users?limit=x").await.is(400);
            holder.sse("channel=global").await;
            let mut ws = holder.ws("channel=global").await;
            for renewed in [&other, &ended, &foreign] {
                ws.call(json!({ "type": "token", "token": renewed })).await;
            }
            ws.call(json!({ "type": "token", "token": [good] })).await;
            ws.send_text(format!("{{\"type\":\"token\",\"token\":\"{good}\""))
                .await;
            ws.so_far().await;
        }
        for bad in [&ended, &foreign, &key.replace(' ', "%20")] {
            for answer in at_every_door(&ada.with_token(shown, bad)).await {
                answer.is(401);
            }
        }
    }
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
    let mut logged = String::new();
    eventually("the log is there", async || {
        logged = std::fs::read_to_string(&log).unwrap();
        logged.contains("shutting down")
    })
    .await;
    assert!(
        logged.contains("TRACE") && logged.contains("/sse/events"),
        "it was not traced"
    );
    for secret in [
        &*made, &good, &other, &ended, &foreign, SECRET, key, PASSWORD,
    ] {
        // The signature alone would do for whoever guesses the rest.
        for part in secret
            .split('.')
            .filter(|part| part.len() > 20 || !secret.contains('.'))
        {
            let head = part.starts_with("eyJ0eX") || part.starts_with("eyJhbG");
            assert!(head || !logged.contains(part), "{part} was logged");
        }
    }
}

#[tokio::test]
async fn a_credential_that_is_empty_or_oddly_written_is_not_passed_over_for_a_cookie() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    for shown in ["Bearer", "bearer ", "Bearer\tx"] {
        let request = ada.builder(Method::GET, "/api/v1/auth/me");
        let answer = Person::send(request.header("authorization", shown)).await;
        answer.is_problem(401, "unauthorized");
    }
    let request = ada.builder(Method::GET, "/api/v1/auth/me");
    let of_a_proxy = request.header("authorization", "Basic eDp5");
    Person::send(of_a_proxy).await.is(200);
}
