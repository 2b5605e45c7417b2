//! An interactive stream between the daemon and our own stdin, stdout, stderr, terminal and signals.

use std::{future::pending, io, task::Poll, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use pinnace_client::{
    Client,
    stdcopy::Output,
    stream::{Event, Receiver, Sender, Status, StreamError},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    failure::{DAEMON_FAILED, Failure, Outcome, exit_code, start_exit_code},
    input,
    output::{self, Sink},
    terminal::{self, RawMode},
};

/// What becomes of signals while the stream lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signals<'a> {
    /// They are sent on to the container.
    Proxy { client: &'a Client, container: &'a str },
    /// They end us; a raw terminal is restored first.
    Ours,
}

/// How to connect the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stdio {
    /// Our stdin goes to the program.
    pub(crate) stdin: bool,
    /// The program has a terminal, and ours stands in for it.
    pub(crate) tty: bool,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Finished(Status),
    /// A signal ended us.
    Signalled(i32),
    /// So many signals came that they cannot be meant for the program.
    Forced,
    /// The daemon or the connection went away first.
    Lost(StreamError),
    /// Our stdout or stderr cannot be written to.
    Output(io::Error),
}

/// Signals that programs react to; those that stop and continue stay with our own terminal's job control.
const PROXIED: [(SignalKind, &str); 9] = [
    (SignalKind::interrupt(), "SIGINT"),
    (SignalKind::terminate(), "SIGTERM"),
    (SignalKind::hangup(), "SIGHUP"),
    (SignalKind::quit(), "SIGQUIT"),
    (SignalKind::user_defined1(), "SIGUSR1"),
    (SignalKind::user_defined2(), "SIGUSR2"),
    (SignalKind::alarm(), "SIGALRM"),
    (SignalKind::io(), "SIGIO"),
    (SignalKind::window_change(), "SIGWINCH"),
];

/// Signals that end a program which does not handle them, as a raw terminal's owner must.
const FATAL: usize = 4;

fn is_fatal(number: i32) -> bool {
    PROXIED[..FATAL].iter().any(|(kind, _)| kind.as_raw_value() == number)
}

/// How many interrupts end us although they are proxied; Docker's number.
const INSISTENCE: u32 = 3;

/// How long a start may still take after a signal, before the signal is taken to be about us (arbitrary; a start takes
/// milliseconds).
const START_ANSWERS: Duration = Duration::from_secs(2);

/// The signals being listened to, each with its number and name.
struct Listening {
    signals: Vec<(Signal, i32, &'static str)>,
    /// One that came before there was a program to pass it on to.
    kept: Option<(i32, &'static str)>,
}

impl Listening {
    fn to(signals: Signals<'_>, tty: bool) -> io::Result<Self> {
        let kinds = match (signals, tty) {
            (_, true) => &PROXIED[..FATAL],
            (Signals::Proxy { .. }, false) => &PROXIED[..],
            // Without a terminal to restore the default action is right.
            (Signals::Ours, false) => &[],
        };
        let listen = |&(kind, name)| Ok((signal(kind)?, kind.as_raw_value(), name));
        let signals = kinds.iter().map(listen).collect::<io::Result<_>>()?;
        Ok(Self { signals, kept: None })
    }

    async fn next(&mut self) -> (i32, &'static str) {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        std::future::poll_fn(|context| {
            for (signal, number, name) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready((*number, *name));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A session whose signals are listened to and whose terminal is as the program wants it.
pub(crate) struct Session<'a> {
    receiver: Receiver,
    sender: Sender,
    stdio: Stdio,
    signals: Signals<'a>,
    listening: Listening,
    window_changes: Option<Signal>,
}

impl<'a> Session<'a> {
    /// Prepares a session, before the program starts: its terminal gets our size first of all.
    pub(crate) async fn prepare(
        (receiver, mut sender): (Receiver, Sender),
        stdio: Stdio,
        signals: Signals<'a>,
    ) -> Result<Self, Failure> {
        let listening = Listening::to(signals, stdio.tty)?;
        let mut window_changes = None;
        if stdio.tty {
            window_changes = Some(signal(SignalKind::window_change())?);
            if let Some(size) = terminal::size() {
                sender.resize(size).await.map_err(|error| Failure::new(error.to_string()))?;
            }
        }
        Ok(Self { receiver, sender, stdio, signals, listening, window_changes })
    }

    /// Waits for the program to be started. A fatal signal that comes meanwhile is for the program, if the start is
    /// answered soon; otherwise it ends us.
    pub(crate) async fn starting<T>(&mut self, start: impl Future<Output = T>) -> Result<T, Failure> {
        let mut start = std::pin::pin!(start);
        let signalled = loop {
            tokio::select! {
                started = &mut start => return Ok(started),
                signalled = self.listening.next() => if is_fatal(signalled.0) {
                    break signalled;
                },
            }
        };
        match tokio::time::timeout(START_ANSWERS, start).await {
            Ok(started) => {
                self.listening.kept = Some(signalled);
                Ok(started)
            }
            Err(_elapsed) => Err(Failure::Silent(exit_code(i64::from(128 + signalled.0)))),
        }
    }

    /// Makes a program that draws on its terminal draw again: it gets a wrong size and then the right one.
    pub(crate) async fn redraw(&mut self) -> Result<(), StreamError> {
        if let (true, Some(mut size)) = (self.stdio.tty, terminal::size()) {
            size.height += 1;
            self.sender.resize(size).await?;
            size.height -= 1;
            self.sender.resize(size).await?;
        }
        Ok(())
    }

    /// Streams until the end. The terminal is raw meanwhile, and restored when this returns, is dropped or panics.
    pub(crate) async fn run(self) -> Result<Ending, Failure> {
        let Self { mut receiver, mut sender, stdio, signals, mut listening, window_changes } = self;
        let sink = Sink::open()?;
        let _raw = if stdio.tty && stdio.stdin { RawMode::enter()? } else { None };
        // That nobody takes our input any more is not the end.
        let sending = async {
            send(&mut sender, stdio, window_changes).await;
            pending().await
        };
        let ending = tokio::select! {
            ending = receive(&mut receiver, sink) => ending,
            ending = sending => ending,
            ending = obey(&mut listening, signals, stdio.tty) => ending,
        };
        Ok(ending)
    }
}

/// Prints what the daemon sends, to the last byte.
async fn receive(receiver: &mut Receiver, mut sink: Sink) -> Ending {
    let ending = 'stream: loop {
        let mut next = receiver.next().await;
        loop {
            match next {
                Ok(Event::Stdout(bytes)) => sink.push(Output::Stdout, &bytes),
                Ok(Event::Stderr(bytes)) => sink.push(Output::Stderr, &bytes),
                Ok(Event::Finished(status)) => break 'stream Ending::Finished(status),
                Err(error) => break 'stream Ending::Lost(error),
            }
            if sink.is_full() {
                break;
            }
            match receiver.try_next() {
                Some(more) => next = more,
                None => break,
            }
        }
        if !sink.flush().await {
            break Ending::Lost(StreamError::NoStatus);
        }
    };
    match sink.finish().await {
        Ok(()) => ending,
        Err(error) => Ending::Output(error),
    }
}

/// Sends our stdin and the size of our terminal. Ends when the connection does not take them any more; the other
/// direction says why.
async fn send(sender: &mut Sender, stdio: Stdio, mut window_changes: Option<Signal>) {
    let mut chunks = None;
    if stdio.stdin {
        match input::chunks(io::stdin(), Sender::HEADROOM) {
            Ok(receiver) => chunks = Some(receiver),
            Err(error) => output::complain(&format!("cannot read stdin: {error}")),
        }
    }
    loop {
        let (input, window) = (next_chunk(&mut chunks), next_signal(&mut window_changes));
        let sent = tokio::select! {
            chunk = input => match chunk {
                Some(Ok(chunk)) => sender.stdin(chunk).await,
                // A terminal that hung up reads as an error: for the program both are the end of its input.
                Some(Err(_)) | None => {
                    chunks = None;
                    sender.close_stdin().await
                }
            },
            () = window => match terminal::size() {
                Some(size) => sender.resize(size).await,
                None => Ok(()),
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

type Chunk = io::Result<Vec<u8>>;

/// Returns the next chunk of stdin; never, without a stdin.
async fn next_chunk(chunks: &mut Option<mpsc::Receiver<Chunk>>) -> Option<Chunk> {
    match chunks {
        Some(chunks) => chunks.recv().await,
        None => pending().await,
    }
}

/// Returns when a signal comes; never, where none is listened to.
async fn next_signal(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// Handles signals; returns how the session ends by one.
async fn obey(listening: &mut Listening, signals: Signals<'_>, tty: bool) -> Ending {
    let Signals::Proxy { client, container } = signals else { return Ending::Signalled(listening.next().await.0) };
    if tty {
        return Ending::Signalled(listening.next().await.0);
    }
    let (mut insisted, mut proxied) = (0, FuturesUnordered::new());
    loop {
        tokio::select! {
            (number, name) = listening.next() => {
                if matches!(name, "SIGINT" | "SIGTERM") {
                    insisted += 1;
                    if insisted == INSISTENCE {
                        return Ending::Forced;
                    }
                }
                proxied.push(async move { (number, client.kill_container(container, Some(name)).await) });
            }
            // A signal that cannot be delivered because the program has ended, or the daemon is away, can only be about
            // us; not so one that would not have ended the program either.
            Some((number, Err(error))) = proxied.next() => match error.status() {
                Some(status) if status.is_server_error() => output::complain(&error.to_string()),
                _ if is_fatal(number) => return Ending::Signalled(number),
                _ => {}
            },
        }
    }
}

impl Ending {
    /// Turns the ending into the exit code of the verb, for which `lost` is that of what is nobody's program's fault.
    pub(crate) fn outcome(self, lost: u8) -> Outcome {
        match self {
            Self::Finished(Status::Exited(code)) => Ok(exit_code(code)),
            Self::Finished(Status::Detached) => {
                output::complain("read escape sequence");
                Ok(0)
            }
            Self::Finished(Status::Failed { message, code }) => {
                let code = code.map(exit_code).unwrap_or_else(|| match start_exit_code(&message) {
                    DAEMON_FAILED => lost,
                    code => code,
                });
                Err(Failure::Because { code, text: message })
            }
            Self::Signalled(number) => Err(Failure::Silent(exit_code(i64::from(128 + number)))),
            Self::Forced => Err(Failure::new(format!("got {INSISTENCE} SIGTERM/SIGINTs, forcefully exiting"))),
            Self::Lost(error) => Err(Failure::Because { code: lost, text: error.to_string() }),
            Self::Output(error) => Err(error.into()),
        }
    }
}
