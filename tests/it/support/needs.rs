//! Programs of others that a test is about.

use std::io::Write;

/// Set, as `.ci/run` does: whatever a test needs has to be there.
const REQUIRE: &str = "ROOMCAST_TEST_REQUIRE";

/// Whether a program is on the path. Where it is missing the test is left out, and says so even though it passes;
/// with `ROOMCAST_TEST_REQUIRE` set it fails instead.
pub(crate) fn needs(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return true;
    }
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{program} is missing, and {REQUIRE} is set"
    );
    // Not `eprintln!`, which nobody sees of a test that passes.
    let _ = writeln!(
        std::io::stderr(),
        "LEFT OUT: a test that needs {program}, which is missing"
    );
    false
}
