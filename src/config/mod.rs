//! The configuration: read once, from flags, the environment and `.env`, in this order of precedence.
//!
//! Every setting is a flag; the environment has the same under its `ROOMCAST_` name. What is not understood is refused
//! with the name, the reason and an example.

mod settings;
pub(crate) mod value;
mod verb;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::rules::Rules;
pub use crate::store::Durability;
pub use settings::{Config, Guests, LogFormat, Registration};
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
const EXAMPLES: [(&str, &str); 11] = [
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
