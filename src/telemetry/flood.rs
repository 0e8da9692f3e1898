//! A bound on the log: what says the same over and over fills no disk.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines that one place in the program may log in a minute. Over that they are counted.
const LINES: u64 = 600;
const MINUTE: Duration = Duration::from_secs(60);

/// Lines that were left out, of the whole process, as the log is.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// How many lines were left out since this was last asked.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.swap(0, Ordering::Relaxed)
}

/// Lets each place of the program log so much and no more. `debug` and below pass: whoever asks for them wants all.
#[derive(Debug, Default)]
pub(super) struct Flood {
    /// Of places in the program there are only so many.
    places: Mutex<HashMap<Identifier, Lines>>,
}

/// What one place has logged in its minute.
#[derive(Debug)]
struct Lines {
    since: Instant,
    count: u64,
}

impl Flood {
    fn passes(&self, place: Identifier) -> bool {
        let now = Instant::now();
        let mut places = self.places.lock().unwrap();
        let lines = places.entry(place).or_insert(Lines {
            since: now,
            count: 0,
        });
        if now.duration_since(lines.since) >= MINUTE {
            (lines.since, lines.count) = (now, 0);
        }
        lines.count += 1;
        lines.count <= LINES
    }
}

/// Asked by `enabled`, once for each event: after a no of `event_enabled` tracing-subscriber 0.3.23 forgets that it was
/// for that event alone.
impl<S: Subscriber> Filter<S> for Flood {
    fn callsite_enabled(&self, place: &'static Metadata<'static>) -> Interest {
        if is_counted(place) {
            Interest::sometimes()
        } else {
            Interest::always()
        }
    }

    fn enabled(&self, place: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let passes = !is_counted(place) || self.passes(place.callsite());
        if !passes {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        passes
    }

    /// It takes no level away; without an answer nobody could know of the others that they do, and each line that is
    /// not logged would be asked about.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

fn is_counted(place: &Metadata<'_>) -> bool {
    place.is_event() && *place.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::Event;
    use tracing_subscriber::filter::FilterExt;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, Layer};

    use super::*;

    /// Counts what comes through, by level.
    #[derive(Clone, Default)]
    struct Counting(Arc<Mutex<HashMap<Level, u64>>>);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut counts = self.0.lock().unwrap();
            *counts.entry(*event.metadata().level()).or_default() += 1;
        }
    }

    #[test]
    fn one_place_that_says_too_much_is_cut_and_no_other() {
        let counting = Counting::default();
        let filter = EnvFilter::new("debug").and(Flood::default());
        let layer = counting.clone().with_filter(filter);
        let logs = tracing_subscriber::registry().with(layer);
        left_out();
        tracing::subscriber::with_default(logs, || {
            for _ in 0..LINES + 400 {
                tracing::warn!("over and over");
                tracing::debug!("asked for");
            }
            tracing::error!("something else");
        });
        let counts = counting.0.lock().unwrap();
        assert_eq!(counts[&Level::WARN], LINES);
        assert_eq!(counts[&Level::ERROR], 1);
        assert_eq!(counts[&Level::DEBUG], LINES + 400);
        assert_eq!(left_out(), 400);
    }
}
