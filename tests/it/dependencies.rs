//! What we are built on: one provider of TLS, licences that everybody may use, and crates from one place.

use std::process::Command;

/// Crates that would be a second provider of cryptography, or another TLS.
const BANNED: [&str; 6] = [
    "ring",
    "openssl",
    "openssl-sys",
    "native-tls",
    "schannel",
    "rustls-ring",
];

/// Licences that ask for no more than to be named. Each crate has to be usable under these alone.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// The crates that are really built, with their licences; the lock file has those for other systems and features, too.
fn built() -> Vec<(String, String)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--all-features", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p}|{l}"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates = tree.lines().filter(|line| !line.is_empty()).map(|line| {
        let (package, licence) = line.split_once('|').unwrap();
        let name = package.split(' ').next().unwrap();
        (name.to_owned(), licence.trim_end_matches(" (*)").to_owned())
    });
    crates.collect()
}

/// Whether what a package says of its licence can be met with ours alone (SPDX, with `/` for `OR` as it once was).
fn is_free(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" AND ").all(|part| {
        part.split(" OR ").any(|licence| {
            LICENCES.contains(
                &licence
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .as_str(),
            )
        })
    })
}

#[test]
fn there_is_one_provider_of_tls_and_every_crate_is_free_and_from_one_place() {
    let crates = built();
    assert!(
        crates.iter().any(|(name, _)| name == "aws-lc-rs"),
        "the tree is not understood"
    );
    let mut wrong = Vec::new();
    for (name, licence) in crates {
        if BANNED.contains(&&*name) {
            wrong.push(format!(
                "{name} is built; aws-lc-rs is to be the only provider"
            ));
        }
        if !is_free(&licence) {
            wrong.push(format!("{name} is under {licence:?}"));
        }
    }
    let lock = include_str!("../../Cargo.lock");
    let sources = lock.lines().filter(|line| line.starts_with("source = "));
    wrong.extend(
        sources
            .filter(|line| !line.contains("registry+https://github.com/rust-lang/crates.io-index"))
            .map(str::to_owned),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_licence_is_free_if_one_of_its_choices_is_and_each_of_its_parts() {
    for free in [
        "MIT",
        "MIT OR Apache-2.0",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
    ] {
        assert!(is_free(free), "{free}");
    }
    for other in ["GPL-3.0", "MPL-2.0", "MIT AND GPL-3.0", "none"] {
        assert!(!is_free(other), "{other}");
    }
}
