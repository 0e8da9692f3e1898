//! The verbs: what the program can do, and what each of them takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{Load, value};
use crate::realtime::{Channel, UserId};

/// What the program can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Run the server; so does no command at all.
    Serve {
        /// Take the place of a running server of yours at the same address: nobody is refused in between.
        #[arg(long)]
        replace: bool,
    },
    /// Run it with demo people and data that are gone afterwards, on this machine only.
    Dev {
        /// A folder or file of your own; where it changes, whoever is connected hears `reload` in `global`. The pages of
        /// the server, where they were built here, are watched anyway.
        #[arg(long, value_name = "PATH")]
        watch: Vec<PathBuf>,
    },
    /// Say whether the configuration is good and the database can be used, and end.
    Check,
    /// Print every setting with what holds, and where that comes from.
    Config {
        /// As JSON.
        #[arg(long, conflicts_with = "docs")]
        json: bool,
        /// The reference of all settings instead, in Markdown.
        #[arg(long)]
        docs: bool,
    },
    /// Ask a running server whether it is ready, and end with status 0 if it is. For containers.
    Healthcheck,
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
    /// Find out what a running server carries, with the API key: open connections, publish, and measure.
    Bench {
        /// How much of what.
        #[command(flatten)]
        load: Load,
        /// Print what came out as one object of JSON.
        #[arg(long)]
        json: bool,
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
