//! Where settings come from: flags, the environment, `.env`, a file, in this order; and what is not understood there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::parser::ValueSource;

use super::{Refused, env_name, example_of};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is what holds when nothing is said.
    Default,
    /// The file of settings.
    File(PathBuf),
    /// `.env` in the folder where the program was started.
    Dotenv,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Dotenv => f.write_str(".env"),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// What is said of settings, by their ids, beside and on the command line.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<String, (String, Source)>);

impl Given {
    /// Collects what is said. What is on the command line is noted here, and read there.
    pub(super) fn collect(
        command: &Command,
        args: &[OsString],
        environment: &BTreeMap<String, String>,
        dotenv: &BTreeMap<String, String>,
    ) -> Result<Self, Refused> {
        let ids = super::ids(command);
        let names: BTreeMap<String, &str> = ids.iter().map(|id| (env_name(id), &**id)).collect();
        refuse_unknown(dotenv, &names, &Source::Dotenv)?;
        refuse_unknown(environment, &names, &Source::Environment)?;
        let flags = flags(command, args, &ids);
        let mut given = Self::default();
        for (variables, source) in [(dotenv, Source::Dotenv), (environment, Source::Environment)] {
            for (name, id) in &names {
                // An empty variable is the same as none.
                if let Some(value) = variables.get(name).filter(|value| !value.is_empty()) {
                    let said = (value.clone(), source.clone());
                    given.0.insert((*id).to_owned(), said);
                }
            }
        }
        for (id, value) in flags {
            given.0.insert(id, (value, Source::Flag));
        }
        if let Some((path, source)) = given.0.get("config").cloned() {
            let path = PathBuf::from(path);
            for (id, value) in read(&path, &ids).map_err(|why| {
                Refused::Message(format!("ROOMCAST_CONFIG: {why}\n  set in    {source}"))
            })? {
                let said = (value, Source::File(path.clone()));
                given.0.entry(id).or_insert(said);
            }
        }
        Ok(given)
    }

    /// What is said of a setting, and where.
    pub(super) fn of(&self, id: &str) -> Option<&(String, Source)> {
        self.0.get(id)
    }

    /// What is not on the command line, as it would stand there.
    pub(super) fn as_flags(&self) -> impl Iterator<Item = OsString> {
        let beside = self
            .0
            .iter()
            .filter(|(_, (_, source))| *source != Source::Flag);
        beside.map(|(id, (value, _))| format!("--{}={value}", id.replace('_', "-")).into())
    }
}

/// The settings on the command line. What is wrong there is said when it is read for good.
fn flags(command: &Command, args: &[OsString], ids: &BTreeSet<String>) -> Vec<(String, String)> {
    let Ok(matches) = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(args)
    else {
        return Vec::new();
    };
    let said = |id: &&String| matches.value_source(id) == Some(ValueSource::CommandLine);
    let value = |id: &String| {
        let values = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        (id.clone(), values.join(","))
    };
    ids.iter().filter(said).map(value).collect()
}

/// Reads a file of settings (TOML 1.0), each under its name in lower case and without `ROOMCAST_`.
fn read(path: &Path, ids: &BTreeSet<String>) -> Result<Vec<(String, String)>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| format!("{shown}: {}", indented(&error)))?;
    table
        .into_iter()
        .map(|(id, value)| {
            if id == "config" || !ids.contains(&id) {
                let known = ids.iter().map(String::as_str).filter(|id| *id != "config");
                return Err(format!("{shown}: {id} is not a setting\n  {}", hint(&id, known)));
            }
            let wrong = || {
                format!(
                    "{shown}: {id} must be a text, a number or a list of texts\n  example   {id} = \"{}\"",
                    example_of(&id)
                )
            };
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Array(items) => {
                    let items: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
                    items.ok_or_else(wrong)?.join(",")
                }
                _ => return Err(wrong()),
            };
            Ok((id, value))
        })
        .filter(|said| !matches!(said, Ok((_, value)) if value.is_empty()))
        .collect()
}

/// A message of several lines, below one of ours.
fn indented(error: &impl fmt::Display) -> String {
    error.to_string().trim_end().replace('\n', "\n  ")
}

fn refuse_unknown(
    variables: &BTreeMap<String, String>,
    known: &BTreeMap<String, &str>,
    source: &Source,
) -> Result<(), Refused> {
    // Kubernetes sets these by itself for a service that is called roomcast.
    let kubernetes =
        |name: &str| name.starts_with("ROOMCAST_PORT") || name.starts_with("ROOMCAST_SERVICE_");
    let unknown = variables.keys().find(|name| {
        name.starts_with("ROOMCAST_") && !known.contains_key(*name) && !kubernetes(name)
    });
    let Some(unknown) = unknown else {
        return Ok(());
    };
    Err(Refused::Message(format!(
        "{unknown} is not a setting\n  set in    {source}\n  {}",
        hint(unknown, known.keys().map(String::as_str))
    )))
}

/// What may have been meant.
fn hint<'a>(unknown: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known
        .clone()
        .min_by_key(|name| strsim::levenshtein(name, unknown))
        .filter(|name| strsim::levenshtein(name, unknown) <= 4);
    near.map_or_else(
        || format!("known     {}", known.collect::<Vec<_>>().join(" ")),
        |near| format!("did you mean {near}?"),
    )
}
