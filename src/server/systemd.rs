//! systemd: sockets that it hands over, and telling it how the server is (`sd_listen_fds(3)`, `sd_notify(3)`).

use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;

use crate::app::Roomcast;

/// The socket of a socket unit, if the server was started with one.
///
/// # Errors
/// When what was handed over is no listening socket of TCP.
pub fn activated() -> anyhow::Result<Option<TcpListener>> {
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0).map_err(|error| {
        anyhow::anyhow!("the socket from systemd (LISTEN_FDS) cannot be used: {error}")
    })?
    else {
        return Ok(None);
    };
    listener.set_nonblocking(true)?;
    Ok(Some(TcpListener::from_std(listener)?))
}

/// Says that requests are served, and from then on that the process lives, where systemd asks for that.
pub fn ready(app: &Roomcast) {
    tell(&[NotifyState::Ready, NotifyState::Status("serves requests")]);
    if let Some(within) = sd_notify::watchdog_enabled() {
        app.doors().spawn(watch(app.clone(), within / 2));
    }
}

/// Says that the server is about to end.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("sends its clients away"),
    ]);
}

/// Tells systemd again and again that tasks run and rooms can be reached. The database is no part of it: to start anew
/// does not mend that.
async fn watch(app: Roomcast, every: Duration) {
    loop {
        app.registry().cursor();
        tell(&[NotifyState::Watchdog]);
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = app.ended().cancelled() => return,
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
