//! Logs: for people on a terminal, for machines otherwise. Never what a password, token, cookie or event says. And
//! traces, in builds that have them.

mod flood;
#[cfg(feature = "otel")]
mod traces;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write, stderr};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{Config, LogFormat};
use flood::Flood;
pub(crate) use flood::left_out;
#[cfg(feature = "otel")]
pub(crate) use traces::continue_trace;

/// As much of what comes from outside as a line has of it, in bytes.
const MAX_SHOWN: usize = 256;

/// What has been started.
#[derive(Debug)]
#[must_use = "traces that wait are sent at its end"]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<traces::Traces>,
}

impl Telemetry {
    /// Sends what waits to be sent. Blocks for at most 5 seconds.
    pub fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Starts logging, to standard error. Called from outside of a runtime: what sends traces has one of its own.
pub fn start(config: &Config) -> Telemetry {
    let filter = EnvFilter::try_new(filter(config)).unwrap_or_else(|_| EnvFilter::new("info"));
    let pretty = match config.log_format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let logs = if pretty {
        fmt::layer()
            .with_writer(|| OneLine(Escape::Text))
            .with_target(false)
            .with_ansi(stderr().is_terminal())
            .boxed()
    } else {
        fmt::layer()
            .with_writer(|| OneLine(Escape::Json))
            .json()
            .flatten_event(true)
            // The list has it, behind the request that it belongs to.
            .with_current_span(false)
            .boxed()
    };
    let registry = tracing_subscriber::registry().with(logs.with_filter(heard(filter)));
    #[cfg(feature = "otel")]
    {
        let (traces, error) = match traces::Traces::to_collector() {
            Ok(traces) => (traces, None),
            Err(error) => (None, Some(error)),
        };
        registry
            .with(traces.as_ref().map(traces::Traces::layer))
            .init();
        if let Some(error) = error {
            tracing::error!(%error, "no traces are sent");
        }
        Telemetry { traces }
    }
    #[cfg(not(feature = "otel"))]
    {
        registry.init();
        Telemetry {}
    }
}

/// What is asked of every line, in this order. Each says how far down its levels go: where one did not, the levels that
/// are not logged would cost as much as those that are.
fn heard<S: Subscriber + for<'a> LookupSpan<'a>>(filter: EnvFilter) -> impl Filter<S> {
    let no_messages = filter_fn(is_no_message).with_max_level_hint(LevelFilter::TRACE);
    filter.and(no_messages).and(Flood::default())
}

/// What is logged. The session library warns of every cookie that is none of ours: anybody could fill a disk with that.
fn filter(config: &Config) -> String {
    format!(
        "tower_sessions=error,tower_sessions_core=error,{}",
        config.rust_log
    )
}

/// Tracing, the WebSocket library says what is in each message, so it is never heard that closely, whatever was asked
/// for.
fn is_no_message(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != Level::TRACE || !metadata.target().starts_with("tungstenite")
}

/// As much of a text from outside as is logged.
pub(crate) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN)]
}

/// Standard error, one line for each event: what somebody sent neither begins a line of its own, nor speaks to a
/// terminal, nor turns the order of what is read.
#[derive(Debug)]
struct OneLine(Escape);

/// How what must not stand in a line is written.
#[derive(Debug, Clone, Copy)]
enum Escape {
    Text,
    /// Inside a string of JSON, which is the only place where it can be.
    Json,
}

impl Write for OneLine {
    /// The subscriber hands over an event at a time.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        stderr()
            .lock()
            .write_all(one_line(&String::from_utf8_lossy(event), self.0).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// ESC is left to the subscriber: it escapes those of others, and colours with its own.
fn one_line(event: &str, escape: Escape) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    for letter in event.chars() {
        let code = u32::from(letter);
        let _ = match escape {
            _ if letter == '\x1b' || !is_hidden(letter) => write!(line, "{letter}"),
            Escape::Text => write!(line, "\\u{{{code:x}}}"),
            Escape::Json => write!(line, "\\u{code:04x}"),
        };
    }
    line.push('\n');
    line
}

/// What ends a line, drives a terminal, or changes the order in which what follows is shown (Unicode, bidirectional
/// controls).
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let evil = "a\r\n{\"level\":\"ERROR\"}\u{202e}b\u{85}\u{2028}\u{7f}é\n";
        assert_eq!(
            one_line(evil, Escape::Text),
            "a\\u{d}\\u{a}{\"level\":\"ERROR\"}\\u{202e}b\\u{85}\\u{2028}\\u{7f}é\n"
        );
        let json = one_line("{\"a\":\"x\u{202e}y\u{2066}\"}\n", Escape::Json);
        assert_eq!(json, "{\"a\":\"x\\u202ey\\u2066\"}\n");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["a"], "x\u{202e}y\u{2066}");
    }

    #[test]
    fn what_is_not_logged_is_known_not_to_be() {
        for (asked, most) in [("info", LevelFilter::INFO), ("warn", LevelFilter::WARN)] {
            let logs = fmt::layer().with_filter(heard(EnvFilter::new(asked)));
            let registry = tracing_subscriber::registry().with(logs);
            assert_eq!(registry.max_level_hint(), Some(most));
        }
    }

    #[test]
    fn what_is_shown_is_cut_between_letters() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"é".repeat(1_000)).len(), 256);
        assert_eq!(shown(&format!("a{}", "é".repeat(1_000))).len(), 255);
    }
}
