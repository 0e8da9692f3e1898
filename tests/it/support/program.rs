//! The program itself, in a folder of its own, with nothing of the environment that the tests run in.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, Person};

/// The program, to be given arguments and an environment.
pub(crate) fn roomcast(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it to its end: the status, and what it said and complained of.
pub(crate) async fn run(mut command: Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Whoever refuses does so without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("it did not end")
        .unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// A server that runs as a program. It ends with the test.
pub(crate) struct Program {
    pub(crate) address: String,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Program {
    /// Starts it, and waits for it to say where it listens.
    pub(crate) async fn start(mut command: Command) -> Self {
        Self::start_logging(&mut command, Stdio::null()).await
    }

    /// The same, with a place for what it logs.
    pub(crate) async fn start_logging(command: &mut Command, log: Stdio) -> Self {
        let mut child = command.stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("it said nothing")
            .unwrap();
        let line = line.expect("a line before the end");
        let address = line
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("it said {line:?}"));
        Self {
            address: address.to_owned(),
            lines,
            child,
        }
    }

    /// Somebody who is not logged in.
    pub(crate) fn nobody(&self) -> Person {
        Person::nobody(self.address.parse().unwrap())
    }

    /// Sends a signal: TERM or INT.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a process that runs").to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, and says with which status.
    pub(crate) async fn end(mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it did not end")
            .unwrap()
            .code()
    }
}
