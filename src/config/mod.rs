//! The configuration: read once, from flags, the environment, `.env` and a file, in this order of precedence.
//!
//! Every setting is a flag; the environment has the same under its `ROOMCAST_` name. What is not understood is refused
//! with the name, the reason and an example.

mod load;
pub mod reference;
mod settings;
mod source;
pub(crate) mod value;
mod verb;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::rules::Rules;
pub use crate::store::Durability;
pub use load::{Load, Mix};
use reference::Effective;
pub use settings::{Config, Guests, LogFormat, Registration};
use source::Given;
pub use source::Source;
pub(crate) use value::duration;
pub use value::{Origin, Secret};
pub use verb::{UserVerb, Verb};

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
    /// Every setting as people read it: what holds, and why.
    #[arg(skip)]
    pub settings: Vec<Effective>,
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
const EXAMPLES: [(&str, &str); 14] = [
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
    ("ops_listen", "127.0.0.1:9090"),
    ("tls_cert", "/etc/roomcast/fullchain.pem"),
    ("tls_key", "/etc/roomcast/privkey.pem"),
    ("drain_delay", "5s"),
    ("config", "/etc/roomcast/roomcast.toml"),
    ("api_key_file", "/run/secrets/roomcast_api_key"),
    ("token_secret_file", "/run/secrets/roomcast_token_secret"),
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
        Self::parse_with_dotenv(args, environment, &BTreeMap::new())
    }

    /// Reads the command line, an environment, and what `.env` says where that says nothing.
    ///
    /// # Errors
    /// When something in them is not understood, with what would be.
    pub fn parse_with_dotenv(
        args: impl IntoIterator<Item = OsString>,
        environment: &BTreeMap<String, String>,
        dotenv: &BTreeMap<String, String>,
    ) -> Result<Self, Refused> {
        let mut command = Self::command();
        command.build();
        let args: Vec<OsString> = args.into_iter().collect();
        let given = Given::collect(&command, &args, environment, dotenv)?;
        let mut line: Vec<OsString> = args.first().cloned().into_iter().collect();
        line.extend(given.as_flags());
        line.extend(args.into_iter().skip(1));
        let matches = command
            .clone()
            .try_get_matches_from(line)
            .map_err(|error| explain(&error, &command, &given).unwrap_or(Refused::Clap(error)))?;
        let mut program = Self::from_arg_matches(&matches).map_err(Refused::Clap)?;
        program.settings = reference::effective(&command, &given);
        program.config.read_secrets(&given)?;
        // The secrets of a demo may be short; whether a server's are good is not for its clients to say.
        let demo = matches!(
            program.verb,
            Some(Verb::Dev { .. } | Verb::Publish { .. } | Verb::Tail { .. } | Verb::Bench { .. })
        );
        program.config.check(demo, &given)?;
        let variables = dotenv.iter().chain(environment);
        let variables = variables.map(|(name, value)| (name.clone(), value.clone()));
        program.config.read_rules(&variables.collect())?;
        Ok(program)
    }
}

/// The ids of all settings.
fn ids(command: &clap::Command) -> BTreeSet<String> {
    let ids = command.get_arguments().map(|arg| arg.get_id().to_string());
    ids.filter(|id| id != "help" && id != "version").collect()
}

impl Config {
    /// What one setting alone cannot say.
    fn check(&self, dev: bool, given: &Given) -> Result<(), Refused> {
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
                return Err(refuse(given, id, "is shorter than 32 bytes"));
            }
        }
        if self.ops_listen == Some(self.listen) && self.listen.port() != 0 {
            let reason = "is the same as ROOMCAST_LISTEN; metrics would be for everybody";
            return Err(refuse(given, "ops_listen", reason));
        }
        if self.outbox_total_bytes < self.outbox_bytes {
            let reason = "is less than ROOMCAST_OUTBOX_BYTES, which is for one connection";
            return Err(refuse(given, "outbox_total_bytes", reason));
        }
        if self.tls_cert.is_some() && self.public_url.as_ref().is_some_and(|url| !url.is_secure()) {
            let reason = "does not begin with https://, and there is a ROOMCAST_TLS_CERT";
            return Err(refuse(given, "public_url", reason));
        }
        if tracing_subscriber::EnvFilter::try_new(&self.rust_log).is_err() {
            return Err(Refused::Message(
                "RUST_LOG: not a filter\n  example   RUST_LOG=info,roomcast=debug".into(),
            ));
        }
        Ok(())
    }

    /// Takes secrets from the files that are named instead of them.
    fn read_secrets(&mut self, given: &Given) -> Result<(), Refused> {
        for (id, file, secret) in [
            ("api_key_file", &self.api_key_file, &mut self.api_key),
            (
                "token_secret_file",
                &self.token_secret_file,
                &mut self.token_secret,
            ),
        ] {
            let Some(path) = file else { continue };
            if secret.is_some() {
                let reason = "and the secret itself are both set; one of them is enough";
                return Err(refuse(given, id, reason));
            }
            let text = std::fs::read_to_string(path)
                .map_err(|error| refuse(given, id, &format!("{}: {error}", path.display())))?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                let reason = format!("{}: the file is empty", path.display());
                return Err(refuse(given, id, &reason));
            }
            *secret = Some(Secret::new(text));
        }
        Ok(())
    }

    /// What is allowed, and unwise. For whoever asks before a server goes to the world.
    pub fn doubts(&self) -> Vec<&'static str> {
        let near = self.listen.ip().is_loopback();
        let doubts = [
            (
                !near && !self.is_secure(),
                "Passwords and cookies go in clear: set ROOMCAST_TLS_CERT and ROOMCAST_TLS_KEY, or, behind a proxy, an https ROOMCAST_PUBLIC_URL.",
            ),
            (
                self.public_url.is_some()
                    && self.tls_cert.is_none()
                    && self.trusted_proxies.is_empty(),
                "All clients count as one address, that of the proxy: set ROOMCAST_TRUSTED_PROXIES.",
            ),
            (
                self.durability == Durability::Normal,
                "ROOMCAST_DURABILITY=normal: a loss of power may take back changes that were answered.",
            ),
        ];
        let doubts = doubts.into_iter().filter(|(holds, _)| *holds);
        doubts.map(|(_, doubt)| doubt).collect()
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

fn refuse(given: &Given, id: &str, reason: &str) -> Refused {
    let name = env_name(id);
    let source = given.of(id).map(|(_, source)| source);
    let set_in = source.map_or_else(String::new, |source| format!("\n  set in    {source}"));
    let example = example_of(id);
    Refused::Message(format!(
        "{name} {reason}{set_in}\n  example   {name}={example}"
    ))
}

/// A good value.
fn example_of(id: &str) -> String {
    let example = EXAMPLES.iter().find(|(of, _)| *of == id);
    let example = example.map(|(_, example)| (*example).to_owned());
    example.or_else(|| default_of(id)).unwrap_or_default()
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
fn explain(error: &clap::Error, command: &clap::Command, given: &Given) -> Option<Refused> {
    if error.kind() == ErrorKind::MissingRequiredArgument {
        for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
            if given.of(one).is_some() && given.of(other).is_none() {
                let reason = format!("is missing, and there is a {}", env_name(one));
                return Some(refuse(given, other, &reason));
            }
        }
    }
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
    if !ids(command).contains(&id) {
        return None;
    }
    let value = match error.get(ContextKind::InvalidValue) {
        // A secret that is too short is still a secret.
        Some(ContextValue::String(value)) if !reference::is_secret(&id) => {
            format!("{value:?} ")
        }
        _ => String::new(),
    };
    let reason = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("must be one of {}", valid.join(", ")),
        _ => std::error::Error::source(error)
            .map_or_else(|| "is not understood".to_owned(), ToString::to_string),
    };
    Some(refuse(given, &id, &format!("{value}{reason}")))
}

#[cfg(test)]
mod tests;
