//! One control connection to a helper.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::sys;
use pinnace_helper::protocol::{Report, Request, packet};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connected control socket.
#[derive(Debug)]
pub struct Connection {
    socket: AsyncFd<OwnedFd>,
}

impl Connection {
    /// Takes over a connected, non-blocking `SOCK_SEQPACKET` socket. Must be called inside the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = sys::watch(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket })
    }

    /// Connects to the control socket of a helper that an earlier daemon started.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::new(socket)
    }

    /// Sends a request with descriptors beside it.
    pub async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(request)?;
        self.socket.async_io(Interest::WRITABLE, |socket| packet::send_bytes(socket.as_fd(), &bytes, fds)).await
    }

    /// Receives the next report; `None` when the helper is gone. May be cancelled without losing one.
    pub async fn receive(&self) -> io::Result<Option<Report>> {
        let received =
            self.socket.async_io(Interest::READABLE, |socket| packet::receive::<Report>(socket.as_fd())).await;
        match received {
            Ok(Some((report, _no_descriptors))) => Ok(Some(report)),
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}
