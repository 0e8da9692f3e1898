//! What is accepted, and how everything else is refused.

use super::*;
use std::time::Duration;

fn parse(args: &[&str], environment: &[(&str, &str)]) -> Result<Program, String> {
    let args = std::iter::once("roomcast")
        .chain(args.iter().copied())
        .map(OsString::from);
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Program::parse_from_parts(args, &environment).map_err(|refused| match refused {
        Refused::Message(message) => message,
        Refused::Clap(error) => error.to_string(),
    })
}

#[test]
fn flags_win_over_the_environment_and_that_over_defaults() {
    let environment = [
        ("ROOMCAST_HEARTBEAT", "5s"),
        ("ROOMCAST_LISTEN", "127.0.0.1:1"),
        ("ROOMCAST_PUBLIC_URL", ""),
    ];
    let program = parse(&["serve", "--listen", "127.0.0.1:2"], &environment).unwrap();
    assert_eq!(program.verb, Some(Verb::Serve { replace: false }));
    assert_eq!(program.config.listen.port(), 2);
    assert_eq!(program.config.heartbeat, Duration::from_secs(5));
    assert_eq!(program.config.ping_timeout, Duration::from_secs(10));
    assert_eq!(program.config.public_url, None);
}

#[test]
fn no_verb_means_serve() {
    assert_eq!(parse(&[], &[]).unwrap().verb, None);
}

#[test]
fn bad_values_are_refused_with_an_example() {
    for (name, value, example) in [
        ("ROOMCAST_LISTEN", "here", "ROOMCAST_LISTEN=127.0.0.1:3000"),
        ("ROOMCAST_HEARTBEAT", "25", "ROOMCAST_HEARTBEAT=25s"),
        ("ROOMCAST_HEARTBEAT", "0s", "ROOMCAST_HEARTBEAT=25s"),
        ("ROOMCAST_MAX_CHANNELS", "-1", "ROOMCAST_MAX_CHANNELS=128"),
        (
            "ROOMCAST_REGISTRATION",
            "maybe",
            "ROOMCAST_REGISTRATION=closed",
        ),
        (
            "ROOMCAST_PUBLIC_URL",
            "app.example.org",
            "ROOMCAST_PUBLIC_URL=https://app.example.org",
        ),
        (
            "ROOMCAST_ALLOWED_ORIGINS",
            "*",
            "ROOMCAST_ALLOWED_ORIGINS=https://",
        ),
        ("ROOMCAST_API_KEY", "hunter2", "ROOMCAST_API_KEY="),
        ("REDIS_URL", "redis://127.0.0.1", "REDIS_URL"),
    ] {
        let message = parse(&[], &[(name, value)]).unwrap_err();
        assert!(
            message.contains(name) && message.contains(example),
            "{name}={value}: {message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let message = parse(&[], &[("ROOMCAST_HEARTBEATS", "25s")]).unwrap_err();
    assert_eq!(
        message,
        "ROOMCAST_HEARTBEATS is not a setting\n  set in    environment\n  did you mean ROOMCAST_HEARTBEAT?"
    );
    assert!(parse(&[], &[("ROOMCAST_PORT_3000_TCP", "tcp://10.0.0.1:3000")]).is_ok());
}

#[test]
fn the_example_file_names_every_setting_and_no_other() {
    let text = include_str!("../../.env.example");
    let named: Vec<&str> = text
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    let mut expected: Vec<String> = Program::command()
        .get_arguments()
        .map(|arg| env_name(arg.get_id().as_str()))
        .filter(|name| !matches!(name.as_str(), "ROOMCAST_HELP" | "ROOMCAST_VERSION"))
        .collect();
    let mut named: Vec<String> = named.into_iter().map(str::to_owned).collect();
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
}

#[test]
fn origins_are_compared_as_browsers_send_them() {
    let origins = parse(
        &[],
        &[(
            "ROOMCAST_ALLOWED_ORIGINS",
            "https://App.Example.org:443/,http://localhost:5173",
        )],
    )
    .unwrap();
    let origins: Vec<_> = origins
        .config
        .allowed_origins
        .iter()
        .map(Origin::as_str)
        .collect();
    assert_eq!(
        origins,
        ["https://app.example.org", "http://localhost:5173"]
    );
    for bad in [
        "null",
        "ftp://a",
        "https://a/b",
        "https://u@a",
        "https://*.a",
        "https://a?b",
    ] {
        let result = parse(&[], &[("ROOMCAST_PUBLIC_URL", bad)]);
        assert!(result.is_err() || bad == "https://*.a", "{bad}");
    }
}
