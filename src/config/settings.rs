//! The settings: every one with its default, its range and what it is for; `--help` and the reference are made of this.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, ValueEnum};

use super::Program;
use super::value::{self, Origin, Secret};
use crate::rules::Rules;
use crate::store::Durability;

/// Whether people may make accounts for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// No: `roomcast user add` makes them.
    Closed,
    /// Yes.
    Open,
}

/// Who may connect without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guests {
    /// Nobody.
    Off,
    /// Everybody, to `global` alone.
    Global,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` otherwise.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// All settings. Durations are 500ms, 25s, 15m or 24h.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Config {
    /// A file of settings, in TOML.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The address and port to listen on; port 0 picks a free one.
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:3000",
        value_parser = value::address,
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,
    /// Where health and metrics are answered to whoever can reach it; without it, metrics want an administrator or the
    /// API key.
    #[arg(long, global = true, value_parser = value::address, value_name = "ADDRESS:PORT")]
    pub ops_listen: Option<SocketAddr>,
    /// A certificate chain in PEM, to serve TLS without a proxy; read anew when it changes, and on SIGHUP.
    #[arg(long, global = true, requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, global = true, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The database: a SQLite file, made where there is none.
    #[arg(
        long,
        global = true,
        default_value = "sqlite://roomcast.db",
        value_name = "URL"
    )]
    pub database_url: String,
    /// When an answered change survives a loss of power: full, always; normal, only after a checkpoint.
    #[arg(long, global = true, default_value = "full", value_enum)]
    pub durability: Durability,
    /// Where browsers reach this server, if a proxy stands before it, for example `https://app.example.org`
    #[arg(long, global = true, value_parser = value::origin, value_name = "ORIGIN")]
    pub public_url: Option<Origin>,
    /// Further origins whose pages may use this server, separated by commas.
    #[arg(long, global = true, value_parser = value::origin, value_delimiter = ',', value_name = "ORIGINS")]
    pub allowed_origins: Vec<Origin>,
    /// The key that back ends publish and listen with; at least 32 bytes. Without one nobody does.
    #[arg(long, global = true, value_parser = value::secret, value_name = "KEY")]
    pub api_key: Option<Secret>,
    /// A file with that key, instead of the key itself.
    #[arg(long, global = true, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// The secret that client tokens are signed with; at least 32 bytes. None: no tokens.
    #[arg(long, global = true, value_parser = value::secret, value_name = "SECRET")]
    pub token_secret: Option<Secret>,
    /// A file with that secret, instead of the secret itself.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_secret_file: Option<PathBuf>,
    /// A file with the rules of each kind of channel; docs/channels.md says what may stand in it.
    #[arg(long, global = true, value_name = "FILE")]
    pub channels: Option<PathBuf>,
    /// What that file says; whoever makes a configuration in code sets these instead.
    #[arg(skip)]
    pub rules: Rules,
    /// Whether people may make accounts for themselves; open in dev.
    #[arg(long, global = true, default_value = "closed", value_enum)]
    pub registration: Registration,
    /// The longest silence on a connection.
    #[arg(long, global = true, default_value = "25s", value_parser = value::duration, value_name = "DURATION")]
    pub heartbeat: Duration,
    /// How long a client may take to answer a ping, or to take what is sent to it.
    #[arg(long, global = true, default_value = "10s", value_parser = value::duration, value_name = "DURATION")]
    pub ping_timeout: Duration,
    /// How long somebody who dropped out is still said to be there.
    #[arg(long, global = true, default_value = "10s", value_parser = value::duration, value_name = "DURATION")]
    pub presence_grace: Duration,
    /// The largest message from a client, in bytes.
    #[arg(long, global = true, default_value = "65536", value_parser = value::at_least_1k, value_name = "BYTES")]
    pub max_message_bytes: usize,
    /// Messages that a connection may send in a second; pings and pongs count too.
    #[arg(long, global = true, default_value = "50", value_parser = value::positive, value_name = "NUMBER")]
    pub messages_per_second: usize,
    /// Channels that one user may join in a second, over all connections.
    #[arg(long, global = true, default_value = "200", value_parser = value::positive, value_name = "NUMBER")]
    pub joins_per_second: usize,
    /// Logins and registrations that one address may try in a second.
    #[arg(long, global = true, default_value = "20", value_parser = value::positive, value_name = "NUMBER")]
    pub logins_per_second: usize,
    /// Changes over HTTP that one user may make in a second; ten seconds' worth may come at once.
    #[arg(long, global = true, default_value = "1000", value_parser = value::positive, value_name = "NUMBER")]
    pub changes_per_second: usize,
    /// The largest body of a request, in bytes.
    #[arg(long, global = true, default_value = "2097152", value_parser = value::body, value_name = "BYTES")]
    pub max_body_bytes: usize,
    /// How long a client may take for the head of a request, the first byte included.
    #[arg(long, global = true, default_value = "10s", value_parser = value::duration, value_name = "DURATION")]
    pub header_timeout: Duration,
    /// How long a client may take for the body of a request.
    #[arg(long, global = true, default_value = "30s", value_parser = value::duration, value_name = "DURATION")]
    pub body_timeout: Duration,
    /// What may wait for one connection, in bytes; over it the connection is closed, and resumes.
    #[arg(long, global = true, default_value = "1048576", value_parser = value::at_least_1k, value_name = "BYTES")]
    pub outbox_bytes: usize,
    /// What may wait for all connections together, in bytes; over it those that are furthest behind are closed first.
    #[arg(long, global = true, default_value = "268435456", value_parser = value::at_least_1k, value_name = "BYTES")]
    pub outbox_total_bytes: usize,
    /// Connections in all.
    #[arg(long, global = true, default_value = "100000", value_parser = value::positive, value_name = "NUMBER")]
    pub max_connections: usize,
    /// Connections of one address.
    #[arg(long, global = true, default_value = "1000", value_parser = value::positive, value_name = "NUMBER")]
    pub max_connections_per_ip: usize,
    /// Connections of one user.
    #[arg(long, global = true, default_value = "50", value_parser = value::positive, value_name = "NUMBER")]
    pub max_connections_per_user: usize,
    /// Channels that one connection may join.
    #[arg(long, global = true, default_value = "128", value_parser = value::positive, value_name = "NUMBER")]
    pub max_channels: usize,
    /// Kept events that are held in memory as well, so that many who come back at once need not read the disk; 0 for none.
    #[arg(long, global = true, default_value = "4096", value_parser = value::up_to_a_million, value_name = "NUMBER")]
    pub recent_events: usize,
    /// How long events are kept for those who come back.
    #[arg(long, global = true, default_value = "24h", value_parser = value::duration, value_name = "DURATION")]
    pub log_retention: Duration,
    /// How long a shutdown may take.
    #[arg(long, global = true, default_value = "30s", value_parser = value::duration, value_name = "DURATION")]
    pub shutdown_timeout: Duration,
    /// How long the server goes on after it has said that it is not ready any more, so that a load balancer notices.
    #[arg(long, global = true, value_parser = value::duration, value_name = "DURATION")]
    pub drain_delay: Option<Duration>,
    /// Failed logins of one account from one address in 15 minutes.
    #[arg(long, global = true, default_value = "10", value_parser = value::positive, value_name = "NUMBER")]
    pub login_attempts: usize,
    /// Who may connect without a login.
    #[arg(long, global = true, default_value = "off", value_enum)]
    pub guests: Guests,
    /// Addresses of proxies whose X-Forwarded-For counts, separated by commas.
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDRESSES")]
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// How logs look.
    #[arg(long, global = true, default_value = "auto", value_enum)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also by module.
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    pub rust_log: String,
    /// Redis, to make several servers one. Refused in this version.
    #[arg(long, global = true, value_name = "URL")]
    pub redis_url: Option<String>,
    /// In dev, pages of every local port may use the server.
    #[arg(skip)]
    pub dev: bool,
}

impl Default for Config {
    /// What holds when nothing is said.
    fn default() -> Self {
        let program = Program::command().get_matches_from(["roomcast"]);
        Self::from_arg_matches(&program).expect("the defaults are good")
    }
}

impl Config {
    /// Whether browsers reach the server over TLS, its own or a proxy's.
    pub fn is_secure(&self) -> bool {
        let public = self.public_url.as_ref();
        public.map_or(self.tls_cert.is_some(), Origin::is_secure)
    }

    /// How the server itself is spoken to.
    pub fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() {
            "https"
        } else {
            "http"
        }
    }
}
