//! The rules of the house that no compiler checks: who may use whom, what files say of themselves, and the oldest
//! versions of crates that are safe to have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Lines of code in one file, before its tests.
const MAX_LINES: usize = 500;
/// `ARCHITECTURE.md` is read in one go.
const MAX_ARCHITECTURE_LINES: usize = 230;

/// What modules may use of ours; those not named may use anything but `app`.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("realtime", &[]),
    ("timeout", &[]),
    ("store", &["realtime", "timeout"]),
    ("log", &["realtime", "store", "timeout"]),
    ("policy", &["caller", "realtime", "rules", "store"]),
    ("rules", &["config", "realtime"]),
    (
        "notify",
        &["caller", "error", "limits", "log", "realtime", "timeout"],
    ),
];

/// Who makes the application and who serves it.
const MAY_USE_APP: [&str; 6] = ["app", "dev", "http", "lib", "server", "transport"];

/// Crates that a module must not name.
const NOT_NAMED: [(&str, &[&str]); 3] = [
    (
        "realtime",
        &[
            "axum",
            "http",
            "http_body",
            "hyper",
            "sqlx",
            "tower",
            "tower_http",
            "tower_sessions",
        ],
    ),
    (
        "store",
        &[
            "axum",
            "http",
            "http_body",
            "hyper",
            "tower",
            "tower_http",
            "tower_sessions",
        ],
    ),
    (
        "log",
        &[
            "axum",
            "http",
            "http_body",
            "hyper",
            "tower",
            "tower_http",
            "tower_sessions",
        ],
    ),
];

/// Who else commits or appends, and why that is no way round the notification layer.
const COMMITS: [(&str, &str); 6] = [
    ("notify/mod.rs", "the layer itself"),
    (
        "session.rs",
        "a login begins and ends in the session layer, which stands outside the notification layer",
    ),
    (
        "last_seen.rs",
        "who comes and goes does so by connections, not requests",
    ),
    ("dev/mod.rs", "demo data comes with no request"),
    (
        "transport/admit.rs",
        "who comes back into a channel of the application's own does so with no request that changes something",
    ),
    (
        "transport/command.rs",
        "what a WebSocket client publishes comes with no request, and changes no row",
    ),
];

/// The oldest versions that are safe to have (`RustSec`, August 2026).
const FLOOR: [(&str, &str); 15] = [
    ("axum-core", "0.2.8"),
    ("bytes", "1.11.1"),
    ("crossbeam-channel", "0.5.15"),
    ("dashmap", "5.1.0"),
    ("h2", "0.4.16"),
    ("idna", "1.0.0"),
    ("lru", "0.18.2"),
    ("regex", "1.5.5"),
    ("ring", "0.17.12"),
    ("rustls", "0.23.18"),
    ("slab", "0.4.11"),
    ("sqlx", "0.8.1"),
    ("time", "0.3.47"),
    ("tokio", "1.44.2"),
    ("tungstenite", "0.20.1"),
];

/// One Rust file, by its path below `src` or `tests/it`.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// `realtime` of `realtime/room.rs`, `policy` of `policy.rs`.
    fn module(&self) -> &str {
        self.path
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
    }

    /// The lines before the tests, comments left out.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.before_tests()
            .filter(|line| !line.trim_start().starts_with("//"))
    }

    fn before_tests(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| *line != "#[cfg(test)]")
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs")
    }

    /// The modules of ours that this file names: `a` of `crate::a::…`, and each of `crate::{a, b::…}`.
    fn uses(&self) -> Vec<String> {
        let code: String = self.code().collect::<Vec<_>>().join(" ");
        let mut found = Vec::new();
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            if let Some(list) = rest.strip_prefix('{') {
                let list = list.split('}').next().unwrap_or_default();
                found.extend(
                    list.split(',')
                        .map(|item| first_word(item.trim()).to_owned()),
                );
            } else {
                found.push(first_word(rest).to_owned());
            }
        }
        found.retain(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        found
    }
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .next()
        .unwrap_or_default()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a folder, in order.
fn sources(folder: &str) -> Vec<Source> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let folder = Path::new(ROOT).join(folder);
    let mut paths = Vec::new();
    collect(&folder, &mut paths);
    paths.sort();
    let source = |path: &PathBuf| Source {
        path: path
            .strip_prefix(&folder)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(source).collect()
}

/// Fails with all that is wrong at once.
#[track_caller]
fn none(rule: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let allowed = MAY_USE
            .iter()
            .find(|(of, _)| *of == module)
            .map(|(_, allowed)| *allowed);
        for used in source.uses() {
            let fine = match allowed {
                Some(allowed) => used == module || allowed.contains(&&*used),
                None => used != "app" || MAY_USE_APP.contains(&module),
            };
            if !fine {
                wrong.push(format!("{} uses crate::{used}", source.path));
            }
        }
    }
    none(
        "these modules may not use those; see \"Who may use whom\" in ARCHITECTURE.md",
        wrong,
    );
}

#[test]
fn rooms_know_no_http_and_no_sql_and_rows_no_http() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let Some((_, banned)) = NOT_NAMED
            .iter()
            .find(|(module, _)| *module == source.module())
        else {
            continue;
        };
        for line in source.code() {
            let named = banned.iter().find(|name| names_crate(line, name));
            wrong
                .extend(named.map(|name| format!("{} names {name}: {}", source.path, line.trim())));
        }
    }
    none("these modules may not name those crates", wrong);
}

/// Whether a line has `name::` that is not the end of a longer word or path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = line[..at]
            .strip_suffix("::")
            .map_or(&line[..at], |before| before);
        !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[test]
fn only_the_notification_layer_commits_for_requests() {
    let commits = |line: &str| {
        [".commit(", ".append(", "turn.keep("]
            .iter()
            .any(|word| line.contains(word))
    };
    let mut wrong = Vec::new();
    for source in sources("src") {
        let listed = COMMITS.iter().any(|(path, _)| *path == source.path);
        let own = matches!(source.module(), "log" | "realtime");
        let found = source.code().find(|line| commits(line));
        match found {
            Some(line) if !listed && !own => {
                wrong.push(format!("{} commits: {}", source.path, line.trim()));
            }
            None if listed => {
                wrong.push(format!(
                    "{} commits no more; take it off the list",
                    source.path
                ));
            }
            _ => {}
        }
    }
    none("a handler returns Notify, and the layer commits", wrong);
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests/it", "examples", "benches"] {
        for source in sources(folder) {
            let path = format!("{folder}/{}", source.path);
            if !source.text.starts_with("//! ") {
                wrong.push(format!("{path} does not open with //!"));
            }
            let lines = source.before_tests().count();
            if lines > MAX_LINES {
                wrong.push(format!(
                    "{path} has {lines} lines before its tests, more than {MAX_LINES}"
                ));
            }
        }
    }
    none(
        "a file opens with what it is for, and does one thing",
        wrong,
    );
}

#[test]
fn no_test_file_is_forgotten() {
    let main = read("tests/it/main.rs");
    let mut wrong = Vec::new();
    for source in sources("tests/it") {
        let name = source.path.trim_end_matches(".rs");
        if name != "main"
            && !name.contains('/')
            && !main.lines().any(|line| line == format!("mod {name};"))
        {
            wrong.push(format!("{} is not in tests/it/main.rs", source.path));
        }
    }
    none("a test that is not wired in never runs", wrong);
}

#[test]
fn the_architecture_names_every_file_and_no_other() {
    let architecture = read("ARCHITECTURE.md");
    let lines = architecture.lines().count();
    assert!(
        lines <= MAX_ARCHITECTURE_LINES,
        "ARCHITECTURE.md has {lines} lines, more than {MAX_ARCHITECTURE_LINES}"
    );
    let (_, tree) = architecture
        .split_once("```\nsrc/\n")
        .expect("the tree, in a block of its own");
    let tree = tree.split("```").next().unwrap_or_default();
    let named: Vec<&str> = tree
        .split_whitespace()
        .filter(|word| word.ends_with(".rs"))
        .collect();
    let files: Vec<Source> = sources("src")
        .into_iter()
        .filter(|source| !source.is_test())
        .collect();
    let unnamed = files
        .iter()
        .filter(|source| !named.contains(&&*source.path));
    none(
        "these files are not in the tree of ARCHITECTURE.md",
        unnamed.map(|source| source.path.clone()).collect(),
    );
    let gone = named
        .iter()
        .filter(|name| !files.iter().any(|source| source.path == **name));
    none(
        "these files in the tree of ARCHITECTURE.md are gone",
        gone.map(ToString::to_string).collect(),
    );
}

#[test]
fn documents_point_at_files_that_exist() {
    let mut wrong = Vec::new();
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ];
    for document in documents.into_iter().chain([
        "docs/protocol.md",
        "docs/http.md",
        "docs/durability.md",
        "docs/channels.md",
        "docs/client.md",
        "docs/configuration.md",
        "docs/deployment.md",
        "docs/troubleshooting.md",
        "docs/upgrading.md",
        "docs/limits.md",
        "docs/restarts.md",
        "docs/tls.md",
        "docs/operations.md",
        "docs/performance.md",
    ]) {
        let text = read(document);
        let folder = Path::new(ROOT)
            .join(document)
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                wrong.push(format!("{document} points at {target}"));
            }
        }
    }
    none("these links lead nowhere", wrong);
}

#[test]
fn names_say_what_a_thing_is() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for line in source.code() {
            let mut words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let defines =
                words.any(|word| matches!(word, "struct" | "enum" | "trait" | "type" | "mod"));
            let name = words.next().unwrap_or_default();
            let empty = ["Manager", "Helper", "Util"]
                .iter()
                .any(|end| name.ends_with(end));
            if defines
                && (empty
                    || matches!(
                        name,
                        "utils" | "util" | "helpers" | "common" | "misc" | "prelude"
                    ))
            {
                wrong.push(format!("{} defines {name}", source.path));
            }
            let exported = line.trim_start();
            if exported.starts_with("pub") && exported.contains("use ") && exported.contains("::*")
            {
                wrong.push(format!(
                    "{} exports whatever there is: {exported}",
                    source.path
                ));
            }
        }
    }
    none(
        "names that say nothing, and exports that hide what they are",
        wrong,
    );
}

#[test]
fn crates_are_not_older_than_is_safe() {
    let lock = read("Cargo.lock");
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        let value = |key: &str| {
            line.strip_prefix(key)?
                .strip_prefix(" = \"")?
                .strip_suffix('"')
        };
        name = value("name").unwrap_or(name);
        if let Some(version) = value("version") {
            versions.entry(name).or_default().push(version);
        }
    }
    assert!(
        versions.contains_key("tokio") && versions.contains_key("tungstenite"),
        "Cargo.lock is not understood"
    );
    let mut wrong = Vec::new();
    let mut check = |name: &str, floor: &str, of: &dyn Fn(&str) -> bool| {
        for version in versions
            .get(name)
            .into_iter()
            .flatten()
            .filter(|version| of(version))
        {
            if numbers(version) < numbers(floor) {
                wrong.push(format!("{name} {version}, expected at least {floor}"));
            }
        }
    };
    for (name, floor) in FLOOR {
        check(name, floor, &|_| true);
    }
    check("tracing-subscriber", "0.3.20", &|_| true);
    // Mended in both lines.
    check("rand", "0.8.6", &|version| version.starts_with("0.8."));
    check("rand", "0.9.3", &|version| !version.starts_with("0.8."));
    none("these crates have known faults", wrong);
}

fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    release
        .split('.')
        .map(|number| number.parse().unwrap_or(0))
        .collect()
}
