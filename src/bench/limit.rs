//! What kept a run from being faster, as far as it can be seen from here.

use std::fmt;

/// A process is at its limit from this part of what it may have on.
const BUSY: f64 = 0.9;

/// What is known when a run is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// All messages that were due were published in time, and heard soon after.
    pub(super) held: bool,
    /// Publishing ended because it failed.
    pub(super) failed: bool,
    /// Cores that we kept busy.
    pub(super) own: Option<f64>,
    /// Cores that the server kept busy.
    pub(super) server: Option<f64>,
    /// Cores that we may use.
    pub(super) available: f64,
    /// The part of this machine's cores that were busy, with whatever.
    pub(super) machine: Option<f64>,
    /// The server is on this machine.
    pub(super) is_here: bool,
}

/// What was at its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    /// Nothing.
    Held,
    /// Nobody knows.
    Failed,
    /// This program.
    Generator,
    /// The machine that this program is on, perhaps with the server.
    Machine,
    /// The server's process.
    Server(f64),
    /// No processor.
    Waiting,
}

impl Limit {
    pub(super) fn of(seen: &Seen) -> Self {
        let own = seen.own.unwrap_or(0.0);
        let server = seen.server.unwrap_or(0.0);
        if seen.failed {
            Self::Failed
        } else if seen.held {
            Self::Held
        } else if own >= BUSY * seen.available {
            Self::Generator
        } else if seen.is_here && own + server >= BUSY * seen.available
            || seen.machine.is_some_and(|busy| busy >= BUSY)
        {
            Self::Machine
        } else if server >= BUSY {
            Self::Server(server)
        } else {
            Self::Waiting
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Held => "none",
            Self::Failed => "unknown",
            Self::Generator => "generator",
            Self::Machine => "machine",
            Self::Server(_) => "server",
            Self::Waiting => "waiting",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("none: the rate asked for was held"),
            Self::Failed => f.write_str("unknown: publishing failed before its time was over"),
            Self::Generator => f.write_str(
                "this load generator: it had all cores that it may use; run several, on other machines",
            ),
            Self::Machine => f.write_str(
                "this machine: all its cores were busy; run this load generator on another one than the server",
            ),
            Self::Server(cores) => write!(f, "the server: its process had {cores:.1} cores busy"),
            Self::Waiting => f.write_str(
                "no processor: answers were waited for; try a larger --outstanding, or look at network and disk",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_busy_is_named() {
        let seen = |held, own, server, machine, is_here| Seen {
            held,
            failed: false,
            own: Some(own),
            server,
            available: 4.0,
            machine,
            is_here,
        };
        for (seen, expected) in [
            (seen(true, 3.9, Some(0.1), Some(1.0), true), "none"),
            (seen(false, 3.7, Some(0.2), Some(1.0), true), "generator"),
            (seen(false, 1.5, Some(2.4), None, true), "machine"),
            (seen(false, 0.5, Some(0.5), Some(0.95), true), "machine"),
            (seen(false, 1.5, Some(2.4), Some(0.4), false), "server"),
            (seen(false, 0.5, Some(0.2), Some(0.2), true), "waiting"),
            (seen(false, 0.5, None, None, false), "waiting"),
        ] {
            assert_eq!(Limit::of(&seen).word(), expected, "{seen:?}");
            let failed = Seen {
                failed: true,
                ..seen
            };
            assert_eq!(Limit::of(&failed), Limit::Failed);
        }
    }
}
