//! What the rules say, and which are refused.

use std::time::Duration;

use super::*;

const ASK: &str =
    "[ask]\nurl = \"https://app.example.org/access\"\nsecret = \"hunter2hunter2hunter2hunter2\"\n";

fn parse(text: &str) -> Result<Rules, String> {
    let environment = [
        ("APP_SECRET", "hunter2 from the environment"),
        ("SHORT", "hunter2"),
    ];
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Rules::parse("channels.toml", text, &environment, 65_536)
}

fn of(rules: &Rules, channel: &str) -> Rule {
    rules.of(&channel.parse().unwrap())
}

#[test]
fn without_rules_the_safe_ones_hold() {
    for rules in [
        Rules::default(),
        parse("").unwrap(),
        parse("[kinds]").unwrap(),
    ] {
        let order = of(&rules, "order:7");
        assert_eq!(
            (order.join, order.publish),
            (Join::Granted, Publish::Nobody)
        );
        assert!(!rules.is_listed(&"order:7".parse().unwrap()));
        for channel in [
            "document:7",
            "group:7",
            "global",
            "admin",
            "user:7",
            "presence:order:7",
        ] {
            let rule = of(&rules, channel);
            assert_eq!(
                (
                    rule.join,
                    rule.publish,
                    rule.events,
                    rule.max_message_bytes,
                    rule.history
                ),
                (Join::BuiltIn, Publish::Members, Events::Any, None, true),
                "{channel}"
            );
        }
        assert_eq!(of(&rules, "chat:7").events, Events::Volatile);
    }
}

#[test]
fn a_file_says_what_holds_and_the_rest_stays() {
    let rules = parse(&format!(
        "[kinds.order]\njoin = \"ask\"\npublish = \"members\"\nevents = \"kept\"\nmax_message_bytes = 4096\nhistory = false\n\
         [kinds.activity]\n[kinds.document]\nevents = \"volatile\"\n{ASK}timeout = \"500ms\"\ncache = \"0s\""
    ))
    .unwrap();
    assert_eq!(
        of(&rules, "order:7"),
        Rule {
            join: Join::Ask,
            publish: Publish::Members,
            events: Events::Kept,
            max_message_bytes: Some(4096),
            history: false,
        }
    );
    assert_eq!(of(&rules, "activity:7"), Rule::default());
    assert!(rules.is_listed(&"activity:7".parse().unwrap()));
    assert!(!rules.is_listed(&"document:7".parse().unwrap()));
    let document = of(&rules, "document:7");
    assert_eq!(
        (document.join, document.publish, document.events),
        (Join::BuiltIn, Publish::Members, Events::Volatile)
    );
    let endpoint = rules.endpoint().unwrap();
    assert_eq!(
        (endpoint.timeout(), endpoint.cache()),
        (Duration::from_millis(500), Duration::ZERO)
    );
    assert!(!format!("{rules:?}").contains("hunter2"));
}

#[test]
fn a_secret_is_base64_after_its_prefix_and_may_come_from_the_environment() {
    let endpoint = |secret: &str| {
        let text = format!("[ask]\nurl = \"http://127.0.0.1:1/\"\n{secret}");
        parse(&text).map(|rules| rules.endpoint().unwrap().key().to_vec())
    };
    assert_eq!(
        endpoint("secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"")
            .unwrap()
            .len(),
        24
    );
    assert_eq!(
        endpoint("secret_env = \"APP_SECRET\"").unwrap(),
        b"hunter2 from the environment"
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_an_example() {
    for (text, place, example) in [
        ("kinds = 1", "kinds is not a section", "[kinds.order]"),
        ("ask = 1", "ask is not a section", "[ask]"),
        (
            "[kind.order]",
            "\"kind\" is not a setting; did you mean kinds?",
            "[kinds.order]",
        ),
        (
            "[kinds]\norder = \"ask\"",
            "kinds.order is not a section",
            "[kinds.order]",
        ),
        (
            "[kinds.order]\njoins = \"ask\"",
            "[kinds.order] \"joins\" is not a setting; did you mean join?",
            "join = ",
        ),
        (
            "[kinds.order]\njoin = \"everybody\"",
            "[kinds.order] join is not one of \"nobody\", \"granted\", \"users\", \"ask\"",
            "join = \"granted\"",
        ),
        (
            "[kinds.order]\njoin = true",
            "[kinds.order] join is not one of",
            "join = ",
        ),
        (
            "[kinds.order]\njoin = \"ask\"",
            "[kinds.order] join is \"ask\", but nothing says whom",
            "join = ",
        ),
        (
            "[kinds.order]\npublish = \"all\"",
            "[kinds.order] publish is not one of \"nobody\", \"members\"",
            "publish = \"members\"",
        ),
        (
            "[kinds.order]\nevents = []",
            "[kinds.order] events is not one of \"any\", \"volatile\", \"kept\"",
            "events = \"any\"",
        ),
        (
            "[kinds.order]\nmax_message_bytes = 0",
            "[kinds.order] max_message_bytes is not a whole number from 1 to 65536",
            "max_message_bytes = 4096",
        ),
        (
            "[kinds.order]\nmax_message_bytes = 65537",
            "from 1 to 65536",
            "max_message_bytes = 4096",
        ),
        (
            "[kinds.order]\nmax_message_bytes = -1",
            "from 1 to 65536",
            "max_message_bytes = 4096",
        ),
        (
            "[kinds.order]\nhistory = \"yes\"",
            "[kinds.order] history is neither true nor false",
            "history = true",
        ),
        (
            "[kinds.Order]",
            "[kinds.Order] is not a kind of channel",
            "[kinds.order]",
        ),
        (
            "[kinds.\"order:7\"]",
            "is not a kind of channel",
            "[kinds.order]",
        ),
        ("[kinds.\"\"]", "is not a kind of channel", "[kinds.order]"),
        (
            "[kinds.global]",
            "[kinds.global] is built in",
            "[kinds.order]",
        ),
        (
            "[kinds.socket]",
            "[kinds.socket] is built in",
            "[kinds.order]",
        ),
        (
            "[kinds.presence]\nhistory = false",
            "[kinds.presence] is built in",
            "[kinds.order]",
        ),
        (
            "[kinds.document]\njoin = \"users\"",
            "[kinds.document] join cannot be set",
            "join = ",
        ),
        (
            "[kinds.chat]\nevents = \"any\"",
            "[kinds.chat] events cannot be that for chat",
            "events = ",
        ),
        ("[ask]", "[ask] url is missing", "url = \"https://"),
        (
            "[ask]\nurl = \"app\"",
            "[ask] secret is missing",
            "secret_env = ",
        ),
        (
            "[ask]\nurl = 5\nsecret = \"hunter2\"",
            "[ask] url is not text",
            "url = ",
        ),
        (
            "[ask]\nurl = \"app\"\nsecret = \"hunter2\"",
            "[ask] url is not an address",
            "url = ",
        ),
        (
            "[ask]\nurl = \"https://u:hunter2@a/\"\nsecret = \"hunter2hunter2hunter2hunter2\"",
            "[ask] url is not an address",
            "url = ",
        ),
        (
            "[ask]\nurl = \"http://app.example.org/\"\nsecret = \"hunter2hunter2hunter2hunter2\"",
            "[ask] url is not https",
            "url = ",
        ),
        (
            "[ask]\nurl = \"https://a/\"\nsecret = \"hunter2\"",
            "[ask] secret is shorter than 24 bytes",
            "secret_env = ",
        ),
        (
            "[ask]\nurl = \"https://a/\"\nsecret = \"whsec_hunter2\"",
            "[ask] secret is not base64",
            "secret_env = ",
        ),
        (
            "[ask]\nurl = \"https://a/\"\nsecret = 12345",
            "[ask] secret is not text",
            "secret_env = ",
        ),
        (
            "[ask]\nurl = \"https://a/\"\nsecret_env = \"SHORT\"",
            "[ask] secret_env is shorter than 24 bytes",
            "secret_env = ",
        ),
        (
            "[ask]\nurl = \"https://a/\"\nsecret_env = \"UNSET\"",
            "[ask] secret_env names \"UNSET\", which is not set",
            "secret_env = ",
        ),
        (
            "[ask]\nurl = \"https://a/\"\nsecret_env = \"SHORT\"\nsecret = \"hunter2\"",
            "stands beside secret",
            "secret_env = ",
        ),
        (
            &format!("{ASK}timeout = \"11s\""),
            "[ask] timeout is not from 100ms to 10s",
            "timeout = \"2s\"",
        ),
        (
            &format!("{ASK}timeout = 2"),
            "[ask] timeout is not text",
            "timeout = \"2s\"",
        ),
        (
            &format!("{ASK}timeout = \"soon\""),
            "[ask] timeout is not a duration",
            "timeout = \"2s\"",
        ),
        (
            &format!("{ASK}cache = \"2h\""),
            "[ask] cache is not from 0s to 1h",
            "cache = \"30s\"",
        ),
        (
            &format!("{ASK}retries = 3"),
            "[ask] \"retries\" is not a setting; expected one of url",
            "url = ",
        ),
        (
            "[ask]\nsecret = \"hunter2",
            "channels.toml, line 2: not TOML",
            "[kinds.order]",
        ),
        (
            "[ask]\nsecret = hunter2",
            "channels.toml, line 2: not TOML",
            "[kinds.order]",
        ),
        (
            "[kinds.order]\n[kinds.order]",
            "channels.toml, line 2: not TOML",
            "[kinds.order]",
        ),
    ] {
        let message = parse(text).unwrap_err();
        let (reason, shown) = message.split_once("\n  example   ").unwrap();
        assert!(
            reason.starts_with("channels.toml") && reason.contains(place),
            "{text}: {message}"
        );
        assert!(shown.starts_with(example), "{text}: {message}");
        assert!(!message.contains("hunter2"), "{text}: {message}");
    }
}

#[test]
fn plain_http_is_for_this_machine_or_for_who_says_so() {
    let secret = "hunter2hunter2hunter2hunter2";
    for url in [
        "http://127.0.0.1:1/a",
        "http://[::1]/",
        "http://localhost:1/",
        "https://app.example.org",
    ] {
        assert!(Endpoint::new(url, secret).is_ok(), "{url}");
    }
    for url in [
        "http://10.0.0.7/",
        "http://localhost.example.org/",
        "http://127.0.0.1.example.org/",
    ] {
        assert_eq!(
            Endpoint::new(url, secret),
            Err(InvalidEndpoint::Http),
            "{url}"
        );
        assert!(Endpoint::plain(url, secret).is_ok(), "{url}");
    }
    for url in [
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "",
        "/access",
        "https://",
        "https://a/#b",
    ] {
        assert_eq!(
            Endpoint::plain(url, secret),
            Err(InvalidEndpoint::Url),
            "{url}"
        );
    }
}

#[test]
fn rules_in_code_are_checked_alike() {
    let refused = |kind: &str, rule: Rule| Rules::default().with(kind, rule).unwrap_err();
    let ask = Rule {
        join: Join::Ask,
        ..Rule::default()
    };
    assert_eq!(refused("order", ask), InvalidRule::NobodyToAsk);
    assert_eq!(
        refused("order", Rule::built_in("document").unwrap()),
        InvalidRule::JoinIsNotBuiltIn
    );
    assert_eq!(
        refused("document", Rule::default()),
        InvalidRule::JoinIsBuiltIn
    );
    assert_eq!(
        refused("user", Rule::built_in("user").unwrap()),
        InvalidRule::Fixed
    );
    let nothing = Rule {
        max_message_bytes: Some(0),
        ..Rule::default()
    };
    assert_eq!(refused("order", nothing), InvalidRule::NothingFits);
}
