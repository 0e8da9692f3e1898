//! What one publish costs by the size of the room, beside a floor measured in the same run, and what a replay costs.
//!
//! `cargo bench --bench fanout`. Machines differ and are shared: compare rows of one run with each other.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails is to stop")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use divan::Bencher;
use divan::counter::ItemsCount;
use roomcast::Roomcast;
use roomcast::config::Config;
use roomcast::realtime::connection::Transport;
use roomcast::realtime::cursor::Epoch;
use roomcast::realtime::registry::{Access, Arrival, Handle, Limits, Membership};
use roomcast::realtime::{Channel, Data, Event, Registry, SocketId, User, UserId};
use time::OffsetDateTime;

/// The sizes of rooms.
const MEMBERS: [usize; 3] = [1, 100, 10_000];
/// Events that one client has missed.
const MISSED: [usize; 2] = [300, 10_000];

fn main() {
    divan::main();
}

fn channel() -> Channel {
    "document:42".parse().unwrap()
}

fn event() -> Event {
    Event {
        channels: [channel()].into(),
        name: "changed-document".parse().unwrap(),
        data: Data::from_value(&"x".repeat(126)),
        origin: None,
        except: [].into(),
        by: None,
        time: OffsetDateTime::now_utc(),
        position: None,
    }
}

/// A room with this many connections of as many users.
fn room(members: usize) -> (Arc<Registry>, Vec<Handle>) {
    let limits = Limits {
        max_connections: members,
        max_connections_per_ip: members,
        max_connections_per_user: 1,
        max_channels: 1,
        outbox_bytes: 1024 * 1024,
        newest: std::collections::BTreeMap::new(),
        presence_grace: std::time::Duration::from_secs(10),
    };
    let registry = Arc::new(Registry::new(Epoch(1), 0, limits));
    let handles = (0..members).map(|n| {
        let id = UserId::parse(&n.to_string()).unwrap();
        let own = Channel::user(&id);
        let arrival = Arrival {
            user: Some(User {
                id,
                name: "somebody".into(),
                admin: false,
            }),
            session: None,
            socket: None,
            transport: Transport::WebSocket,
            address: None,
            channels: vec![
                (own, Membership::automatic(Access::Read)),
                (channel(), Membership::asked(Access::Read)),
            ],
            access_version: 0,
            resume: None,
        };
        registry.connect(arrival).unwrap().handle
    });
    let handles = handles.collect();
    (registry, handles)
}

fn empty(handles: &[Handle]) {
    for handle in handles {
        handle.connection().outbox.try_take();
    }
}

/// One event into the outboxes of a room: encoding, finding the room, and a push for each member.
#[divan::bench(args = MEMBERS)]
fn publish(bencher: Bencher<'_, '_>, members: usize) {
    let (registry, handles) = room(members);
    let event = event();
    bencher
        .counter(ItemsCount::new(members))
        .with_inputs(|| empty(&handles))
        .bench_local_values(|()| registry.publish(&event));
}

/// The floor: one shared pointer into as many locked queues, and nothing else.
#[divan::bench(args = MEMBERS)]
fn publish_floor(bencher: Bencher<'_, '_>, members: usize) {
    let queues: Vec<Mutex<VecDeque<Arc<str>>>> = (0..members).map(|_| Mutex::default()).collect();
    bencher
        .counter(ItemsCount::new(members))
        .with_inputs(|| {
            queues
                .iter()
                .for_each(|queue| queue.lock().unwrap().clear());
        })
        .bench_local_values(|()| {
            let frame: Arc<str> = "frame".into();
            for queue in &queues {
                queue.lock().unwrap().push_back(Arc::clone(&frame));
            }
        });
}

/// Reading what one client has missed out of a log in which every tenth event is for it.
#[divan::bench(args = MISSED, sample_count = 20)]
fn replay(bencher: Bencher<'_, '_>, missed: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database_url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let config = Config {
        database_url,
        ..Config::default()
    };
    let app = runtime.block_on(Roomcast::open(config)).unwrap();
    runtime.block_on(fill(&app, missed));
    let channels = [(channel(), Membership::asked(Access::Read))];
    bencher
        .counter(ItemsCount::new(missed))
        .bench_local(|| runtime.block_on(read_all(&app, &channels, missed)));
    app.stop();
    runtime.block_on(app.wait());
}

async fn fill(app: &Roomcast, missed: usize) {
    let noise: Channel = "document:43".parse().unwrap();
    for chunk in (0..missed * 10).collect::<Vec<_>>().chunks(1_000) {
        let events = chunk.iter().map(|n| match n % 10 {
            0 => event(),
            _ => Event {
                channels: [noise.clone()].into(),
                ..event()
            },
        });
        let turn = app.log().begin().await.unwrap();
        turn.commit(events.collect()).await.unwrap();
    }
}

async fn read_all(app: &Roomcast, channels: &[(Channel, Membership)], missed: usize) {
    let (end, socket) = (app.registry().cursor().position, SocketId::random());
    let (mut at, mut read) = (0, 0);
    while at < end {
        let page = app
            .log()
            .page(channels, at, end, None, socket)
            .await
            .unwrap();
        read += page.frames.len();
        at = page.at;
        for frame in &page.frames {
            divan::black_box(frame.websocket());
        }
    }
    assert_eq!(read, missed);
}
