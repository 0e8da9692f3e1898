//! The documents: every route has its line in docs/http.md, links lead somewhere, and prose is as wide as the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::described::{METHODS, OPENAPI};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MAX_WIDTH: usize = 120;

const DOCUMENTS: [&str; 11] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/protocol.md",
    "docs/http.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/channels.md",
    "docs/durability.md",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a document that are no block of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines()
        .enumerate()
        .filter(move |(_, line)| {
            let fence = line.starts_with("```");
            in_code ^= fence;
            !in_code && !fence
        })
        .map(|(at, line)| (at + 1, line))
}

/// What is routed with no description: the descriptions themselves, and the pages.
const UNDESCRIBED: [&str; 13] = [
    "GET /",
    "GET /admin",
    "GET /asyncapi.json",
    "GET /assets/{file}",
    "GET /chat",
    "GET /client.global.js",
    "GET /client.js",
    "GET /dashboard",
    "GET /docs",
    "GET /editor",
    "GET /openapi.json",
    "GET /pages.json",
    "GET /sign-in",
];

/// `GET /api/v1/users` and the like.
fn routes() -> BTreeSet<String> {
    let described = OPENAPI["paths"].as_object().unwrap().iter();
    let described = described.flat_map(|(path, item)| {
        let methods = METHODS.iter().filter(|method| item.get(method).is_some());
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    described.chain(UNDESCRIBED.map(str::to_owned)).collect()
}

#[test]
fn no_route_stands_beside_the_description() {
    let source = read("src/http/mod.rs");
    let bare: Vec<_> = source.split(".route(").skip(1).collect();
    assert!(
        matches!(&*bare, [one] if one.starts_with("\"/ws\"")),
        "routes of src/http/mod.rs go through routes!, so that they are described"
    );
}

#[test]
fn every_route_is_in_the_table_and_no_other() {
    let table = read("docs/http.md");
    let told: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(route, _)| route.to_owned())
        .filter(|route| route.contains(" /"))
        .collect();
    let routes = routes();
    let missing: Vec<_> = routes.difference(&told).collect();
    let gone: Vec<_> = told.difference(&routes).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/http.md lacks {missing:#?}, and has {gone:#?} that is not there"
    );
}

#[test]
fn links_lead_to_headings_that_exist() {
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let folder = Path::new(document).parent().unwrap();
        for (line, text) in prose(&read(document)) {
            for (at, _) in text.match_indices("](") {
                let target = text[at + 2..].split(')').next().unwrap();
                let Some((file, heading)) = target.split_once('#') else {
                    continue;
                };
                if file.contains("://") {
                    continue;
                }
                let file = match file {
                    "" => document.to_owned(),
                    file => folder.join(file).to_str().unwrap().to_owned(),
                };
                let named = prose(&read(&file)).any(|(_, line)| slug(line) == heading);
                if !named {
                    wrong.push(format!("{document}:{line} points at {target}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a heading is called in an address.
fn slug(line: &str) -> String {
    let heading = line.trim_start_matches('#');
    if heading == line {
        return String::new();
    }
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[test]
fn prose_is_wrapped() {
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        for (line, text) in prose(&read(document)) {
            // A row of a table cannot be broken.
            if text.chars().count() > MAX_WIDTH && !text.starts_with('|') {
                wrong.push(format!("{document}:{line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "wider than {MAX_WIDTH}: {wrong:#?}");
}
