//! Output to attached clients: every byte, in order, to each of them, and none waits for another's.
//!
//! Writes never block. What a client does not take is kept for it, up to [`PENDING_LIMIT`]; when that is reached the
//! process's output is not read any more (so that the process blocks as it would on a pipe), until the client has
//! taken half of it. A client that does not do that within [`STUCK_BOUND`] is dropped as too slow. Clients that are
//! not behind lose nothing.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use pinnace_helper::protocol::log::Stream;
use pinnace_helper::protocol::{Attachment, CloseReason, Framing, Report};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use super::detach::{DetachKeys, Input as Typed};
use super::{BUFFER_SIZE, LINGER_BOUND};
use crate::fault::ignore;

/// How far one client can be behind before the process's output waits for it, in bytes (arbitrary). Taken from the
/// kernel only for clients that are behind.
pub(super) const PENDING_LIMIT: usize = 1 << 20;

/// How long the process's output waits for one client before that client is dropped.
pub(super) const STUCK_BOUND: Duration = Duration::from_secs(10);

/// One attached client.
#[derive(Debug)]
pub(super) struct Client {
    attachment: Attachment,
    stream: OwnedFd,
    keys: DetachKeys,
    pending: VecDeque<u8>,
    /// Since when the process's output waits for this client.
    full_since: Option<Instant>,
    /// The client may still send input.
    sends: bool,
    /// The client may still take output.
    takes: bool,
    closed: Option<CloseReason>,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    /// As many bytes of the buffer are input.
    Plain(usize),
    /// These bytes are input.
    Bytes(Vec<u8>),
    /// These bytes are input, and the client sends no more.
    End(Vec<u8>),
}

impl Client {
    fn new(attachment: Attachment, stream: OwnedFd) -> Self {
        let keys = DetachKeys::new(attachment.detach_keys.clone());
        Self {
            attachment,
            stream,
            keys,
            pending: VecDeque::new(),
            full_since: None,
            sends: true,
            takes: true,
            closed: None,
        }
    }

    /// Returns whether this client's input is for the process.
    pub(super) fn types(&self) -> bool {
        self.attachment.stdin
    }

    fn wants(&self, stream: Stream) -> bool {
        self.takes
            && self.closed.is_none()
            && match stream {
                Stream::Stdout => self.attachment.stdout,
                Stream::Stderr => self.attachment.stderr,
            }
    }

    fn deliver(&mut self, stream: Stream, payload: &[u8], now: Instant) {
        let header = match self.attachment.framing {
            Framing::Raw => [].as_slice(),
            Framing::Multiplexed => &frame_header(stream, payload.len()),
        };
        let sent = if self.pending.is_empty() { self.send(header, payload) } else { 0 };
        let whole = header.len() + payload.len();
        if !self.takes || sent == whole {
            return;
        }
        if self.pending.capacity() == 0 {
            self.pending.reserve_exact(PENDING_LIMIT + BUFFER_SIZE + header.len());
        }
        let in_header = sent.min(header.len());
        self.pending.extend(&header[in_header..]);
        self.pending.extend(&payload[sent - in_header..]);
        if self.pending.len() >= PENDING_LIMIT {
            self.full_since.get_or_insert(now);
        }
    }

    /// Sends what is pending.
    fn flush(&mut self) {
        let (front, back) = self.pending.as_slices();
        let Ok(sent) = send(&self.stream, front, back) else {
            self.takes_no_more();
            return;
        };
        self.pending.drain(..sent);
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        if self.pending.len() <= PENDING_LIMIT / 2 {
            self.full_since = None;
        }
    }

    /// Forgets what is pending: nobody will take it.
    fn takes_no_more(&mut self) {
        self.takes = false;
        self.pending = VecDeque::new();
        self.full_since = None;
    }

    fn send(&mut self, header: &[u8], payload: &[u8]) -> usize {
        send(&self.stream, header, payload).unwrap_or_else(|_broken| {
            self.takes = false;
            0
        })
    }

    /// Reads from the client once.
    fn receive(&mut self, flags: PollFlags, buffer: &mut [u8]) -> Sent {
        let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR);
        match receive(&self.stream, buffer) {
            Ok(0) => self.input_ended(hung_up),
            Ok(_) if !self.attachment.stdin => Sent::Nothing,
            Ok(count) => match self.keys.feed(&buffer[..count]) {
                Typed::PassAll => Sent::Plain(count),
                Typed::Pass(bytes) => Sent::Bytes(bytes),
                Typed::Detach(bytes) => {
                    self.closed = Some(CloseReason::Detached);
                    Sent::Bytes(bytes)
                }
            },
            Err(Errno::AGAIN | Errno::INTR) if !hung_up => Sent::Nothing,
            Err(_) => self.input_ended(true),
        }
    }

    fn input_ended(&mut self, hung_up: bool) -> Sent {
        if hung_up || !self.takes {
            self.closed.get_or_insert(CloseReason::ClientGone);
        }
        if std::mem::take(&mut self.sends) { Sent::End(self.keys.finish()) } else { Sent::Nothing }
    }
}

fn frame_header(stream: Stream, length: usize) -> [u8; 8] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream as u8, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

/// Sends without blocking, and returns how much was taken.
fn send(stream: &OwnedFd, first: &[u8], second: &[u8]) -> rustix::io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let parts = [IoSlice::new(first), IoSlice::new(second)];
    match rustix::net::sendmsg(stream, &parts, &mut SendAncillaryBuffer::default(), flags) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

fn receive(stream: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let mut parts = [IoSliceMut::new(buffer)];
    rustix::net::recvmsg(stream, &mut parts, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT)
        .map(|received| received.bytes)
}

/// All clients of one process.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    clients: Vec<Client>,
    /// Streams that are shut down and wait for their client to close its side, so that no byte is lost to a reset.
    lingering: Vec<(OwnedFd, Instant)>,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Client(usize),
    Lingering(usize),
}

impl Fanout {
    /// Adds a client. It gets everything from here on.
    pub(super) fn attach(&mut self, attachment: Attachment, stream: OwnedFd) {
        self.clients.push(Client::new(attachment, stream));
    }

    /// Returns the ids of all clients.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.clients.iter().map(|client| client.attachment.id).collect()
    }

    /// Returns whether the process's output has to wait for a client.
    pub(super) fn is_full(&self) -> bool {
        self.clients.iter().any(|client| client.full_since.is_some())
    }

    /// Gives output to every client that wants it.
    pub(super) fn deliver(&mut self, stream: Stream, payload: &[u8], now: Instant) {
        self.clients
            .iter_mut()
            .filter(|client| client.wants(stream))
            .for_each(|client| client.deliver(stream, payload, now));
    }

    /// Says what to wait for. Clients are read only if `reads`: while the process takes input.
    pub(super) fn interests<'a>(&'a self, reads: bool, mut add: impl FnMut(Source, BorrowedFd<'a>, PollFlags)) {
        for (index, client) in self.clients.iter().enumerate() {
            // A client that hung up is reported whatever is asked for, so that it is left out while it cannot be read.
            if !reads && !client.takes {
                continue;
            }
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads && client.sends);
            flags.set(PollFlags::OUT, !client.pending.is_empty());
            add(Source::Client(index), client.stream.as_fd(), flags);
        }
        for (index, (stream, _)) in self.lingering.iter().enumerate() {
            add(Source::Lingering(index), stream.as_fd(), PollFlags::IN);
        }
    }

    /// Acts on a client's readiness; returns what it sent, and whether it may type.
    pub(super) fn act(&mut self, index: usize, flags: PollFlags, reads: bool, buffer: &mut [u8]) -> (Sent, bool) {
        let Some(client) = self.clients.get_mut(index) else { return (Sent::Nothing, false) };
        if flags.contains(PollFlags::OUT) {
            client.flush();
        }
        let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR);
        if hung_up {
            client.takes_no_more();
        }
        let types = client.types();
        if reads && (flags.contains(PollFlags::IN) || hung_up) {
            return (client.receive(flags, buffer), types);
        }
        (Sent::Nothing, types)
    }

    /// Throws away what a client sends after its stream was shut down.
    pub(super) fn act_lingering(&mut self, index: usize, buffer: &mut [u8]) {
        if let Some((stream, deadline)) = self.lingering.get_mut(index)
            && matches!(receive(stream, buffer), Ok(0) | Err(_))
        {
            *deadline = Instant::now();
        }
    }

    /// Closes what is to be closed, and reports it. `ended`: there will be no more output.
    pub(super) fn advance(&mut self, now: Instant, ended: bool, reports: &mut Vec<Report>) {
        for client in &mut self.clients {
            if client.full_since.is_some_and(|since| now.duration_since(since) >= STUCK_BOUND) {
                client.closed.get_or_insert(CloseReason::TooSlow);
            }
            if ended && client.pending.is_empty() {
                client.closed.get_or_insert(CloseReason::ProcessExited);
            }
        }
        for client in self.clients.extract_if(.., |client| client.closed.is_some()) {
            let Some(reason) = client.closed else { continue };
            if matches!(reason, CloseReason::ProcessExited | CloseReason::Detached) {
                // Fails only for a client that is gone.
                ignore(rustix::net::shutdown(&client.stream, Shutdown::Write));
                self.lingering.push((client.stream, now + LINGER_BOUND));
            }
            reports.push(Report::AttachmentClosed { id: client.attachment.id, reason });
        }
        self.lingering.retain(|(_, deadline)| *deadline > now);
    }

    /// Takes over another's streams that are shut down.
    pub(super) fn linger_for(&mut self, ended: &mut Self) {
        self.lingering.append(&mut ended.lingering);
    }

    /// Returns whether every client has got everything.
    pub(super) fn is_delivered(&self) -> bool {
        self.clients.is_empty()
    }

    /// Returns whether every stream is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.clients.is_empty() && self.lingering.is_empty()
    }

    /// Returns when something has to be closed even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let stuck = self.clients.iter().filter_map(|client| client.full_since).map(|since| since + STUCK_BOUND);
        stuck.chain(self.lingering.iter().map(|(_, deadline)| *deadline)).min()
    }
}
