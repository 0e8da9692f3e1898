//! The start in README.md, run as it stands: its commands in one shell, against the real program, and what it shows.
//!
//! Three things differ from what a reader does: the server takes a free port, `cargo run --` is the program that cargo
//! has built already, and the kill hits our server alone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::support::{PATIENCE, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_roomcast");
const SECTION: &str = "## A two-minute start\n";

/// A fenced block: its language and what it says.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// The fenced blocks of a Markdown text.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let text = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .map(|line| format!("{line}\n"))
            .collect();
        blocks.push(Block {
            language: language.to_owned(),
            text,
        });
    }
    blocks
}

/// The reader's second terminal, and the server in the first.
struct Reader {
    folder: tempfile::TempDir,
    shell: Child,
    typing: ChildStdin,
    server: Option<Child>,
    /// Held open: a program that cannot speak ends.
    says: Option<BufReader<ChildStdout>>,
    typed: usize,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The server first: what the shell has left running ends with it.
        for child in self.server.iter_mut().chain([&mut self.shell]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = fs::File::create(folder.path().join("output")).unwrap();
        let mut shell = Command::new("sh");
        shell
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let mut shell = clean(&mut shell, folder.path()).spawn().unwrap();
        let typing = shell.stdin.take().unwrap();
        Self {
            folder,
            shell,
            typing,
            server: None,
            says: None,
            typed: 0,
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("output")).unwrap()).into_owned()
    }

    async fn types(&mut self, text: &str) {
        self.typed += 1;
        let done = format!("typed {}", self.typed);
        let text = text.replace("cargo run -- ", &format!("{PROGRAM} "));
        writeln!(self.typing, "{text}printf '\\n{done}\\n'").unwrap();
        self.sees(&[&done]).await;
    }

    /// Starts the server, waits until it says where it listens, and tells the shell.
    async fn starts(&mut self, verb: &str) {
        self.stops();
        let mut server = Command::new(PROGRAM);
        server
            .args([verb, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut server = clean(&mut server, self.folder.path()).spawn().unwrap();
        let mut says = BufReader::new(server.stdout.take().unwrap());
        self.server = Some(server);
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            says.read_line(&mut line).map(|_| (line, says))
        });
        let heard = tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("the server says nothing");
        let (line, says) = heard.unwrap().unwrap();
        self.says = Some(says);
        let address = line.trim_end().strip_prefix("listening on ").unwrap();
        self.types(&format!("HERE={address}\nROOMCAST=$HERE\n"))
            .await;
    }

    fn stops(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Waits until each of these lines has come; "…" stands for anything.
    async fn sees(&self, lines: &[&str]) {
        let missing = || {
            lines
                .iter()
                .find(|line| !self.shown().lines().any(|shown| is_like(shown, line)))
        };
        let seen = eventually("everything is shown", async || missing().is_none());
        if tokio::time::timeout(PATIENCE / 2, seen).await.is_err() {
            panic!("expected {:?}\nin\n{}", missing(), self.shown());
        }
    }
}

/// A child that knows nothing of the settings around it and leaves nothing behind.
fn clean<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ROOMCAST")
            || matches!(&*name, "DATABASE_URL" | "REDIS_URL" | "RUST_LOG")
        {
            command.env_remove(&*name);
        }
    }
    command.current_dir(folder).env("TMPDIR", folder)
}

fn is_like(shown: &str, expected: &str) -> bool {
    let Some((first, rest)) = expected.split_once('…') else {
        return shown == expected;
    };
    let mut pieces: Vec<&str> = rest.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    let Some(between) = shown
        .strip_prefix(first)
        .and_then(|shown| shown.strip_suffix(last))
    else {
        return false;
    };
    pieces
        .iter()
        .try_fold(between, |left, piece| Some(left.split_once(piece)?.1))
        .is_some()
}

#[tokio::test]
async fn the_start_in_the_readme_works_as_it_stands() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once(SECTION).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut reader = Reader::new();
    for block in blocks(section) {
        match (&*block.language, &*block.text) {
            ("sh", "make run\n") => reader.starts("dev").await,
            ("sh", "cargo run -- serve\n") => reader.starts("serve").await,
            ("sh", "pkill -9 -x roomcast\n") => reader.stops(),
            ("sh", text) => {
                assert!(!text.contains("kill") && !text.contains("make "), "{text}");
                reader
                    .types(&text.replace("ROOMCAST=http://127.0.0.1:3000\n", "ROOMCAST=$HERE\n"))
                    .await;
            }
            ("text", text) => reader.sees(&text.lines().collect::<Vec<_>>()).await,
            (language, _) => panic!("nothing is known of {language:?} blocks"),
        }
    }
    assert!(reader.typed > 8, "the section has lost its blocks");
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    assert!(is_like("id: 5f3a9c21-2", "id: …-2"));
    assert!(is_like("{\"a\":1,\"b\":2}", "{…\"b\":2}"));
    assert!(is_like("abc", "a…"));
    assert!(!is_like("id: 5f3a9c21-23", "id: …-2"));
    assert!(!is_like(" id", "id"));
    assert!(!is_like("idle", "id"));
}
