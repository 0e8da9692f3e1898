//! A line each minute of how it goes, for whoever has nothing but the log.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::realtime::Registry;
use crate::realtime::figures::Figures;
use crate::telemetry;

/// How often it is said.
const MINUTE: Duration = Duration::from_secs(60);

/// Says it until the shutdown begins.
pub(crate) async fn tell(registry: Arc<Registry>, stopping: CancellationToken) {
    let mut last = registry.figures();
    loop {
        tokio::select! {
            () = tokio::time::sleep(MINUTE) => {}
            () = stopping.cancelled() => return,
        }
        let left_out = telemetry::left_out();
        if left_out > 0 {
            tracing::warn!(
                lines = left_out,
                "so much was logged that lines were left out"
            );
        }
        let now = registry.figures();
        if let Some(summary) = Summary::of(&last, &now) {
            tracing::info!(
                connections = summary.connections,
                users = now.users,
                rooms = summary.rooms,
                published_per_second = summary.published,
                delivered_per_second = summary.delivered,
                "the last minute"
            );
        }
        last = now;
    }
}

/// What is said of a minute.
#[derive(Debug, PartialEq)]
struct Summary {
    connections: u64,
    rooms: u64,
    /// Events in a second.
    published: f64,
    /// Events put into outboxes in a second.
    delivered: f64,
}

impl Summary {
    /// Nothing, where nobody was there and nothing was said.
    fn of(before: &Figures, now: &Figures) -> Option<Self> {
        let connections = |figures: &Figures| figures.connections.iter().sum::<u64>();
        let published = |figures: &Figures| figures.kept + figures.volatile;
        let delivered = |figures: &Figures| figures.delivered.iter().sum::<u64>();
        let per_second = |of: &dyn Fn(&Figures) -> u64| {
            let tenths = of(now).saturating_sub(of(before)) as f64 * 10.0 / MINUTE.as_secs_f64();
            tenths.round() / 10.0
        };
        let idle =
            connections(now) + connections(before) == 0 && published(now) == published(before);
        (!idle).then(|| Self {
            connections: connections(now),
            rooms: now.rooms.iter().sum(),
            published: per_second(&published),
            delivered: per_second(&delivered),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_told_by_the_second_and_an_idle_one_not_at_all() {
        let before = Figures::default();
        assert_eq!(Summary::of(&before, &before), None);
        let now = Figures {
            connections: [3, 1, 0],
            rooms: [1, 0, 4, 0, 0, 2],
            kept: 90,
            volatile: 30,
            delivered: [600, 60, 0],
            ..before
        };
        let told = Summary::of(&before, &now).unwrap();
        let expected = Summary {
            connections: 4,
            rooms: 7,
            published: 2.0,
            delivered: 11.0,
        };
        assert_eq!(told, expected);
        // Somebody who is there and hears nothing is not idle.
        assert!(Summary::of(&now, &now).is_some());
    }
}
