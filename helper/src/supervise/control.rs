//! Conversations with daemons: any number at a time, none of which can hold the helper up.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use pinnace_helper::protocol::packet::{self, MAX_PACKET};
use pinnace_helper::protocol::{PROTOCOL_VERSION, Report, Request, Status};
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::net::SocketFlags;

use crate::fault::ignore;

/// How many messages wait for a daemon that does not read before it is given up (arbitrary).
const MAX_QUEUE: usize = 1024;

/// One connected daemon.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    queue: VecDeque<Vec<u8>>,
    broken: bool,
}

/// What came from a daemon.
#[derive(Debug)]
pub(super) enum Received {
    Request(Request, Vec<OwnedFd>),
    /// A packet that is no request.
    Malformed(String),
    Nothing,
}

/// Makes a descriptor one that never blocks. A failure shows as soon as it would.
pub(super) fn make_nonblocking(fd: impl AsFd) {
    ignore(rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK));
}

/// Accepts a connection of a process that is root, which is what a daemon is.
pub(super) fn accept(listener: &OwnedFd) -> Option<Connection> {
    let socket = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    peer.uid.is_root().then_some(Connection { socket, queue: VecDeque::new(), broken: false })
}

impl Connection {
    /// Takes the connection that the helper was started with.
    pub(super) fn new(socket: OwnedFd) -> Option<Self> {
        make_nonblocking(&socket);
        Some(Self { socket, queue: VecDeque::new(), broken: false })
    }

    /// Says who speaks, and how the container is.
    pub(super) fn greet(&mut self, status: Status) {
        let helper_pid = i32::try_from(std::process::id()).unwrap_or(0);
        self.send(&Report::Hello { version: PROTOCOL_VERSION, helper_pid });
        self.send(&Report::Status(status));
    }

    /// Returns whether nothing more can be said or heard.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns what to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.queue.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Sends a report, or keeps it until it can be sent.
    pub(super) fn send(&mut self, report: &Report) {
        if self.broken {
            return;
        }
        match serde_json::to_vec(report) {
            Ok(bytes) if self.queue.len() < MAX_QUEUE => self.queue.push_back(bytes),
            Ok(_) | Err(_) => self.broken = true,
        }
        self.flush();
    }

    /// Sends what was kept.
    pub(super) fn flush(&mut self) {
        while let Some(bytes) = self.queue.front() {
            match packet::send_bytes(&self.socket, bytes, &[]) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Receives one packet.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match packet::receive_bytes(&self.socket, &mut buffer[..MAX_PACKET]) {
            Ok(Some((length, fds))) => match serde_json::from_slice(&buffer[..length]) {
                Ok(request) => Received::Request(request, fds),
                Err(error) => Received::Malformed(error.to_string()),
            },
            Ok(None) => {
                self.broken = true;
                Received::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Received::Malformed(error.to_string()),
            Err(_) => {
                self.broken = true;
                Received::Nothing
            }
        }
    }
}
