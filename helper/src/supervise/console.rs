//! The supervisor's ends of a process's stdio: bytes into it, bytes out of it.

use std::os::fd::OwnedFd;

use pinnace_helper::protocol::log::Stream;
use rustix::io::Errno;

/// The writing end of a process's standard input, with what it has not taken yet.
///
/// The backlog is at most what one read from a client returned: nothing is read from any client while there is one.
#[derive(Debug)]
pub(super) struct Input {
    fd: Option<OwnedFd>,
    backlog: Vec<u8>,
    written: usize,
    closing: bool,
}

impl Input {
    /// Takes the writing end; `None`: what is written is thrown away.
    pub(super) fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, backlog: Vec::new(), written: 0, closing: false }
    }

    /// Returns whether the process has taken everything so far.
    pub(super) fn is_idle(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Returns the end to wait for, if there is something to write.
    pub(super) fn waits_for(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| !self.is_idle())
    }

    /// Writes bytes; what is not taken now is kept.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if !self.is_idle() {
            self.backlog.extend_from_slice(bytes);
            return;
        }
        let taken = self.write_now(bytes);
        self.backlog.extend_from_slice(&bytes[taken..]);
    }

    /// Goes on with what was kept.
    pub(super) fn go_on(&mut self) {
        let backlog = std::mem::take(&mut self.backlog);
        self.written += self.write_now(&backlog[self.written..]);
        if self.written < backlog.len() && self.fd.is_some() {
            self.backlog = backlog;
            return;
        }
        self.written = 0;
        if self.closing {
            self.fd = None;
        }
    }

    /// Closes the end when everything is written.
    pub(super) fn close(&mut self) {
        self.closing = true;
        if self.is_idle() {
            self.fd = None;
        }
    }

    /// Returns how much was taken, which is everything if nobody will ever take it.
    fn write_now(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(fd) = &self.fd
            && taken < bytes.len()
        {
            match rustix::io::write(fd, &bytes[taken..]) {
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return taken,
                // Nobody reads any more.
                Err(_) => self.fd = None,
            }
        }
        bytes.len()
    }
}

/// One reading end of a process's output.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
}

/// What one read of an output returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// Nothing ever again.
    Ended,
}

impl Output {
    /// Reads once.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        loop {
            return match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) => Read::Ended,
                Ok(count) => Read::Bytes(count),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Read::Empty,
                // A terminal whose other side is closed says EIO when everything was read.
                Err(_) => Read::Ended,
            };
        }
    }
}
