//! The program itself, as a process that can be killed at any instant and started again on the same database.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::{PATIENCE, Person};

/// A running `roomcast serve`. Dropped, it is killed.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    log: Arc<Mutex<String>>,
    /// Nothing only once it has been given back.
    folder: Option<TempDir>,
}

impl Server {
    /// Starts on a folder with a database, or without one yet, and waits until it listens.
    pub(crate) async fn start(folder: TempDir) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// With other settings.
    pub(crate) async fn start_with(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        let command = command(&folder, settings);
        Self::start_command(folder, command).await
    }

    /// However the process is made.
    pub(crate) async fn start_command(folder: TempDir, mut command: Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (
            process.stdout.take().unwrap(),
            process.stderr.take().unwrap(),
        );
        let log = Arc::new(Mutex::new(String::new()));
        let reading = std::thread::spawn({
            let log = Arc::clone(&log);
            move || read_all(stderr, &log)
        });
        let listening = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, listening)
            .await
            .expect("it says nothing");
        let line = line.unwrap().unwrap();
        let address = line
            .trim_end()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = reading.join();
            panic!("it said {line:?}, and {:?}", log.lock().unwrap());
        };
        let folder = Some(folder);
        Self {
            address,
            process,
            log,
            folder,
        }
    }

    /// What a process says that does not start, and its exit code.
    pub(crate) async fn refusal(folder: &TempDir) -> (Option<i32>, String) {
        let mut command = command(folder, &[]);
        let ended = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it did not end");
        let output = output.unwrap().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    pub(crate) fn folder(&self) -> &TempDir {
        self.folder
            .as_ref()
            .expect("it is there until the server is gone")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What the operating system says that it holds.
    pub(crate) fn holds(&self) -> Holding {
        Holding::of(self.pid())
    }

    /// SIGKILL: no instruction more.
    pub(crate) fn kill(mut self) -> TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.folder.take().unwrap()
    }

    /// SIGTERM, and waits for the clean end.
    pub(crate) async fn stop(mut self) -> TempDir {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        super::eventually("the server has ended", async || {
            self.process.try_wait().unwrap().is_some()
        })
        .await;
        let status = self.process.wait().unwrap();
        assert!(status.success(), "it ended with {status}");
        self.folder.take().unwrap()
    }

    /// Somebody new, logged in.
    pub(crate) async fn person(&self, name: &str) -> Person {
        Person::somebody(self.address, name).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `roomcast serve` in a folder, with nothing of our own environment in it.
pub(crate) fn command(folder: &TempDir, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command
        .arg("serve")
        .current_dir(folder)
        .env_clear()
        .env("ROOMCAST_LISTEN", "127.0.0.1:0")
        .env("DATABASE_URL", "sqlite://test.db")
        .env("ROOMCAST_REGISTRATION", "open")
        .env("ROOMCAST_MESSAGES_PER_SECOND", "1000000")
        .env("RUST_LOG", "warn")
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Read to the end all the time, so that the server never waits for a full pipe.
fn read_all(stderr: ChildStderr, log: &Mutex<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut log = log.lock().unwrap();
        log.push_str(&line);
        log.push('\n');
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// Kibibytes of memory (`VmRSS`).
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
}

impl Holding {
    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).unwrap()
        };
        Self {
            memory: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap()
                .count(),
        }
    }
}
