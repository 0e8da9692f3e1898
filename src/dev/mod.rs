//! `roomcast dev`: demo people and data in a temporary place, and what to try with them.

pub mod reload;

use std::fmt::Write;
use std::net::SocketAddr;

use time::OffsetDateTime;

use crate::accounts;
use crate::app::Roomcast;
use crate::config::{Config, Registration, Secret};
use crate::realtime::registry::Access;
use crate::realtime::{Data, User};
use crate::store::documents::{self, Document};
use crate::store::groups::{self, Group};
use crate::store::messages::{self, Message};
use crate::store::permissions::{self, Holder};
use crate::store::rooms::{self, ChatRoom};
use crate::store::roots::{self, DocumentRoot};
use crate::store::{Db, new_id};

/// The password of every demo user.
pub(crate) const PASSWORD: &str = "roomcast-demo";
/// The demo users; the last one is an administrator.
pub(crate) const PEOPLE: [&str; 3] = ["ada", "bob", "root"];
/// The API key of a demo, if none is set.
const API_KEY: &str = "roomcast-demo-key";

/// The configuration of a demo: everything goes to a folder that is gone afterwards.
///
/// # Errors
/// When it would be reachable from other machines, or the folder cannot be made.
pub fn configure(mut config: Config) -> anyhow::Result<(Config, tempfile::TempDir)> {
    anyhow::ensure!(
        config.listen.ip().is_loopback(),
        "roomcast dev has passwords that everybody knows, so it listens on this machine only\n  example   ROOMCAST_LISTEN=127.0.0.1:3000"
    );
    let folder = tempfile::Builder::new().prefix("roomcast-dev-").tempdir()?;
    config.database_url = format!("sqlite://{}", folder.path().join("dev.db").display());
    (config.registration, config.dev) = (Registration::Open, true);
    config.api_key.get_or_insert_with(|| Secret::new(API_KEY));
    let secret = config.token_secret.take();
    let given = secret.filter(|secret| !secret.expose().is_empty());
    config.token_secret = Some(given.unwrap_or_else(Secret::random));
    Ok((config, folder))
}

/// What the demo has.
#[derive(Debug)]
pub struct Demo {
    root: String,
    document: String,
    room: String,
    /// The demo's own key; one that somebody has set is not shown.
    api_key: &'static str,
}

/// Puts demo people and data into an empty database.
///
/// # Errors
/// When the database fails.
pub async fn fill(app: &Roomcast) -> anyhow::Result<Demo> {
    let mut turn = app.log().begin().await?;
    let db = turn.db();
    let now = OffsetDateTime::now_utc();
    let mut people = Vec::new();
    for name in PEOPLE {
        let admin = name == "root";
        people.push(accounts::insert(db, app.passwords(), name, admin, PASSWORD.to_owned()).await?);
    }
    let group = Group {
        id: new_id(),
        name: "Writers".into(),
    };
    groups::insert(db, &group, now).await?;
    for person in &people[..2] {
        groups::put_member(db, &group.id, &person.id, person.name.as_ref() == "ada").await?;
    }
    let root = DocumentRoot {
        id: new_id(),
        name: "Shared notes".into(),
    };
    roots::insert(db, &root, now).await?;
    permissions::put(
        db,
        new_id(),
        &root.id,
        Holder::Group(&group.id),
        Access::Write,
    )
    .await?;
    let document = Document {
        id: new_id(),
        root_id: root.id.clone(),
        parent_id: None,
        kind: "text".into(),
        data: Data::from_value(&serde_json::json!({ "text": "Hello." })),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    documents::insert(db, &document).await?;
    let room = lobby(db, &people, now).await?;
    turn.commit(Vec::new()).await?;
    let key = app.config().api_key.as_ref();
    let own = key.is_some_and(|key| key.expose() == API_KEY);
    Ok(Demo {
        root: root.id,
        document: document.id,
        room,
        api_key: if own { API_KEY } else { "$ROOMCAST_API_KEY" },
    })
}

/// A chat room in which the first two have greeted each other.
async fn lobby(db: &mut Db, people: &[User], now: OffsetDateTime) -> anyhow::Result<String> {
    let room = ChatRoom {
        id: new_id(),
        name: "Lobby".into(),
        group_id: None,
        owner_id: people[0].id.to_string(),
        created_at: now,
    };
    rooms::insert(db, &room).await?;
    for (person, text) in people.iter().zip(["Hello, Bob.", "Hello, Ada."]) {
        let message = Message {
            id: new_id(),
            room_id: room.id.clone(),
            author_id: person.id.to_string(),
            author_name: person.name.to_string(),
            text: text.into(),
            created_at: now,
            edited_at: None,
        };
        messages::insert(db, &message).await?;
    }
    Ok(room.id)
}

impl Demo {
    /// What to try, with addresses that work.
    pub fn introduction(&self, address: SocketAddr) -> String {
        let (root, document, room, key) = (&self.root, &self.document, &self.room, self.api_key);
        let mut text = format!(
            "\nroomcast {} dev: demo data that is gone when you stop it, on this machine only.\n\
             People: ada, bob and root (administrator), password {PASSWORD}\n\n\
             Open http://{address} in a browser, and once more as somebody else in a private window:\n  \
             a chat, an editor, and as root what happens on the server.\n",
            env!("CARGO_PKG_VERSION")
        );
        let steps = [
            (
                "Log in",
                format!(
                    "curl -sc ada.jar http://{address}/api/v1/auth/login -H 'Content-Type: application/json' -d '{{\"username\":\"ada\",\"password\":\"{PASSWORD}\"}}'"
                ),
            ),
            (
                "Listen, in another terminal",
                format!("curl -sNb ada.jar http://{address}/sse/events/document:{root}"),
            ),
            (
                "Change a document, and see it there",
                format!(
                    "curl -sib ada.jar -X PUT http://{address}/api/v1/documents/{document} -H 'Content-Type: application/json' -d '{{\"data\":{{\"text\":\"Hello, all.\"}}}}'"
                ),
            ),
            (
                "The same over WebSocket",
                format!(
                    "ws://{address}/ws?channel=document:{root}   (with the cookie from ada.jar)"
                ),
            ),
            (
                "Say something in a chat room; whoever listens to chat:, with the same id, hears it",
                format!(
                    "curl -sb ada.jar http://{address}/api/v1/rooms/{room}/messages -H 'Content-Type: application/json' -d '{{\"text\":\"Who is there?\"}}'"
                ),
            ),
            (
                "Publish to who listens to the document, as a back end with the API key does",
                format!(
                    "curl -s http://{address}/api/v1/publish -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' -d '{{\"channels\":[\"document:{root}\"],\"event\":\"note\",\"data\":\"Look here.\"}}'"
                ),
            ),
            (
                "A token for a client without cookies, to be shown as ?token=",
                format!(
                    "curl -sb ada.jar http://{address}/api/v1/auth/token -H 'Content-Type: application/json' -d '{{}}'"
                ),
            ),
        ];
        for (what, how) in steps {
            let _ = write!(text, "\n{what}:\n  {how}\n");
        }
        text
    }
}
