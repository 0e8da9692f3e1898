//! What is looked up when somebody asks for it: how many there are of what now.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::realtime::connection::Transport;
use crate::realtime::cursor::Position;
use crate::realtime::figures::{Figures, KINDS};

/// How a server is at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) figures: Figures,
    /// Bytes of the events that wait, each counted once.
    pub(crate) outbox_bytes: u64,
    /// The last event of the log,
    pub(crate) position: Position,
    /// and how many before it can still be read.
    pub(crate) log_events: u64,
    /// Whether changes can be kept, as far as that is known.
    pub(crate) log_writable: bool,
    /// Bytes of the database on the disk, with what waits for a checkpoint.
    pub(crate) database_bytes: u64,
    pub(crate) draining: bool,
    /// Tasks that a shutdown waits for.
    pub(crate) tasks: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Over {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kept {
    kept: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Live {
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("roomcast");
        let Figures {
            connections,
            users,
            rooms,
            memberships,
            kept,
            volatile,
            delivered,
        } = self.figures;
        let build: Family<Build, Gauge> = Family::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Build { version }).set(1);
        registry.register("build_info", "Which version runs; always 1", build);
        let by_transport: Family<Over, Gauge> = Family::default();
        for (transport, count) in words().zip(connections) {
            by_transport
                .get_or_create(&Over { transport })
                .set(signed(count));
        }
        registry.register(
            "connections",
            "Client connections that are open",
            by_transport,
        );
        let by_kind: Family<Of, Gauge> = Family::default();
        for (kind, count) in KINDS.into_iter().zip(rooms) {
            by_kind.get_or_create(&Of { kind }).set(signed(count));
        }
        registry.register("rooms", "Rooms with somebody in them", by_kind);
        let by_kind: Family<Of, Gauge> = Family::default();
        for (kind, count) in KINDS.into_iter().zip(memberships) {
            by_kind.get_or_create(&Of { kind }).set(signed(count));
        }
        registry.register(
            "memberships",
            "Connections in rooms, each as often as it is in one",
            by_kind,
        );
        let published: Family<Kept, Counter> = Family::default();
        for (kept, count) in [(true, kept), (false, volatile)] {
            published.get_or_create(&Kept { kept }).inc_by(count);
        }
        registry.register(
            "events_published",
            "Events that were told, whether the log keeps them or not",
            published,
        );
        let by_transport: Family<Over, Counter> = Family::default();
        for (transport, count) in words().zip(delivered) {
            by_transport
                .get_or_create(&Over { transport })
                .inc_by(count);
        }
        registry.register(
            "events_delivered",
            "Events put into the outboxes of connections as they were told",
            by_transport,
        );
        for (name, help, value) in [
            ("users", "Users who have a connection", users),
            (
                "outbox_bytes",
                "Bytes that wait to be sent to clients",
                self.outbox_bytes,
            ),
            (
                "log_position",
                "The position of the last event in the log",
                self.position,
            ),
            (
                "log_events",
                "Events of the log that a client can still resume from",
                self.log_events,
            ),
            (
                "log_writable",
                "Whether changes can be kept (1), or the last attempt failed (0)",
                u64::from(self.log_writable),
            ),
            (
                "database_bytes",
                "Bytes of the database on the disk",
                self.database_bytes,
            ),
            (
                "draining",
                "Whether the server shuts down (1)",
                u64::from(self.draining),
            ),
            ("tasks", "Tasks that a shutdown waits for", self.tasks),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(signed(value));
            registry.register(name, help, gauge);
        }
        registry
    }
}

fn words() -> impl Iterator<Item = &'static str> {
    Transport::ALL.into_iter().map(Transport::word)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
