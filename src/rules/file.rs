//! Reading the rules from a file: what is not understood is refused with the place, the reason and an example.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::{Endpoint, Events, InvalidEndpoint, InvalidRule, Join, Publish, Rule, Rules};
use crate::config::duration;
use crate::realtime::EventName;

/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The settings of a kind, each with an example.
const OF_A_KIND: [(&str, &str); 6] = [
    ("join", "join = \"granted\""),
    ("publish", "publish = \"members\""),
    ("events", "events = \"any\""),
    ("max_message_bytes", "max_message_bytes = 4096"),
    ("history", "history = true"),
    ("newest", "newest = [\"pointer\"]"),
];
/// The settings of the endpoint, each with an example.
const OF_ASK: [(&str, &str); 6] = [
    ("url", "url = \"https://app.example.org/roomcast/access\""),
    ("secret", "secret_env = \"APP_ASK_SECRET\""),
    ("secret_env", "secret_env = \"APP_ASK_SECRET\""),
    ("timeout", "timeout = \"2s\""),
    ("cache", "cache = \"30s\""),
    ("allow_http", "allow_http = true"),
];

impl Rules {
    /// Reads the rules from a file. `environment` is where a `secret_env` is looked up, and `limit` the largest
    /// message that a connection may send at all.
    ///
    /// # Errors
    /// When something in it is not understood: where, why, and what would be.
    pub fn read(
        path: &Path,
        environment: &BTreeMap<String, String>,
        limit: usize,
    ) -> Result<Self, String> {
        let file = path.display().to_string();
        let unreadable = |reason: String| {
            format!("{file:?} {reason}\n  example   ROOMCAST_CHANNELS=channels.toml")
        };
        let size = std::fs::metadata(path)
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?
            .len();
        if size > MAX_FILE_BYTES {
            return Err(unreadable("is larger than 1 MiB".into()));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        Self::parse(&file, &text, environment, limit)
    }

    pub(crate) fn parse(
        file: &str,
        text: &str,
        environment: &BTreeMap<String, String>,
        limit: usize,
    ) -> Result<Self, String> {
        // Never the line itself, as the crate would show it: there may be a secret in it.
        let table: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!(
                "{file}, line {line}: not TOML: {}\n  example   [kinds.order]",
                error.message()
            )
        })?;
        let whole = Section {
            file,
            name: String::new(),
            table: &table,
            settings: &[("kinds", "[kinds.order]"), ("ask", "[ask]")],
        };
        whole.has_only_what_is_known()?;
        let mut rules = Self::default();
        if let Some(ask) = whole.section("ask", &OF_ASK)? {
            rules = rules.asking(endpoint(&ask, environment)?);
        }
        let Some(kinds) = whole.section("kinds", &[])? else {
            return Ok(rules);
        };
        for kind in kinds.table.keys() {
            let Some(section) = kinds.section(kind, &OF_A_KIND)? else {
                continue;
            };
            section.has_only_what_is_known()?;
            let rule = rule(&section, kind, limit)?;
            let invalid = |invalid: InvalidRule| {
                let Some(key) = invalid.key() else {
                    return section.wrong("", &invalid.to_string());
                };
                section.wrong(key, &invalid.to_string())
            };
            rules = rules.with(kind, rule).map_err(invalid)?;
            if let Some(newest) = section.events("newest")? {
                rules = rules.newest_of(kind, newest).map_err(invalid)?;
            }
        }
        Ok(rules)
    }
}

fn rule(section: &Section<'_>, kind: &str, limit: usize) -> Result<Rule, String> {
    let joins = [
        ("nobody", Join::Nobody),
        ("granted", Join::Granted),
        ("users", Join::Users),
        ("ask", Join::Ask),
    ];
    let publishes = [("nobody", Publish::Nobody), ("members", Publish::Members)];
    let events = [
        ("any", Events::Any),
        ("volatile", Events::Volatile),
        ("kept", Events::Kept),
    ];
    let mut rule = Rule::built_in(kind).unwrap_or_default();
    rule.join = section.word("join", &joins)?.unwrap_or(rule.join);
    rule.publish = section.word("publish", &publishes)?.unwrap_or(rule.publish);
    rule.events = section.word("events", &events)?.unwrap_or(rule.events);
    rule.history = section.flag("history")?.unwrap_or(rule.history);
    if let Some(value) = section.table.get("max_message_bytes") {
        let most = value.as_integer().and_then(|n| usize::try_from(n).ok());
        let most = most.filter(|most| (1..=limit).contains(most));
        let expected = format!(
            "is not a whole number from 1 to {limit}, which is all that a connection may send (ROOMCAST_MAX_MESSAGE_BYTES)"
        );
        rule.max_message_bytes =
            Some(most.ok_or_else(|| section.wrong("max_message_bytes", &expected))?);
    }
    Ok(rule)
}

fn endpoint(
    section: &Section<'_>,
    environment: &BTreeMap<String, String>,
) -> Result<Endpoint, String> {
    section.has_only_what_is_known()?;
    let url = section.text("url")?.ok_or_else(|| {
        section.wrong("url", "is missing; expected where the application is asked")
    })?;
    let (key, secret) = match (section.text("secret")?, section.text("secret_env")?) {
        (Some(secret), None) => ("secret", secret),
        (None, Some(name)) => {
            let secret = environment.get(name).filter(|secret| !secret.is_empty());
            let unset = format!("names {name:?}, which is not set in the environment");
            (
                "secret_env",
                &**secret.ok_or_else(|| section.wrong("secret_env", &unset))?,
            )
        }
        (Some(_), Some(_)) => {
            return Err(section.wrong(
                "secret_env",
                "stands beside secret; expected one of the two",
            ));
        }
        (None, None) => {
            let missing = "is missing; expected secret, or secret_env with the name of a variable";
            return Err(section.wrong("secret", missing));
        }
    };
    let wrong = |invalid: InvalidEndpoint| {
        let of = invalid.key();
        section.wrong(if of == "secret" { key } else { of }, &invalid.to_string())
    };
    let mut endpoint = if section.flag("allow_http")?.unwrap_or(false) {
        Endpoint::plain(url, secret)
    } else {
        Endpoint::new(url, secret)
    }
    .map_err(wrong)?;
    if let Some(timeout) = section.duration("timeout")? {
        endpoint = endpoint.with_timeout(timeout).map_err(wrong)?;
    }
    if let Some(cache) = section.duration("cache")? {
        endpoint = endpoint.with_cache(cache).map_err(wrong)?;
    }
    Ok(endpoint)
}

/// A part of the file, and how it is called there.
struct Section<'a> {
    file: &'a str,
    name: String,
    table: &'a Table,
    /// What may stand in it, with examples.
    settings: &'a [(&'a str, &'a str)],
}

impl<'a> Section<'a> {
    fn section(
        &self,
        key: &str,
        settings: &'a [(&'a str, &'a str)],
    ) -> Result<Option<Self>, String> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let dot = if self.name.is_empty() { "" } else { "." };
        let name = format!("{}{dot}{key}", self.name);
        let Value::Table(table) = value else {
            let example = if name == "ask" {
                "[ask]"
            } else {
                "[kinds.order]"
            };
            return Err(format!(
                "{}: {name} is not a section\n  example   {example}",
                self.file
            ));
        };
        Ok(Some(Self {
            file: self.file,
            name,
            table,
            settings,
        }))
    }

    /// Says what is wrong, and shows a line that would be right.
    fn wrong(&self, key: &str, reason: &str) -> String {
        let example = self.settings.iter().find(|(name, _)| *name == key);
        let example = example.map_or("[kinds.order]", |(_, example)| example);
        let place = match (&*self.name, key) {
            ("", key) => key.to_owned(),
            (name, "") => format!("[{name}]"),
            (name, key) => format!("[{name}] {key}"),
        };
        format!("{}: {place} {reason}\n  example   {example}", self.file)
    }

    fn has_only_what_is_known(&self) -> Result<(), String> {
        let known = |key: &&String| self.settings.iter().any(|(name, _)| name == key);
        let Some(unknown) = self.table.keys().find(|key| !known(key)) else {
            return Ok(());
        };
        let names: Vec<_> = self.settings.iter().map(|(name, _)| *name).collect();
        let near = names
            .iter()
            .min_by_key(|name| strsim::levenshtein(name, unknown))
            .filter(|name| strsim::levenshtein(name, unknown) <= 3);
        let hint = near.map_or_else(
            || format!("expected one of {}", names.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        let shown: String = unknown.chars().take(60).collect();
        let (name, place) = (&self.name, self.file);
        let section = if name.is_empty() {
            String::new()
        } else {
            format!("[{name}] ")
        };
        let (_, example) = self
            .settings
            .iter()
            .find(|(name, _)| near.is_none_or(|near| near == name))
            .unwrap_or(&("", ""));
        Err(format!(
            "{place}: {section}{shown:?} is not a setting; {hint}\n  example   {example}"
        ))
    }

    fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let found = words
            .iter()
            .find(|(word, _)| value.as_str() == Some(word))
            .map(|(_, meaning)| *meaning);
        let names: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let expected = format!("is not one of {}", names.join(", "));
        found.map(Some).ok_or_else(|| self.wrong(key, &expected))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        let flag = self.table.get(key).map(|value| {
            let flag = value.as_bool();
            flag.ok_or_else(|| self.wrong(key, "is neither true nor false"))
        });
        flag.transpose()
    }

    fn events(&self, key: &str) -> Result<Option<Vec<EventName>>, String> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let wrong = || self.wrong(key, "is not a list of names of events");
        let names = value.as_array().ok_or_else(wrong)?;
        let names = names.iter().map(|name| {
            let name = name.as_str().ok_or_else(wrong)?;
            name.parse()
                .map_err(|error| self.wrong(key, &format!("has {name:?}, which is {error}")))
        });
        names.collect::<Result<_, _>>().map(Some)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        let text = self.table.get(key).map(|value| {
            let text = value.as_str().filter(|text| !text.is_empty());
            text.ok_or_else(|| self.wrong(key, "is not text between quotes"))
        });
        text.transpose()
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, String> {
        match self.text(key)? {
            None => Ok(None),
            // A setting of the program never lasts no time at all; what is not remembered does.
            Some("0s") => Ok(Some(Duration::ZERO)),
            Some(text) => {
                let duration = duration(text).map_err(|reason| self.wrong(key, &reason))?;
                Ok(Some(duration))
            }
        }
    }
}
