//! Presence against chance: a thousand users come and go, and every observer's list is what is true.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tokio::time::Instant;

use super::presence::MAX_AWAY;
use super::*;
use crate::realtime::connection::Transport;
use crate::realtime::outbox::Waiting;
use crate::realtime::{Close, User};

const ROOM: &str = "presence:lobby";
const USERS: usize = 1_000;

/// What a client knows by the list that it was given, and by each change since.
struct Observer {
    handle: Handle,
    here: BTreeMap<String, Value>,
}

fn entry(member: &Value) -> (String, Value) {
    let id = member["user"]["id"].as_str().unwrap().to_owned();
    (id, member["meta"].clone())
}

fn listed(members: &Members) -> BTreeMap<String, Value> {
    let list: Vec<Value> = serde_json::from_str(members.list.as_str()).unwrap();
    list.iter().map(entry).collect()
}

impl Observer {
    fn new(connected: Connected) -> Self {
        let here = listed(&connected.presence[0].1);
        Self {
            handle: connected.handle,
            here,
        }
    }

    /// Applies what has come. What says nothing new was said twice, and what cannot be so is missing something.
    fn follow(&mut self) {
        let Some(Waiting::Frames(frames)) = self.handle.connection().outbox.try_take() else {
            return;
        };
        for frame in frames {
            let frame: Value = serde_json::from_slice(frame.json()).unwrap();
            let (id, meta) = entry(&frame["data"]);
            match frame["event"].as_str().unwrap() {
                "user-joined" => assert!(self.here.insert(id, meta).is_none(), "{frame}"),
                "user-updated" => {
                    let before = self.here.insert(id, meta.clone());
                    assert!(before.is_some_and(|before| before != meta), "{frame}");
                }
                "user-left" => assert!(self.here.remove(&id).is_some(), "{frame}"),
                other => panic!("{other}"),
            }
        }
    }
}

fn comes(registry: &Arc<Registry>, user: usize) -> Connected {
    comes_into(registry, user, &[ROOM])
}

fn comes_into(registry: &Arc<Registry>, user: usize, rooms: &[&str]) -> Connected {
    let id = UserId::parse(&format!("u{user}")).unwrap();
    let own = Channel::user(&id);
    let access_version = registry.access_version(Some(&id));
    let user = User {
        name: id.as_str().into(),
        id,
        admin: false,
    };
    let mut channels = vec![(own, Membership::automatic(Access::Read))];
    channels.extend(
        rooms
            .iter()
            .map(|room| (room.parse().unwrap(), Membership::asked(Access::Read))),
    );
    let arrival = Arrival {
        user: Some(user),
        session: None,
        socket: None,
        transport: Transport::Sse,
        address: None,
        channels,
        access_version,
        resume: None,
    };
    registry.connect(arrival).unwrap()
}

fn registry() -> Arc<Registry> {
    let limits = Limits {
        max_connections: usize::MAX,
        max_connections_per_ip: usize::MAX,
        max_connections_per_user: usize::MAX,
        max_channels: 8,
        outbox_bytes: usize::MAX,
        newest: BTreeMap::new(),
        presence_grace: Duration::from_secs(10),
    };
    Arc::new(Registry::new(Epoch(1), 0, limits))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn every_list_is_true(steps in proptest::collection::vec((0_usize..7, 0..USERS), 2_000)) {
        let (registry, room) = (registry(), ROOM.parse::<Channel>().unwrap());
        let mut observers = vec![Observer::new(comes(&registry, USERS))];
        let mut tabs: HashMap<usize, Vec<Handle>> = HashMap::new();
        for (at, (step, user)) in steps.into_iter().enumerate() {
            let own = tabs.entry(user).or_default();
            match step {
                0..=2 => own.push(comes(&registry, user).handle),
                3 => drop(own.pop()),
                4 => {
                    if let Some(tab) = own.pop() {
                        let answer = Frame::ack(None, &[]);
                        prop_assert!(registry.leave(tab.connection(), &room, answer));
                    }
                }
                5 => {
                    if let Some(tab) = own.last() {
                        let meta = Data::from_value(&at);
                        let answer = |_: &Members| Frame::ack(None, &[]);
                        prop_assert!(registry.describe(tab.connection(), &room, meta, answer));
                    }
                }
                _ => {
                    // Sent away for good: nobody waits for it.
                    if let Some(tab) = own.pop() {
                        tab.connection().outbox.close(Close::Removed);
                    }
                }
            }
            if at % 37 == 0 {
                registry.pulse(Instant::now());
            }
            if at % 400 == 0 {
                observers.push(Observer::new(comes(&registry, USERS)));
            }
        }
        // Everybody who could come back has not, and everything is told.
        registry.pulse(Instant::now() + Duration::from_secs(3_600));
        let mut truth: Vec<String> = tabs
            .iter()
            .filter(|(_, own)| !own.is_empty())
            .map(|(user, _)| format!("u{user}"))
            .collect();
        truth.push(format!("u{USERS}"));
        truth.sort();
        let nobody = ConnectionId(0);
        let list = listed(&registry.state.lock().unwrap().members(&room, nobody));
        prop_assert_eq!(&list.keys().cloned().collect::<Vec<_>>(), &truth);
        for observer in &mut observers {
            observer.follow();
            prop_assert_eq!(&observer.here, &list);
        }
        drop((tabs, observers));
        registry.pulse(Instant::now() + Duration::from_secs(3_600));
        let state = registry.state.lock().unwrap();
        prop_assert!(state.present.rooms.is_empty() && state.present.dropped.is_empty());
        prop_assert!(state.rooms.is_empty() && state.connections.is_empty());
    }
}

#[test]
fn a_crowd_costs_each_member_little() {
    let registry = registry();
    let first = comes(&registry, 0);
    let mut others = Vec::new();
    let frames = || match first.handle.connection().outbox.try_take() {
        Some(Waiting::Frames(frames)) => frames,
        _ => std::collections::VecDeque::new(),
    };
    let begin = Instant::now();
    for n in 1..2_500 {
        others.push(comes(&registry, n));
        if n % 100 == 0 {
            // A tenth of a second for each hundred.
            registry.pulse(begin + Duration::from_millis(n as u64));
        }
    }
    let told = frames();
    // Each of the first two thousand, and then the number once a second.
    assert!((1_999..2_010).contains(&told.len()), "{}", told.len());
    let last = &others[2_498].presence[0].1;
    assert_eq!(last.count, Some(2_500));
    assert!(last.list.as_str().len() < 20_000);
    others.truncate(10);
    registry.pulse(begin + Duration::from_secs(3_600));
    registry.pulse(begin + Duration::from_secs(3_602));
    let told = frames();
    let last: Value = serde_json::from_slice(told[told.len() - 1].json()).unwrap();
    assert_eq!(last["event"], "presence-list");
    assert_eq!(last["data"]["members"].as_array().unwrap().len(), 11);
    others.clear();
    registry.pulse(begin + Duration::from_secs(7_200));
    assert_eq!(frames().len(), 10);
}

#[test]
fn who_comes_and_breaks_off_without_end_is_not_waited_for_everywhere() {
    let registry = registry();
    let before = comes(&registry, 0);
    for n in 0..MAX_AWAY / 8 + 10 {
        let names: Vec<_> = (0..8).map(|room| format!("presence:{n}.{room}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        drop(comes_into(&registry, n + 1, &names));
    }
    let state = registry.state.lock().unwrap();
    assert_eq!(state.present.dropped.len(), MAX_AWAY);
    assert_eq!(state.present.rooms.len(), MAX_AWAY + 1);
    drop(state);
    drop(before);
    registry.pulse(Instant::now() + Duration::from_secs(3_600));
    let state = registry.state.lock().unwrap();
    assert!(state.present.rooms.is_empty() && state.present.dropped.is_empty());
    assert!(state.present.kept.is_empty());
}
