//! What systemd is told, and the sockets that it hands over.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::{PATIENCE, Program, roomcast};

/// The socket that systemd would listen on.
struct Systemd {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Systemd {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    /// Waits until this is said.
    async fn hears(&self, expected: &str) {
        let socket = self.socket.try_clone().unwrap();
        let expected = expected.to_owned();
        let listening = tokio::task::spawn_blocking(move || {
            let mut heard = [0; 1024];
            loop {
                let length = socket
                    .recv(&mut heard)
                    .unwrap_or_else(|error| panic!("{expected} was not said: {error}"));
                let text = std::str::from_utf8(&heard[..length]).unwrap();
                if text.lines().any(|line| line == expected) {
                    return;
                }
            }
        });
        listening.await.unwrap();
    }
}

#[tokio::test]
async fn it_says_when_it_is_ready_that_it_lives_and_when_it_ends() {
    let systemd = Systemd::new();
    let notify = systemd.folder.path().join("notify");
    let environment = [
        ("ROOMCAST_LISTEN", "127.0.0.1:0"),
        ("NOTIFY_SOCKET", notify.to_str().unwrap()),
        ("WATCHDOG_USEC", "100000"),
    ];
    let server = Program::start(roomcast(systemd.folder.path(), &["serve"], &environment)).await;
    systemd.hears("READY=1").await;
    for _ in 0..3 {
        systemd.hears("WATCHDOG=1").await;
    }
    server.signal("HUP").await;
    systemd.hears("WATCHDOG=1").await;
    server.signal("TERM").await;
    systemd.hears("STOPPING=1").await;
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn a_socket_that_it_is_given_is_where_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let program = roomcast(folder.path(), &["serve"], &[]);
    let mut shell = tokio::process::Command::new("sh");
    // The first of systemd's sockets is file 3, and the process's own id is in the environment.
    shell
        .args([
            "-c",
            "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" serve",
        ])
        .arg(program.as_std().get_program())
        .env_clear()
        .env("LISTEN_FDS", "1")
        .current_dir(&folder)
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let server = Program::start(shell).await;
    assert_eq!(server.address, address);
    server.nobody().get("/status").await.is(401);
    server.signal("TERM").await;
    assert_eq!(server.end().await, Some(0));
}
