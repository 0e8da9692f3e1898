//! Logs: for people on a terminal, for machines otherwise. Never what a password, token, cookie or event says.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging, to standard error.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(filter(config)).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let pretty = match config.log_format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    if pretty {
        logs.with_target(false)
            .with_ansi(stderr().is_terminal())
            .init();
    } else {
        logs.json().flatten_event(true).init();
    }
}

/// What is logged. The session library warns of every cookie that is none of ours: anybody could fill a disk with that.
/// Tracing, the WebSocket library says what is in each message, so it is never heard that closely, whatever was asked
/// for: of two directives for the same the last one counts.
fn filter(config: &Config) -> String {
    format!(
        "tower_sessions=error,tower_sessions_core=error,{},\
         tungstenite=debug,tungstenite::protocol=debug,tungstenite::protocol::frame=debug,\
         tungstenite::protocol::frame::frame=debug,tungstenite::handshake=debug",
        config.rust_log
    )
}
