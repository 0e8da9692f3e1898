//! The configuration: read once, from flags, the environment and `.env`, in this order of precedence.
//!
//! Every setting is a flag; the environment has the same under its `ROOMCAST_` name. What is not understood is refused
//! with the name, the reason and an example.

mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::realtime::{Channel, UserId};
use crate::rules::Rules;
pub use crate::store::Durability;
pub(crate) use value::duration;
pub use value::{Origin, Secret};

/// A realtime server with rooms.
#[derive(Debug, Parser)]
#[command(
    name = "roomcast",
    version,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Program {
    /// What to do; serve, if nothing is said.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

/// What the program can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Run the server; so does no command at all.
    Serve,
    /// Run it with demo people and data that are gone afterwards, on this machine only.
    Dev,
    /// Say whether the configuration is good and the database can be used, and end.
    Check,
    /// Manage users.
    User {
        /// What to do with them.
        #[command(subcommand)]
        verb: UserVerb,
    },
    /// Publish an event on a running server, with the API key.
    Publish {
        /// The channel, for example document:42
        channel: String,
        /// The event's name, for example changed-order
        event: String,
        /// Its data.
        #[arg(allow_negative_numbers = true)]
        json: String,
        /// Tell only whoever is there now; it is not kept.
        #[arg(long)]
        volatile: bool,
        /// Tell it later, for example 5s; at most 720h
        #[arg(long, value_parser = value::duration, value_name = "DURATION")]
        delay: Option<Duration>,
        /// The server; where the settings say that it is, if nothing is said.
        #[arg(long, value_parser = value::server, value_name = "URL")]
        server: Option<String>,
    },
    /// Print what channels of a running server say, a line of JSON each, with the API key.
    Tail {
        /// The channels, for example document:42
        #[arg(required = true, value_name = "CHANNEL")]
        channel: Vec<String>,
        /// Begin after this cursor rather than now.
        #[arg(long, value_name = "CURSOR")]
        since: Option<String>,
        /// Print every frame, not events alone.
        #[arg(long)]
        all: bool,
        /// The server; where the settings say that it is, if nothing is said.
        #[arg(long, value_parser = value::server, value_name = "URL")]
        server: Option<String>,
    },
    /// Make a token for a client, signed with `ROOMCAST_TOKEN_SECRET`, and print it.
    Token {
        /// Whose: the id of a user, or of one of your application's own.
        #[arg(long, value_parser = value::user, value_name = "ID")]
        user: UserId,
        /// How long it holds.
        #[arg(long, default_value = "1h", value_parser = value::duration, value_name = "DURATION")]
        ttl: Duration,
        /// What people read, of a user of your application's own.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A channel to let it join; give more than one if you like.
        #[arg(long, value_name = "CHANNEL")]
        channel: Vec<Channel>,
    },
}

/// What can be done with users.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UserVerb {
    /// Add a user. The password is asked for, or read from standard input.
    Add {
        /// The name to log in with.
        name: String,
        /// Make the user an administrator.
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input, up to the first line end.
        #[arg(long)]
        password_stdin: bool,
    },
}

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
    /// The address and port to listen on; port 0 picks a free one.
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:3000",
        value_parser = value::address,
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,
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
    /// The secret that client tokens are signed with; at least 32 bytes. None: no tokens.
    #[arg(long, global = true, value_parser = value::secret, value_name = "SECRET")]
    pub token_secret: Option<Secret>,
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
    /// What may wait for one connection, in bytes; over it the connection is closed, and resumes.
    #[arg(long, global = true, default_value = "1048576", value_parser = value::at_least_1k, value_name = "BYTES")]
    pub outbox_bytes: usize,
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
    /// How long events are kept for those who come back.
    #[arg(long, global = true, default_value = "24h", value_parser = value::duration, value_name = "DURATION")]
    pub log_retention: Duration,
    /// How long a shutdown may take.
    #[arg(long, global = true, default_value = "30s", value_parser = value::duration, value_name = "DURATION")]
    pub shutdown_timeout: Duration,
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

/// Why the program cannot start as asked.
#[derive(Debug)]
pub enum Refused {
    /// What is wrong and what would be accepted.
    Message(String),
    /// Help and version, and what clap says of flags.
    Clap(clap::Error),
}

/// Settings that are not called `ROOMCAST_…` in the environment.
const PLAIN_NAMES: [&str; 3] = ["database_url", "redis_url", "rust_log"];

/// A good value for each setting whose default does not show one.
const EXAMPLES: [(&str, &str); 7] = [
    ("channels", "channels.toml"),
    ("public_url", "https://app.example.org"),
    (
        "allowed_origins",
        "https://app.example.org,https://admin.example.org",
    ),
    ("api_key", "$(openssl rand -hex 32)"),
    ("token_secret", "$(openssl rand -hex 32)"),
    ("trusted_proxies", "127.0.0.1,10.0.0.7"),
    ("redis_url", "redis://127.0.0.1:6379"),
];

/// The name of a setting in the environment.
fn env_name(id: &str) -> String {
    let name = id.to_ascii_uppercase();
    if PLAIN_NAMES.contains(&id) {
        name
    } else {
        format!("ROOMCAST_{name}")
    }
}

impl Program {
    /// Reads the command line and an environment.
    ///
    /// # Errors
    /// When something in them is not understood, with what would be.
    pub fn parse_from_parts(
        args: impl IntoIterator<Item = OsString>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Refused> {
        let mut command = Self::command();
        command.build();
        let settings: BTreeMap<String, String> = command
            .get_arguments()
            .filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"))
            .map(|arg| (env_name(arg.get_id().as_str()), arg.get_id().to_string()))
            .collect();
        refuse_unknown(environment, &settings)?;
        let mut args = args.into_iter();
        let mut line: Vec<OsString> = args.next().into_iter().collect();
        for (name, id) in &settings {
            // An empty variable is the same as none.
            if let Some(value) = environment.get(name).filter(|value| !value.is_empty()) {
                line.push(format!("--{}={value}", id.replace('_', "-")).into());
            }
        }
        // Flags come later, so they win.
        line.extend(args);
        let matches = command
            .try_get_matches_from(line)
            .map_err(|error| explain(&error, &settings).unwrap_or(Refused::Clap(error)))?;
        let mut program = Self::from_arg_matches(&matches).map_err(Refused::Clap)?;
        // The secrets of a demo may be short; whether a server's are good is not for its clients to say.
        let demo = matches!(
            program.verb,
            Some(Verb::Dev | Verb::Publish { .. } | Verb::Tail { .. })
        );
        program.config.check(demo)?;
        program.config.read_rules(environment)?;
        Ok(program)
    }
}

impl Config {
    /// What one setting alone cannot say.
    fn check(&self, dev: bool) -> Result<(), Refused> {
        if self.redis_url.is_some() {
            let message = "REDIS_URL: several servers as one are not supported by this version; leave it empty";
            return Err(Refused::Message(message.into()));
        }
        for (id, secret) in [
            ("api_key", &self.api_key),
            ("token_secret", &self.token_secret),
        ] {
            if !dev
                && secret
                    .as_ref()
                    .is_some_and(|secret| secret.expose().len() < 32)
            {
                return Err(refuse(id, "is shorter than 32 bytes"));
            }
        }
        if tracing_subscriber::EnvFilter::try_new(&self.rust_log).is_err() {
            return Err(Refused::Message(
                "RUST_LOG: not a filter\n  example   RUST_LOG=info,roomcast=debug".into(),
            ));
        }
        Ok(())
    }

    fn read_rules(&mut self, environment: &BTreeMap<String, String>) -> Result<(), Refused> {
        if let Some(path) = &self.channels {
            let rules = Rules::read(path, environment, self.max_message_bytes);
            self.rules =
                rules.map_err(|why| Refused::Message(format!("ROOMCAST_CHANNELS: {why}")))?;
        }
        Ok(())
    }
}

fn refuse(id: &str, reason: &str) -> Refused {
    let name = env_name(id);
    let example = EXAMPLES
        .iter()
        .find(|(of, _)| *of == id)
        .map(|(_, example)| (*example).to_owned());
    let example = example.or_else(|| default_of(id)).unwrap_or_default();
    Refused::Message(format!("{name} {reason}\n  example   {name}={example}"))
}

fn default_of(id: &str) -> Option<String> {
    let command = Program::command();
    let argument = command.get_arguments().find(|arg| arg.get_id() == id)?;
    argument
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned())
}

/// Says which setting is wrong by the name that people know, and what would be right.
fn explain(error: &clap::Error, settings: &BTreeMap<String, String>) -> Option<Refused> {
    if !matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
    ) {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let id = argument
        .split_whitespace()
        .next()?
        .trim_start_matches('-')
        .replace('-', "_");
    if !settings.values().any(|known| *known == id) {
        return None;
    }
    let value = match error.get(ContextKind::InvalidValue) {
        // A secret that is too short is still a secret.
        Some(ContextValue::String(value)) if !id.ends_with("key") && !id.ends_with("secret") => {
            format!("{value:?} ")
        }
        _ => String::new(),
    };
    let reason = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("must be one of {}", valid.join(", ")),
        _ => std::error::Error::source(error)
            .map_or_else(|| "is not understood".to_owned(), ToString::to_string),
    };
    Some(refuse(&id, &format!("{value}{reason}")))
}

fn refuse_unknown(
    environment: &BTreeMap<String, String>,
    settings: &BTreeMap<String, String>,
) -> Result<(), Refused> {
    // Kubernetes sets these by itself for a service that is called roomcast.
    let kubernetes =
        |name: &str| name.starts_with("ROOMCAST_PORT") || name.starts_with("ROOMCAST_SERVICE_");
    let unknown = environment.keys().find(|name| {
        name.starts_with("ROOMCAST_") && !settings.contains_key(*name) && !kubernetes(name)
    });
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let known: Vec<&str> = settings.keys().map(String::as_str).collect();
    let near = known
        .iter()
        .min_by_key(|name| strsim::levenshtein(name, unknown))
        .filter(|name| strsim::levenshtein(name, unknown) <= 4);
    let hint = near.map_or_else(
        || format!("known     {}", known.join(" ")),
        |near| format!("did you mean {near}?"),
    );
    Err(Refused::Message(format!(
        "{unknown} is not a setting\n  {hint}"
    )))
}

#[cfg(test)]
mod tests;
