//! One process's stdio with everyone who is connected to it: the container's own, or an exec's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use pinnace_helper::protocol::log::{Position, Stream};
use pinnace_helper::protocol::{Attachment, Report};
use rustix::event::PollFlags;

use super::BUFFER_SIZE;
use super::console::{Input, Output, Read};
use super::fanout::{self, Fanout, Sent};
use super::log_file::LogFile;
use crate::fault::Fault;
use crate::launch::{SupervisorEnds, terminal};

/// How much is read from a client at once, in bytes: what a pipe takes when it is empty.
const INPUT_SIZE: usize = 64 * 1024;

/// When the process's standard input is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StdinEnd {
    /// Nothing is ever typed.
    AtOnce,
    /// When a client that may type has sent its end of file.
    WithClient,
    /// When the process has ended.
    WithProcess,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Input,
    Output(Stream),
    Client(fanout::Source),
}

/// One process's stdio.
#[derive(Debug)]
pub(super) struct Session {
    input: Input,
    stdin_end: StdinEnd,
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
    log: Option<LogFile>,
    fanout: Fanout,
    process_ended: bool,
}

impl Session {
    /// Connects the supervisor's ends. Output goes to the log, if there is one, and to the clients.
    pub(super) fn new(ends: SupervisorEnds, log: Option<LogFile>, stdin_end: StdinEnd) -> Self {
        let mut session = Self {
            input: Input::new(ends.stdin),
            stdin_end,
            outputs: Vec::new(),
            terminal: None,
            log,
            fanout: Fanout::default(),
            process_ended: false,
        };
        for (fd, stream) in [(ends.stdout, Stream::Stdout), (ends.stderr, Stream::Stderr)] {
            session.outputs.extend(fd.map(|fd| Output { fd, stream }));
        }
        if let Some(terminal) = ends.terminal {
            session.set_terminal(terminal);
        }
        session
    }

    /// Takes the terminal that the process made in place of pipes. A failure to duplicate it leaves it unread.
    pub(super) fn set_terminal(&mut self, terminal: OwnedFd) {
        let duplicate = || rustix::io::fcntl_dupfd_cloexec(&terminal, 3).ok();
        let output = duplicate();
        self.input = Input::new(if self.stdin_end == StdinEnd::AtOnce { None } else { duplicate() });
        self.outputs.extend(output.map(|fd| Output { fd, stream: Stream::Stdout }));
        self.terminal = Some(terminal);
    }

    /// Adds a client, and returns where in the log its output begins.
    pub(super) fn attach(&mut self, attachment: Attachment, stream: OwnedFd) -> Position {
        self.fanout.attach(attachment, stream);
        self.log.as_ref().map_or(Position { segment: 0, offset: 0 }, LogFile::position)
    }

    /// Returns the ids of all clients.
    pub(super) fn attachments(&self) -> Vec<u64> {
        self.fanout.ids()
    }

    /// Sets the size of the terminal. `None`: there is none.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> Option<Result<(), Fault>> {
        self.terminal.as_ref().map(|terminal| terminal::resize(terminal, rows, columns))
    }

    /// The process has ended: what is in its pipes now is all there will be.
    pub(super) fn process_ended(&mut self) {
        self.process_ended = true;
        self.input = Input::new(None);
    }

    /// Says what to wait for.
    pub(super) fn interests<'a>(&'a self, mut add: impl FnMut(Source, BorrowedFd<'a>, PollFlags)) {
        if let Some(input) = self.input.waits_for() {
            add(Source::Input, input.as_fd(), PollFlags::OUT);
        }
        if !self.fanout.is_full() {
            for output in &self.outputs {
                add(Source::Output(output.stream), output.fd.as_fd(), PollFlags::IN);
            }
        }
        self.fanout.interests(self.input.is_idle(), |source, fd, flags| add(Source::Client(source), fd, flags));
    }

    /// Acts on readiness.
    pub(super) fn act(&mut self, source: Source, flags: PollFlags, buffer: &mut [u8]) {
        match source {
            Source::Input => self.input.go_on(),
            Source::Output(stream) => {
                if !self.fanout.is_full() {
                    self.pass_on(stream, buffer);
                }
            }
            Source::Client(fanout::Source::Lingering(index)) => self.fanout.act_lingering(index, buffer),
            Source::Client(fanout::Source::Client(index)) => self.take_input(index, flags, buffer),
        }
    }

    /// Reads one output once, into the log and to the clients. Returns whether there may be more.
    fn pass_on(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let Some(index) = self.outputs.iter().position(|output| output.stream == stream) else {
            return false;
        };
        let limit = self.log.as_ref().map_or(BUFFER_SIZE, LogFile::max_payload).min(buffer.len());
        match self.outputs[index].read(&mut buffer[..limit]) {
            Read::Bytes(count) => {
                let payload = &buffer[..count];
                if let Some(log) = &mut self.log {
                    log.append(stream, payload);
                }
                self.fanout.deliver(stream, payload, Instant::now());
                true
            }
            Read::Empty if !self.process_ended => false,
            Read::Empty | Read::Ended => {
                self.outputs.remove(index);
                false
            }
        }
    }

    fn take_input(&mut self, index: usize, flags: PollFlags, buffer: &mut [u8]) {
        let (reads, input) = (self.input.is_idle(), &mut buffer[..INPUT_SIZE]);
        let (sent, types) = self.fanout.act(index, flags, reads, input);
        match sent {
            Sent::Nothing => {}
            Sent::Plain(count) => self.input.write(&input[..count]),
            Sent::Bytes(bytes) => self.input.write(&bytes),
            Sent::End(bytes) => {
                self.input.write(&bytes);
                if types && self.stdin_end == StdinEnd::WithClient && self.terminal.is_none() {
                    self.input.close();
                }
            }
        }
    }

    /// Does what has become possible.
    pub(super) fn advance(&mut self, now: Instant, buffer: &mut [u8], reports: &mut Vec<Report>) {
        if self.process_ended {
            for stream in [Stream::Stdout, Stream::Stderr] {
                while !self.fanout.is_full() && self.pass_on(stream, buffer) {}
            }
        }
        let ended = self.process_ended && self.outputs.is_empty();
        self.fanout.advance(now, ended, reports);
    }

    /// Returns whether the process has ended and every client has all of its output.
    pub(super) fn is_delivered(&self) -> bool {
        self.process_ended && self.outputs.is_empty() && self.fanout.is_delivered()
    }

    /// Takes over the streams of another process that has ended, until their clients close them.
    pub(super) fn linger_for(&mut self, ended: &mut Self) {
        self.fanout.linger_for(&mut ended.fanout);
    }

    /// Returns whether no stream is open any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_delivered() && self.fanout.is_closed()
    }

    /// Returns when something has to be done even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.fanout.next_deadline()
    }
}
