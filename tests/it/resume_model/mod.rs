//! Whatever is published, and however often an observer is cut off: it gets what the model says, no more and no less.

mod observer;

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use observer::{Observer, Published};

use crate::support::{Client, Follower, Person, TestApp, Way, WsClient, position};

/// Stories that are played.
const STORIES: u32 = 16;
/// The socket ids that the observers keep: bob's first, then ada's.
const SOCKETS: [&str; 2] = [
    "5ac1e7b0-0000-4000-8000-0000000000b0",
    "5ac1e7b0-0000-4000-8000-0000000000a0",
];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// Bob (0) or ada (1) changes a document of a root, from the socket of an observer or from none.
    Change {
        by: usize,
        root: usize,
        at: Option<usize>,
    },
    /// Ada says something to the group over a WebSocket of her own.
    Say { volatile: bool },
    /// An observer says something to the group, if it is on a WebSocket.
    SayItself {
        observer: usize,
        volatile: bool,
        to_self: bool,
    },
    /// Somebody comes into the group, or goes: bob or carol. The group hears of it, and so does the one.
    Move { bob: bool },
    /// An observer reads some of what it has been sent.
    Read { observer: usize, count: usize },
    /// An observer's line breaks.
    Cut { observer: usize },
    /// It comes back, on any transport.
    Back { observer: usize, way: Way },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..2usize, 0..2usize, prop::option::of(0..2usize)).prop_map(|(by, root, at)| Step::Change { by, root, at }),
        3 => any::<bool>().prop_map(|volatile| Step::Say { volatile }),
        3 => (0..2usize, any::<bool>(), any::<bool>())
            .prop_map(|(observer, volatile, to_self)| Step::SayItself { observer, volatile, to_self }),
        1 => prop::bool::weighted(0.4).prop_map(|bob| Step::Move { bob }),
        4 => (0..2usize, 1..20usize).prop_map(|(observer, count)| Step::Read { observer, count }),
        2 => (0..2usize).prop_map(|observer| Step::Cut { observer }),
        3 => (0..2usize, prop::sample::select(&Way::ALL)).prop_map(|(observer, way)| Step::Back { observer, way }),
    ];
    prop::collection::vec(step, 50..150)
}

#[test]
fn an_observer_gets_what_the_model_says() {
    let config = Config {
        cases: STORIES,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let played = runner.run(&steps(), |steps| {
        runtime.block_on(async { Story::begin().await.play(steps).await });
        Ok(())
    });
    if let Err(error) = played {
        panic!("{error}");
    }
}

struct Story {
    app: TestApp,
    people: [Person; 2],
    carol: Person,
    roots: [String; 2],
    documents: [String; 2],
    group: String,
    members: [bool; 2],
    speaker: WsClient,
    observers: [Observer; 2],
    log: Vec<Published>,
    last_tag: u64,
}

impl Story {
    async fn begin() -> Self {
        let app = TestApp::start().await;
        let (ada, bob, carol) = (
            app.person("ada").await,
            app.person("bob").await,
            app.person("carol").await,
        );
        let roots = [ada.makes_root("one").await, ada.makes_root("two").await];
        let mut documents = [String::new(), String::new()];
        for (root, document) in roots.iter().zip(&mut documents) {
            ada.lets(&bob, "write", root).await;
            *document = ada.makes_document(root, json!(0)).await;
        }
        let group = ada.post("/groups", json!({ "name": "us" })).await.id();
        ada.put(&format!("/groups/{group}/members/{}", bob.id), json!({}))
            .await
            .is(204);
        let people = [bob, ada];
        let speaker = people[1].ws("").await;
        let observer = |who: usize, via| {
            let [one, two] = &roots;
            let query = format!(
                "socket={}&channel=document:{one}&channel=document:{two}",
                SOCKETS[who]
            );
            Observer {
                follower: Follower::new(&people[who], &query, via),
                connected: false,
                channels: Vec::new(),
                withdrawn: 0,
                kept: VecDeque::new(),
                volatile: Vec::new(),
            }
        };
        let observers = [observer(0, Way::WebSocket), observer(1, Way::Sse)];
        let (members, log) = ([true, false], Vec::new());
        let mut story = Self {
            app,
            people,
            carol,
            roots,
            documents,
            group,
            members,
            speaker,
            observers,
            log,
            last_tag: 0,
        };
        story.back(0, Way::Sse).await;
        story.back(1, Way::Poll).await;
        story
    }

    async fn play(mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Change { by, root, at } => self.change(by, root, at).await,
                Step::Say { volatile } => self.say(None, volatile, false).await,
                Step::SayItself {
                    observer,
                    volatile,
                    to_self,
                } => self.say(Some(observer), volatile, to_self).await,
                Step::Move { bob } => self.moves(bob).await,
                Step::Read { observer, count } => self.observers[observer].reads(count).await,
                Step::Cut { observer } => {
                    self.observers[observer].follower.cut();
                    self.observers[observer].connected = false;
                }
                Step::Back { observer, way } => self.back(observer, way).await,
            }
        }
        // The last one shows that nothing else was on its way.
        self.back(0, Way::Poll).await;
        self.back(1, Way::WebSocket).await;
        self.change(1, 0, None).await;
        for observer in &mut self.observers {
            observer.reads_all().await;
        }
        // Nobody is left who would have to be told of the end first.
        drop((self.observers, self.speaker));
        self.app.stop().await;
    }

    fn tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// Adds an event to the log of the model, and to what those are to get who are there.
    fn publish(&mut self, event: Published) {
        for (who, observer) in self.observers.iter_mut().enumerate() {
            if observer.connected
                && !(observer.has_a_socket() && event.without == Some(who))
                && event.channel(&observer.channels).is_some()
            {
                match event.position {
                    Some(_) => observer.kept.push_back(event.clone()),
                    None => observer.volatile.extend(event.tag),
                }
            }
        }
        self.log.extend(event.position.is_some().then_some(event));
    }

    async fn change(&mut self, by: usize, root: usize, at: Option<usize>) {
        let tag = self.tag();
        let person = at.map_or_else(
            || self.people[by].clone(),
            |at| self.people[by].at(SOCKETS[at]),
        );
        let cursor = person.changes(&self.documents[root], json!(tag)).await;
        let channels = vec![format!("document:{}", self.roots[root])];
        // A socket counts only for the person whose it is.
        let without = at.filter(|at| *at == by);
        self.publish(Published {
            position: Some(position(&cursor)),
            channels,
            without,
            name: "changed-document",
            tag: Some(tag),
        });
    }

    async fn say(&mut self, observer: Option<usize>, volatile: bool, to_self: bool) {
        let (tag, channel) = (self.tag(), format!("group:{}", self.group));
        let frame = json!({ "type": "publish", "channel": channel, "event": "said", "data": tag,
            "volatile": volatile, "toSelf": to_self });
        let client = match observer.map(|who| &mut self.observers[who].follower.client) {
            None => &mut self.speaker,
            Some(Some(Client::WebSocket(client))) => client.as_mut(),
            Some(_) => return,
        };
        let answer = client.call(frame).await;
        if observer == Some(0) && !self.members[0] {
            assert_eq!(answer["code"], "not-joined", "{answer}");
            return;
        }
        assert_eq!(answer["type"], "ack", "{answer}");
        let position = answer["cursor"].as_str().map(position);
        assert_eq!(position.is_none(), volatile, "{answer}");
        let without = observer.filter(|_| !to_self);
        self.publish(Published {
            position,
            channels: vec![channel],
            without,
            name: "said",
            tag: Some(tag),
        });
    }

    async fn moves(&mut self, bob: bool) {
        // What an observer would still be reading of the group is not said, so it reads first.
        for observer in &mut self.observers {
            observer.reads_all().await;
        }
        let (index, person) = if bob {
            (0, &self.people[0])
        } else {
            (1, &self.carol)
        };
        let path = format!("/groups/{}/members/{}", self.group, person.id);
        let (group, own) = (
            format!("group:{}", self.group),
            format!("user:{}", person.id),
        );
        let event = |position, channels, name| Published {
            position: Some(position),
            channels,
            without: None,
            name,
            tag: None,
        };
        if self.members[index] {
            let last = position(&self.people[1].delete(&path).await.is(204).cursor());
            if bob {
                // Administrators are told first, at the position of the change.
                self.observers[0].withdrawn = last - 2;
                self.observers[0]
                    .channels
                    .retain(|channel| *channel != group);
            }
            self.publish(event(last - 1, vec![group], "changed-record"));
            self.publish(event(last, vec![own], "deleted-record"));
        } else {
            let last = position(&self.people[1].put(&path, json!({})).await.is(204).cursor());
            if bob && self.observers[0].withdrawn > 0 {
                self.observers[0].withdrawn = last - 1;
            }
            if bob && self.observers[0].connected {
                self.observers[0].channels.push(group.clone());
            }
            self.publish(event(last, vec![group, own], "changed-record"));
        }
        self.members[index] = !self.members[index];
    }

    async fn back(&mut self, who: usize, way: Way) {
        let observer = &mut self.observers[who];
        let cursor = observer.follower.cursor.as_deref().map(position);
        let welcome = observer.follower.comes_back(way).await;
        observer.connected = true;
        let list = welcome["channels"].as_array().unwrap().iter();
        observer.channels = list
            .map(|channel| channel.as_str().unwrap().to_owned())
            .collect();
        if way == Way::Poll {
            // It does not say where the server puts it.
            let of_server = ["global".to_owned(), format!("user:{}", self.people[who].id)];
            observer.channels.extend(of_server);
            if who == 1 || self.members[0] {
                observer.channels.push(format!("group:{}", self.group));
            }
        }
        (observer.kept, observer.volatile) = (VecDeque::new(), Vec::new());
        let Some(cursor) = cursor else { return };
        let interrupted = who == 0 && self.members[0] && cursor < observer.withdrawn;
        assert_eq!(
            welcome["recovered"], !interrupted,
            "at {cursor}, withdrawn at {}: {welcome}",
            observer.withdrawn
        );
        if !interrupted {
            let left_out =
                |event: &&Published| observer.has_a_socket() && event.without == Some(who);
            let missed = self
                .log
                .iter()
                .filter(|event| event.position > Some(cursor) && !left_out(event));
            let missed = missed
                .filter(|event| event.channel(&observer.channels).is_some())
                .cloned()
                .collect();
            observer.kept = missed;
        }
    }
}
