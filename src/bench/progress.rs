//! A line on standard error each second, for whoever waits.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::table::thousands;
use super::tally::Tally;

const EVERY: Duration = Duration::from_secs(1);

/// Lines, as long as this is there.
pub(super) struct Progress {
    lines: JoinSet<()>,
    rewrites: bool,
}

impl Progress {
    pub(super) fn start(tally: &Arc<Tally>, connections: usize) -> Self {
        let rewrites = stderr().is_terminal();
        let (mut lines, tally) = (JoinSet::new(), Arc::clone(tally));
        lines.spawn(async move {
            let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut before = Counts::default();
            loop {
                ticks.tick().await;
                let now = Counts::of(&tally);
                let line = now.since(before, connections as u64);
                before = now;
                // On a thread of its own: a pipe may be full.
                let printing = tokio::task::spawn_blocking(move || print(&line, rewrites));
                let _ = printing.await;
            }
        });
        Self { lines, rewrites }
    }

    /// Leaves nothing behind on a terminal.
    pub(super) async fn end(mut self) {
        self.lines.shutdown().await;
        if self.rewrites {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// Nobody may read it any more; that is no reason to end.
fn print(line: &str, rewrites: bool) {
    let _ = if rewrites {
        write!(stderr(), "\r\x1b[K{line}")
    } else {
        writeln!(stderr(), "{line}")
    };
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    opened: u64,
    closed: u64,
    published: u64,
    heard: u64,
}

impl Counts {
    fn of(tally: &Tally) -> Self {
        Self {
            opened: tally.opened(),
            closed: tally.closed(),
            published: tally.published(),
            heard: tally.heard(),
        }
    }

    fn since(self, before: Self, connections: u64) -> String {
        let opened = thousands(self.opened);
        if self.opened < connections {
            return format!(
                "opening connections: {opened} of {}",
                thousands(connections)
            );
        }
        let closed = match self.closed {
            0 => String::new(),
            closed => format!(", {} closed", thousands(closed)),
        };
        format!(
            "{opened} connections{closed}; {} published, {} heard; in the last second {} and {}",
            thousands(self.published),
            thousands(self.heard),
            thousands(self.published - before.published),
            thousands(self.heard - before.heard),
        )
    }
}
