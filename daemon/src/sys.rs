//! The daemon's only `unsafe`: what no safe library call does.
#![expect(unsafe_code, reason = "the one module of the daemon that may")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime. Must be called inside it.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` refers to the same open descriptor until it is dropped, and the registration owns it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    registered.map_err(|error| error.into_parts().1)
}

/// Returns how many bytes a unix socket's peer has not read yet.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int, to a place that is one: unix(7).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// Lets the allocator make two arenas only: by default each of the blocking threads gets one of its own, and keeps what
/// it once held.
pub fn few_arenas() {
    // SAFETY: mallopt(3) only sets a parameter of the allocator.
    let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
    if done == 0 {
        tracing::debug!("the allocator takes no bound of its arenas");
    }
}
