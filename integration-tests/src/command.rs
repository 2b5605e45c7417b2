//! Programs that tests drive: the docker client, `pinnace`, Python; with or without a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::termios::Winsize;

use crate::PATIENCE;

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Panics unless the program succeeded; returns its standard output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

/// Runs a program to its end with something to read on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let input = input.to_vec();
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    let readers = [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)].map(|mut stream| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("a pipe can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let code = wait(&mut child, &format!("{command:?}"));
    let [stdout, stderr] = readers.map(|reader| reader.join().expect("a reader"));
    Finished { code, stdout, stderr }
}

/// Waits for a child with patience, and kills it when that is over.
fn wait(child: &mut Child, what: &str) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            use std::os::unix::process::ExitStatusExt;
            return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        }
        if begun.elapsed() > PATIENCE {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("{what} did not end in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A program with a terminal of its own, and our end of it.
#[derive(Debug)]
pub struct Pty {
    master: File,
    slave: File,
    child: Child,
    /// All that the program wrote so far.
    pub seen: String,
}

impl Pty {
    /// Starts a program as the leader of a new session whose terminal has this size.
    pub fn spawn(command: &Command, rows: u16, columns: u16) -> Pty {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname").into_string().expect("ASCII");
        let slave = File::options().read(true).write(true).open(name).expect("the other end of the terminal");
        let master = File::from(master);
        let end = || Stdio::from(slave.try_clone().expect("dup"));
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm");
        for (key, value) in command.get_envs() {
            leader.env(key, value.expect("nothing is removed"));
        }
        let child = leader.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid is installed");
        let pty = Pty { master, slave, child, seen: String::new() };
        pty.resize(rows, columns);
        pty
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("resize");
    }

    pub fn write(&mut self, bytes: &str) {
        self.master.write_all(bytes.as_bytes()).expect("the terminal takes it");
    }

    /// Reads until `text` was seen after what was waited for before, and returns what came up to it.
    pub fn expect(&mut self, text: &str) -> String {
        let begun = Instant::now();
        let from = self.seen.len();
        let mut pending = std::mem::take(&mut self.seen);
        loop {
            if let Some(at) = pending[..].find(text) {
                let end = at + text.len();
                self.seen = pending[end..].to_owned();
                return pending[..end].to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {text:?} after {pending:?} ({from} bytes before)");
            pending.push_str(&self.read_some(Duration::from_millis(100)));
        }
    }

    fn read_some(&mut self, patience: Duration) -> String {
        let timeout = nix::poll::PollTimeout::try_from(patience).expect("short");
        use std::os::fd::AsFd;
        let mut fds = [nix::poll::PollFd::new(self.master.as_fd(), nix::poll::PollFlags::POLLIN)];
        if nix::poll::poll(&mut fds, timeout).expect("poll") == 0 {
            return String::new();
        }
        let mut buffer = [0; 4096];
        let read = self.master.read(&mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    /// Whether the terminal echoes and edits lines, as it does when no program has made it raw.
    pub fn is_cooked(&self) -> bool {
        use rustix::termios::LocalModes;
        let modes = rustix::termios::tcgetattr(&self.slave).expect("tcgetattr").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// The process id of the program.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Waits for the program's end and returns its exit code.
    pub fn wait(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            // What it still writes must be read, or it may never end.
            let more = self.read_some(Duration::from_millis(2));
            self.seen.push_str(&more);
            if let Some(status) = self.child.try_wait().expect("wait") {
                use std::os::unix::process::ExitStatusExt;
                loop {
                    match self.read_some(Duration::from_millis(1)).as_str() {
                        "" => break,
                        more => self.seen.push_str(more),
                    }
                }
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end; it said {:?}", self.seen);
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
