//! The registry against small stories, and against its own invariants.

use super::*;
use crate::realtime::User;
use crate::realtime::connection::{SessionKey, Transport};
use crate::realtime::outbox::Waiting;
use crate::realtime::{Data, Event, Origin};

fn limits() -> Limits {
    Limits {
        max_connections: 1_000,
        max_connections_per_ip: 1_000,
        max_connections_per_user: 2,
        max_channels: 3,
        outbox_bytes: 100_000,
        newest: std::collections::BTreeMap::new(),
        presence_grace: std::time::Duration::from_secs(10),
    }
}

fn registry() -> Arc<Registry> {
    Arc::new(Registry::new(Epoch(7), 100, limits()))
}

fn user(id: &str) -> User {
    User {
        id: UserId::parse(id).unwrap(),
        name: id.into(),
        admin: false,
    }
}

fn channel(name: &str) -> Channel {
    name.parse().unwrap()
}

fn arrival(registry: &Registry, id: &str) -> Arrival {
    let user = user(id);
    let access_version = registry.access_version(Some(&user.id));
    let own = Channel::user(&user.id);
    let automatic = |channel| (channel, Membership::automatic(Access::Read));
    Arrival {
        user: Some(user),
        session: None,
        socket: None,
        transport: Transport::WebSocket,
        address: None,
        channels: vec![automatic(Channel::global()), automatic(own)],
        access_version,
        resume: None,
    }
}

fn connect(registry: &Arc<Registry>, id: &str) -> Handle {
    registry.connect(arrival(registry, id)).unwrap().handle
}

fn join(registry: &Registry, handle: &Handle, name: &str) {
    let version = registry.access_version(handle.connection().user_id());
    registry
        .join(
            handle.connection(),
            &channel(name),
            Access::Write,
            version,
            None,
        )
        .unwrap();
    handle.connection().outbox.release(Frame::ack(None, &[]));
    received(handle);
}

fn event(channels: &[&str], position: Option<Position>) -> Event {
    Event {
        channels: channels.iter().map(|name| channel(name)).collect(),
        name: "e".parse().unwrap(),
        data: Data::from_value(&()),
        origin: None,
        except: [].into(),
        by: None,
        time: time::OffsetDateTime::UNIX_EPOCH,
        position,
    }
}

/// The channels of what waits.
fn received(handle: &Handle) -> Vec<String> {
    let Some(Waiting::Frames(frames)) = handle.connection().outbox.try_take() else {
        return Vec::new();
    };
    let name = |frame: Frame| {
        let value: serde_json::Value = serde_json::from_slice(frame.json()).unwrap();
        value["channel"].as_str().unwrap_or("-").to_owned()
    };
    frames.into_iter().map(name).collect()
}

fn closed(handle: &Handle) -> Option<Close> {
    match handle.connection().outbox.try_take() {
        Some(Waiting::Closed(close)) => Some(close),
        _ => None,
    }
}

#[test]
fn an_event_for_several_channels_comes_once_under_the_first_that_fits() {
    let registry = registry();
    let (ada, bob) = (connect(&registry, "ada"), connect(&registry, "bob"));
    join(&registry, &ada, "document:1");
    registry.publish(&event(&["document:1", "global", "user:ada"], None));
    assert_eq!(received(&ada), ["document:1"]);
    assert_eq!(received(&bob), ["global"]);
}

#[test]
fn the_originator_is_left_out_and_nobody_else_with_its_socket_id() {
    let registry = registry();
    let socket = SocketId::random();
    let with = |id| {
        registry
            .connect(Arrival {
                socket: Some(socket),
                ..arrival(&registry, id)
            })
            .unwrap()
            .handle
    };
    let (ada, eve) = (with("ada"), with("eve"));
    let origin = Some(Origin {
        user: user("ada").id,
        socket,
    });
    registry.publish(&Event {
        origin,
        ..event(&["global"], None)
    });
    assert!(received(&ada).is_empty());
    assert_eq!(received(&eve), ["global"]);
}

#[test]
fn a_socket_channel_reaches_the_first_who_brought_the_id() {
    let registry = registry();
    let socket = SocketId::random();
    let with = |id| {
        registry
            .connect(Arrival {
                socket: Some(socket),
                ..arrival(&registry, id)
            })
            .unwrap()
            .handle
    };
    let (ada, eve) = (with("ada"), with("eve"));
    registry.publish(&event(&[&format!("socket:{socket}")], None));
    assert_eq!(received(&ada).len(), 1);
    assert!(received(&eve).is_empty());
    let again = with("ada");
    assert_eq!(closed(&ada), Some(Close::Replaced));
    drop(ada);
    registry.publish(&event(&[&format!("socket:{socket}")], None));
    assert_eq!(received(&again).len(), 1);
}

#[test]
fn who_lost_access_is_out_before_the_change_is_told_and_who_is_new_is_in() {
    let registry = registry();
    let (ada, bob) = (connect(&registry, "ada"), connect(&registry, "bob"));
    join(&registry, &ada, "group:1");
    join(&registry, &ada, "presence:group:1");
    let out = Move::Change {
        user: user("ada").id,
        channel: channel("group:1"),
        access: None,
    };
    let into = Move::Enter {
        user: user("bob").id,
        channel: channel("group:1"),
        access: Access::Write,
    };
    registry.commit(&[event(&["group:1", "user:ada"], Some(101))], &[out, into]);
    assert_eq!(received(&ada), ["user:ada"]);
    assert_eq!(received(&bob), ["group:1"]);
    assert_eq!(
        registry
            .membership(bob.connection(), &channel("group:1"))
            .unwrap()
            .since,
        100
    );
    registry.publish(&event(&["presence:group:1"], None));
    assert!(received(&ada).is_empty());
    assert_eq!(registry.cursor().position, 101);
}

#[test]
fn a_dissolved_channel_is_told_and_then_empty() {
    let registry = registry();
    let ada = connect(&registry, "ada");
    join(&registry, &ada, "document:1");
    registry.commit(
        &[event(&["document:1"], Some(101))],
        &[Move::Dissolve {
            channel: channel("document:1"),
        }],
    );
    assert_eq!(received(&ada), ["document:1"]);
    registry.publish(&event(&["document:1"], None));
    assert!(received(&ada).is_empty());
}

#[test]
fn rights_that_were_looked_up_before_a_move_are_stale() {
    let registry = registry();
    let ada = connect(&registry, "ada");
    let late = arrival(&registry, "ada");
    let version = registry.access_version(ada.connection().user_id());
    registry.commit(
        &[],
        &[Move::Change {
            user: user("ada").id,
            channel: channel("group:1"),
            access: None,
        }],
    );
    assert_eq!(registry.connect(late).err(), Some(Refusal::Stale));
    assert_eq!(
        registry.join(
            ada.connection(),
            &channel("a:b"),
            Access::Read,
            version,
            None
        ),
        Err(Refusal::Stale)
    );
}

#[test]
fn somebody_who_connects_while_being_let_into_a_group_is_not_left_outside() {
    let registry = registry();
    let late = arrival(&registry, "bob");
    let into = Move::Enter {
        user: user("bob").id,
        channel: channel("group:1"),
        access: Access::Write,
    };
    registry.commit(&[], &[into]);
    assert_eq!(registry.connect(late).err(), Some(Refusal::Stale));
}

#[test]
fn an_ended_session_closes_its_own_connections_only() {
    let registry = registry();
    let key = |name: &str| Some(SessionKey(name.into()));
    let with = |id, session| {
        registry
            .connect(Arrival {
                session,
                ..arrival(&registry, id)
            })
            .unwrap()
            .handle
    };
    let (one, two, other) = (
        with("ada", key("1")),
        with("ada", key("2")),
        with("bob", key("1")),
    );
    registry.commit(
        &[],
        &[Move::EndSession {
            user: user("ada").id,
            session: SessionKey("1".into()),
        }],
    );
    assert_eq!(closed(&one), Some(Close::SessionEnded));
    assert_eq!(closed(&two), None);
    assert_eq!(closed(&other), None);
}

#[test]
fn a_connection_that_reads_the_log_gets_no_kept_events_until_it_is_near() {
    let registry = registry();
    let Connected {
        handle: ada,
        position,
        ..
    } = registry
        .connect(Arrival {
            resume: Some(50),
            ..arrival(&registry, "ada")
        })
        .unwrap();
    assert_eq!(position, 100);
    registry.commit(&[event(&["global"], Some(101))], &[]);
    registry.publish(&event(&["user:ada"], None));
    assert_eq!(received(&ada), ["user:ada"]);
    assert_eq!(registry.catch_up(ada.connection(), 90, 10), (101, false));
    assert_eq!(registry.catch_up(ada.connection(), 91, 10), (101, true));
    registry.commit(&[event(&["global"], Some(102))], &[]);
    assert_eq!(received(&ada), ["global"]);
}

#[test]
fn limits_refuse_and_come_free_again() {
    let registry = registry();
    let first = connect(&registry, "ada");
    let second = connect(&registry, "ada");
    assert_eq!(
        registry.connect(arrival(&registry, "ada")).err(),
        Some(Refusal::FullForUser)
    );
    drop(second);
    let _second = connect(&registry, "ada");
    for name in ["a:1", "a:2", "a:3", "a:1"] {
        join(&registry, &first, name);
    }
    let version = registry.access_version(first.connection().user_id());
    assert_eq!(
        registry.join(
            first.connection(),
            &channel("a:4"),
            Access::Read,
            version,
            None
        ),
        Err(Refusal::TooManyChannels)
    );
    assert!(!registry.leave(
        first.connection(),
        &Channel::global(),
        Frame::ack(None, &[])
    ));
    assert!(registry.leave(first.connection(), &channel("a:1"), Frame::ack(None, &[])));
    join(&registry, &first, "a:4");
}

#[test]
fn an_administrator_in_somebodys_room_is_not_that_somebody() {
    let registry = registry();
    let (ada, root) = (connect(&registry, "ada"), connect(&registry, "root"));
    join(&registry, &root, "user:ada");
    registry.commit(
        &[],
        &[Move::Restart {
            user: user("ada").id,
        }],
    );
    assert_eq!(closed(&ada), Some(Close::Restart));
    assert_eq!(closed(&root), None);
}

#[test]
fn nothing_is_left_when_all_have_gone() {
    let registry = registry();
    let handles: Vec<_> = (0..500)
        .map(|n| connect(&registry, &format!("u{n}")))
        .collect();
    for handle in &handles {
        join(&registry, handle, "a:1");
    }
    assert_eq!(registry.counts(), (500, 502));
    drop(handles);
    let state = registry.state.lock().unwrap();
    assert!(state.rooms.is_empty() && state.connections.is_empty());
    assert!(state.sockets.is_empty() && state.addresses.is_empty());
}

#[test]
fn one_that_resumes_from_the_very_end_gets_what_comes_next_once() {
    let registry = registry();
    let resumes = Arrival {
        resume: Some(100),
        ..arrival(&registry, "ada")
    };
    let ada = registry.connect(resumes).unwrap().handle;
    registry.commit(&[event(&["global"], Some(101))], &[]);
    assert_eq!(registry.catch_up(ada.connection(), 100, 10), (101, true));
    assert!(received(&ada).is_empty(), "it reads 101 in the log");
}

#[test]
fn a_socket_id_is_taken_from_all_who_linger_with_it() {
    let registry = registry();
    let socket = Some(SocketId::random());
    let again = || {
        let arrival = Arrival {
            socket,
            ..arrival(&registry, "ada")
        };
        registry.connect(arrival).unwrap().handle
    };
    let (first, second, third) = (again(), again(), again());
    assert_eq!(closed(&first), Some(Close::Replaced));
    assert_eq!(closed(&second), Some(Close::Replaced));
    assert_eq!(closed(&third), None);
}

/// The sizes of rooms that a connection was told, the last of each.
fn counted(handle: &Handle) -> std::collections::BTreeMap<String, u64> {
    let Some(Waiting::Frames(frames)) = handle.connection().outbox.try_take() else {
        return Default::default();
    };
    let values = frames
        .iter()
        .map(|frame| serde_json::from_slice::<serde_json::Value>(frame.json()).unwrap())
        .filter(|value| value["event"] == "connected-clients");
    let rooms = values.flat_map(|value| value["data"]["rooms"].as_array().unwrap().clone());
    rooms
        .map(|room| (room[0].as_str().unwrap().into(), room[1].as_u64().unwrap()))
        .collect()
}

#[test]
fn every_administrator_knows_the_sizes_whenever_it_came() {
    let registry = registry();
    let administrator = |id| {
        let mut arrival = arrival(&registry, id);
        let admin = (Channel::admin(), Membership::automatic(Access::Write));
        arrival.channels.push(admin);
        registry.connect(arrival).unwrap().handle
    };
    let first = administrator("root");
    let later = tokio::time::Instant::now() + 2 * PULSE;
    registry.pulse(later);
    counted(&first);
    // It is told of somebody who is gone again before the others hear of it.
    let ada = connect(&registry, "ada");
    join(&registry, &ada, "document:1");
    let second = administrator("toor");
    drop(ada);
    registry.pulse(later);
    let known = counted(&second);
    assert_eq!((known["global"], known["document:1"]), (2, 0), "{known:?}");
    // As when a page is loaded anew: the new connection is there before the old one is gone.
    let third = administrator("toor");
    drop(second);
    registry.pulse(later);
    let known = counted(&third);
    assert_eq!((known["global"], known["admin"]), (2, 2), "{known:?}");
    assert_eq!(known["user:toor"], 1, "{known:?}");
}

#[test]
fn who_takes_the_place_of_another_is_told_how_many_are_there() {
    let registry = registry();
    let (ada, bob) = (connect(&registry, "ada"), connect(&registry, "bob"));
    join(&registry, &ada, "document:1");
    join(&registry, &bob, "document:1");
    let begin = tokio::time::Instant::now();
    let seconds = std::time::Duration::from_secs;
    registry.pulse(begin + seconds(2));
    assert_eq!(counted(&ada)["document:1"], 2);
    drop(bob);
    let bob = connect(&registry, "bob");
    join(&registry, &bob, "document:1");
    registry.pulse(begin + seconds(4));
    assert_eq!(counted(&bob).get("document:1"), Some(&2));
}
