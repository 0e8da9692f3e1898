//! The settings as people read them: what holds and why, and the reference in `docs/configuration.md`.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use serde_json::{Map, json};

use super::source::{Given, Source};
use super::{Program, env_name, example_of};

/// The settings by what they are for, in the order in which they are told of.
const GROUPS: [(&str, &[&str]); 7] = [
    (
        "Where it is",
        &[
            "config",
            "listen",
            "ops_listen",
            "public_url",
            "allowed_origins",
            "trusted_proxies",
            "tls_cert",
            "tls_key",
        ],
    ),
    (
        "What is kept",
        &[
            "database_url",
            "durability",
            "log_retention",
            "recent_events",
        ],
    ),
    (
        "Who may",
        &[
            "registration",
            "guests",
            "channels",
            "api_key",
            "api_key_file",
            "token_secret",
            "token_secret_file",
        ],
    ),
    (
        "Connections",
        &[
            "heartbeat",
            "ping_timeout",
            "presence_grace",
            "max_connections",
            "max_connections_per_ip",
            "max_connections_per_user",
            "max_channels",
            "outbox_bytes",
            "outbox_total_bytes",
        ],
    ),
    (
        "Messages and requests",
        &[
            "max_message_bytes",
            "messages_per_second",
            "joins_per_second",
            "changes_per_second",
            "logins_per_second",
            "login_attempts",
            "max_body_bytes",
            "header_timeout",
            "body_timeout",
        ],
    ),
    ("The end", &["drain_delay", "shutdown_timeout"]),
    ("The rest", &["log_format", "rust_log", "redis_url"]),
];

/// One setting, with what holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Its name in the environment.
    pub name: String,
    /// What holds; of a secret that there is one.
    pub value: String,
    /// Where that comes from.
    pub source: Source,
}

/// Whether what is said of a setting is for nobody to see.
pub(super) fn is_secret(id: &str) -> bool {
    matches!(id, "api_key" | "token_secret")
}

fn in_order(command: &Command) -> impl Iterator<Item = &Arg> {
    let ids = GROUPS.iter().flat_map(|(_, ids)| ids.iter());
    ids.filter_map(|id| command.get_arguments().find(|arg| arg.get_id() == id))
}

fn default(arg: &Arg) -> String {
    let value = arg.get_default_values().first();
    value.map_or_else(String::new, |value| value.to_string_lossy().into_owned())
}

/// Every setting with what holds.
pub(super) fn effective(command: &Command, given: &Given) -> Vec<Effective> {
    let effective = in_order(command).map(|arg| {
        let id = arg.get_id().as_str();
        let (value, source) = match given.of(id) {
            Some((_, source)) if is_secret(id) => ("(hidden)".to_owned(), source.clone()),
            Some((value, source)) => (value.clone(), source.clone()),
            None => (default(arg), Source::Default),
        };
        Effective {
            name: env_name(id),
            value,
            source,
        }
    });
    effective.collect()
}

/// What holds, a line each.
pub fn lines(settings: &[Effective]) -> String {
    let assigned = |setting: &Effective| format!("{}={}", setting.name, setting.value);
    let width = settings.iter().map(|setting| assigned(setting).len()).max();
    let width = width.unwrap_or_default().min(60);
    let mut lines = String::new();
    for setting in settings {
        let _ = writeln!(lines, "{:width$}  # {}", assigned(setting), setting.source);
    }
    lines.trim_end().to_owned()
}

/// What holds, as JSON.
pub fn json(settings: &[Effective]) -> String {
    let settings: Map<_, _> = settings
        .iter()
        .map(|setting| {
            let said = json!({ "value": setting.value, "source": setting.source.to_string() });
            (setting.name.clone(), said)
        })
        .collect();
    format!("{:#}", serde_json::Value::Object(settings))
}

/// The reference, in Markdown.
pub fn markdown() -> String {
    let mut command = Program::command();
    command.build();
    let mut text = String::from(INTRODUCTION);
    for (title, ids) in GROUPS {
        let _ = write!(
            text,
            "\n## {title}\n| setting | default | says |\n|---|---|---|\n"
        );
        for id in ids {
            let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == id) else {
                continue;
            };
            let default = match default(arg) {
                none if none.is_empty() => format!("none, for example `{}`", example_of(id)),
                value => format!("`{value}`"),
            };
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let possible = arg.get_possible_values();
            let possible: Vec<_> = possible
                .iter()
                .map(|value| format!("`{}`", value.get_name()))
                .collect();
            let possible = if possible.is_empty() {
                String::new()
            } else {
                format!(" One of {}.", possible.join(", "))
            };
            let help = help.trim_end_matches('.');
            let _ = writeln!(
                text,
                "| `{}` | {default} | {help}.{possible} |",
                env_name(id)
            );
        }
    }
    text
}

const INTRODUCTION: &str = "# Settings

Every setting has one name in three spellings: `ROOMCAST_HEARTBEAT=25s` in the environment and in `.env`,
`--heartbeat 25s` on the command line, and `heartbeat = \"25s\"` in a file of settings. The command line wins over the
environment, that over `.env` in the folder where the program was started (or one above it), that over the file, and
that over the default. An empty variable is the same as none.

- `roomcast config` prints every setting with what holds and where that comes from, secrets hidden; with `--json` for
  programs.
- `roomcast check` says whether the server would start, and what is allowed but unwise.
- What is not understood is refused, with the reason and an example: an unknown `ROOMCAST_` variable, too.
- Durations are a whole number and `ms`, `s`, `m` or `h`. Lists are separated by commas; in the file they are lists of
  texts.

The file is TOML, and is named by `ROOMCAST_CONFIG` or `--config`; none is read by itself:

```toml
listen = \"0.0.0.0:3000\"
public_url = \"https://chat.example.org\"
trusted_proxies = [\"10.0.0.2\", \"10.0.0.3\"]
max_connections_per_user = 20
api_key_file = \"/run/secrets/roomcast_api_key\"
```

This page is made by `roomcast config --docs`, and a test holds it to that.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_is_in_one_group() {
        let mut command = Program::command();
        command.build();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        let count = grouped.len();
        grouped.sort_unstable();
        grouped.dedup();
        assert_eq!(count, grouped.len(), "one is in two");
        let all = super::super::ids(&command);
        let grouped: BTreeSet<String> = grouped.into_iter().map(str::to_owned).collect();
        assert_eq!(all, grouped);
    }
}
