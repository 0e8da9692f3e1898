//! `roomcast serve --replace`: a server hands its listening sockets to the one that takes its place.
//!
//! The sockets stay open all the time, so nobody is refused: who comes in between waits in the kernel's queue until the
//! successor has opened the database, which one server at a time may have. The two meet at an abstract Unix socket
//! named after user and address (unix(7)): no file of it can be stale, and both look at whose process the other is.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;
use std::time::Duration;

use anyhow::Context;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::timeout;

/// What a successor says.
const REQUEST: &[u8] = b"roomcast: hand over\n";
/// How long each side may take for what it has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sockets that are handed over: the server's, and that for operators.
const MAX_SOCKETS: usize = 2;

/// Where a running server can be asked to hand over.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    sockets: Vec<OwnedFd>,
}

/// Who has asked, and has the sockets. It begins when this is dropped, at the latest with the end of the process.
#[derive(Debug)]
pub struct Successor {
    _stream: UnixStream,
}

/// What a predecessor has handed over.
#[derive(Debug)]
pub struct Inheritance {
    sockets: Vec<TcpListener>,
    predecessor: UnixStream,
}

fn name(address: SocketAddr) -> io::Result<unix::SocketAddr> {
    let user = rustix::process::geteuid().as_raw();
    unix::SocketAddr::from_abstract_name(format!("roomcast/{user}/{address}"))
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

impl Control {
    /// Can be asked from now on for these sockets, by the address of the first.
    ///
    /// # Errors
    /// When another process has that name already.
    pub fn open(listeners: &[&TcpListener]) -> io::Result<Self> {
        let first = listeners.first().ok_or(io::ErrorKind::InvalidInput)?;
        let listener = unix::UnixListener::bind_addr(&name(first.local_addr()?)?)?;
        listener.set_nonblocking(true)?;
        let sockets = listeners
            .iter()
            .map(|listener| listener.as_fd().try_clone_to_owned());
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            sockets: sockets.collect::<io::Result<_>>()?,
        })
    }

    /// Waits until a successor has asked, and has the sockets.
    pub async fn asked(&self) -> Successor {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a successor could not be heard");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if !is_ours(&stream) {
                tracing::warn!("a process of another user asked for this server's sockets");
                continue;
            }
            match timeout(PATIENCE, self.hand_over(stream)).await {
                Ok(Ok(stream)) => return Successor { _stream: stream },
                Ok(Err(error)) => tracing::warn!(%error, "a successor could not be answered"),
                Err(_) => tracing::warn!("a successor did not say what it wants"),
            }
        }
    }

    async fn hand_over(&self, mut stream: UnixStream) -> io::Result<UnixStream> {
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request).await?;
        if request != REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let sockets: Vec<BorrowedFd<'_>> = self.sockets.iter().map(AsFd::as_fd).collect();
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&sockets));
            let sent = rustix::net::sendmsg(
                &stream,
                &[IoSlice::new(b"!")],
                &mut control,
                SendFlags::empty(),
            );
            sent.map_err(io::Error::from)
        };
        stream.async_io(Interest::WRITABLE, send).await?;
        // Only once the successor has said that it has them is there no way back.
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    }
}

/// Asks the server at an address to hand over; nothing, where there is none. What it does not have of `others` is opened
/// before it goes: what cannot start replaces nobody.
///
/// # Errors
/// When there is one that cannot hand over; it goes on then.
pub async fn take_over(
    address: SocketAddr,
    others: impl IntoIterator<Item = SocketAddr>,
) -> anyhow::Result<Option<Inheritance>> {
    let stream = match unix::UnixStream::connect_addr(&name(address)?) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(error).context(format!("the server at {address} cannot be asked to go"));
        }
    };
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    anyhow::ensure!(
        is_ours(&stream),
        "the server at {address} is of another user"
    );
    let asking = async {
        stream.write_all(REQUEST).await?;
        let mut sockets = receive(&stream).await?;
        for other in others {
            let has = |socket: &TcpListener| socket.local_addr().is_ok_and(|own| own == other);
            if !sockets.iter().any(has) {
                let opened = super::bind(other);
                sockets.push(opened.map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("{other} cannot be listened on: {error}"),
                    )
                })?);
            }
        }
        stream.write_all(b"!").await?;
        Ok::<_, io::Error>(sockets)
    };
    let sockets = timeout(PATIENCE * 2, asking)
        .await
        .with_context(|| format!("the server at {address} does not answer; it goes on"))?
        .with_context(|| format!("the server at {address} did not hand over; it goes on"))?;
    Ok(Some(Inheritance {
        sockets,
        predecessor: stream,
    }))
}

async fn receive(stream: &UnixStream) -> io::Result<Vec<TcpListener>> {
    let receive = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        rustix::net::recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut received = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                received.extend(sockets);
            }
        }
        Ok(received)
    };
    let received: Vec<OwnedFd> = stream.async_io(Interest::READABLE, receive).await?;
    if received.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    received
        .into_iter()
        .map(|socket| {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        })
        .collect()
}

impl Inheritance {
    /// Waits until the predecessor has ended, which it does within its own `ROOMCAST_SHUTDOWN_TIMEOUT`.
    pub async fn wait(&mut self) {
        // An end with an error is an end as well.
        let _ = self.predecessor.read(&mut [0]).await;
    }

    /// The socket that listens on an address, if it was among those handed over.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self
            .sockets
            .iter()
            .position(|listener| listener.local_addr().is_ok_and(|own| own == address))?;
        Some(self.sockets.swap_remove(at))
    }
}
