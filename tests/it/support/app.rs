//! A server of its own for each test, in this process, on a port of its own, with a database of its own.

use std::net::SocketAddr;

use axum::Router;
use roomcast::config::{Config, Registration, Secret};
use roomcast::realtime::{Data, Event};
use roomcast::{Roomcast, accounts, server};

use super::Person;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";

/// The API key, of servers that have one.
pub(crate) const API_KEY: &str = "a key of 32 bytes, for tests only";

/// A running server. It ends with the test.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) app: Roomcast,
    pub(crate) folder: tempfile::TempDir,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    /// With an API key, and the back end that has it.
    pub(crate) async fn start_with_key() -> (Self, Person) {
        let app = Self::start_with(Self::has_key).await;
        let back_end = app.back_end();
        (app, back_end)
    }

    /// The setting of the API key.
    pub(crate) fn has_key(config: &mut Config) {
        config.api_key = Some(Secret::new(API_KEY));
    }

    /// Whoever has the API key.
    pub(crate) fn back_end(&self) -> Person {
        self.nobody().showing(API_KEY)
    }

    /// On a database that is there already.
    pub(crate) async fn start_in(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::open(folder, change, Roomcast::router).await
    }

    /// With the routes of somebody else's application beside ours.
    pub(crate) async fn start_beside(routes: Router) -> Self {
        let beside = |app: &Roomcast| app.router().merge(app.notifying(routes));
        Self::open(tempfile::tempdir().unwrap(), |_| {}, beside).await
    }

    async fn open(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
        router: impl FnOnce(&Roomcast) -> Router,
    ) -> Self {
        let mut config = Config {
            database_url: format!("sqlite://{}", folder.path().join("test.db").display()),
            registration: Registration::Open,
            messages_per_second: 1_000_000,
            logins_per_second: 1_000_000,
            // So few that what is missed comes from memory, from the disk, and from both in turn.
            recent_events: 16,
            ..Config::default()
        };
        change(&mut config);
        let app = Roomcast::open(config).await.unwrap();
        let listener = server::listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (router, serving) = (router(&app), app.clone());
        tokio::spawn(async move { server::serve(&serving, listener, router).await });
        Self {
            address,
            app,
            folder,
        }
    }

    /// Shuts down as SIGTERM does, and gives the database back.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.app.stop();
        assert!(self.app.wait().await, "something did not end in time");
        self.folder
    }

    /// Tells a channel so many things at once: `note` events with the numbers from 0 on.
    pub(crate) async fn tells(&self, channel: &str, count: u64) {
        let (mut turn, mut events) = (self.app.log().begin().await.unwrap(), Vec::new());
        for n in 0..count {
            events.push(note(channel, &n));
            // A statement has a bound on its parameters.
            if events.len() == 500 {
                turn.commit(std::mem::take(&mut events)).await.unwrap();
                turn = self.app.log().begin().await.unwrap();
            }
        }
        turn.commit(events).await.unwrap();
    }

    /// Tells a channel something as if it were long ago.
    pub(crate) async fn tells_at(&self, channel: &str, time: time::OffsetDateTime) {
        self.app
            .log()
            .append(Event {
                time,
                ..note(channel, &"old")
            })
            .await
            .unwrap();
    }

    /// Somebody who is not logged in.
    pub(crate) fn nobody(&self) -> Person {
        Person::nobody(self.address)
    }

    /// Somebody new, logged in.
    pub(crate) async fn person(&self, name: &str) -> Person {
        Person::somebody(self.address, name).await
    }

    /// Somebody new, logged in, who is an administrator.
    pub(crate) async fn administrator(&self, name: &str) -> Person {
        accounts::add(self.app.config(), name, true, PASSWORD.to_owned())
            .await
            .unwrap();
        let mut person = self.nobody();
        person.log_in(name).await;
        person
    }

    /// Puts an event into the log that no request caused, and says where it stands.
    pub(crate) async fn says(&self, channel: &str, name: &str, data: &str) -> String {
        let event = Event {
            channels: [channel.parse().unwrap()].into(),
            name: name.parse().unwrap(),
            data: Data::parse(data).unwrap(),
            origin: None,
            except: [].into(),
            by: None,
            time: time::OffsetDateTime::now_utc(),
            position: None,
        };
        self.app.log().append(event).await.unwrap().to_string()
    }

    /// Tells everybody a mark: events come in the order of the log, so what has not come before it does not come.
    pub(crate) async fn marks(&self) -> String {
        let mark = self.app.registry().cursor().to_string();
        self.says("global", "mark", &format!("{mark:?}")).await;
        mark
    }
}

/// A kept event of a channel, by nobody.
pub(crate) fn note(channel: &str, data: &impl serde::Serialize) -> Event {
    Event {
        channels: [channel.parse().unwrap()].into(),
        name: "note".parse().unwrap(),
        data: Data::from_value(data),
        origin: None,
        except: [].into(),
        by: None,
        time: time::OffsetDateTime::now_utc(),
        position: None,
    }
}
