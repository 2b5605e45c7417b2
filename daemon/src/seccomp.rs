//! Seccomp: Docker's profiles, compiled to the classic BPF programs that the kernel runs before each system call.
//!
//! ```text
//! JSON ─▶ profile (checked) ─▶ policy (verdicts per ABI and call) ─▶ assemble (BPF) ─▶ Program, cached by Compiler
//!                              ▲ capabilities, kernel version, deltas
//! ```
//!
//! The default profile is Docker's own (`daemon/data/seccomp-default.json`) with what `daemon/data/seccomp-deltas.json`
//! changes in it:
//!
//! * `socket` makes UNIX, INET, INET6, NETLINK and PACKET sockets only;
//! * `ioctl` refuses TIOCSTI and TIOCLINUX;
//! * on x86-64 every i386 and x32 call is answered EPERM, and on aarch64 every 32-bit arm call: i386's `socketcall` keeps
//!   its arguments in memory, where no filter can look, and so would reach any socket family. Who needs 32-bit programs
//!   passes Docker's profile as a file, which is then taken as it is, or runs without one.
//!
//! A filter that was built from a given profile behaves as the one that runc builds with libseccomp (the tests compare
//! them call by call), with three differences, all to the safe side: where several rules with conditions match, the most
//! restrictive action wins; permissions with conditions do not extend to `socketcall` and `ipc`; the profile `{}` is an
//! error and not a way to run unconfined. ABIs without tables here are killed like any other that a profile leaves out.

mod abi;
mod assemble;
mod policy;
mod profile;
mod security_opt;
mod syscall_table;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::abi::Machine;
use self::policy::Policy;
use self::profile::{Deltas, Document};
use crate::capability::CapabilitySet;

pub use self::security_opt::{Error as SecurityOptError, Seccomp, SecurityOptions};

/// The most instructions that the kernel takes in one program (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

/// How many programs a [`Compiler`] keeps (arbitrary; one takes about 5 KiB). When it is full all are dropped and made
/// again as they are asked for, which takes well under a millisecond each.
const CACHED_PROGRAMS: usize = 64;

/// Why a profile cannot be used. Sentences are those of moby and runc where they have one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("decoding seccomp profile failed")]
    Json(#[source] serde_json::Error),
    #[error(
        "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
    )]
    BothArchitectures,
    #[error("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")]
    BothNames,
    #[error("string {0} is not a valid action for seccomp")]
    UnknownAction(String),
    #[error("string {0} is not a valid operator for seccomp")]
    UnknownOperator(String),
    #[error("string {0} is not a valid arch for seccomp")]
    UnknownArchitecture(String),
    #[error("{0} is not supported in a seccomp profile")]
    Unsupported(&'static str),
    #[error("errnoRet {0} in the seccomp profile is larger than 4095")]
    Errno(u32),
    #[error("invalid argument index {0} in the seccomp profile, a system call has arguments 0 to 5")]
    ArgumentIndex(u64),
    #[error("invalid kernel version {0:?} in the seccomp profile, expected '<version>.<major>'")]
    KernelVersion(String),
    #[error("the seccomp profile is too large: it makes {0} instructions and the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}

/// A profile that has been read and checked; cheap to clone.
#[derive(Debug, Clone)]
pub struct Profile {
    document: Arc<Document>,
    deltas: Option<Arc<Deltas>>,
}

impl Profile {
    /// Reads a profile in Docker's format.
    pub fn parse(json: &str) -> Result<Self, Error> {
        Ok(Self { document: Arc::new(Document::parse(json)?), deltas: None })
    }
}

/// The profile of a container that asks for none.
impl Default for Profile {
    fn default() -> Self {
        static DEFAULT: LazyLock<Profile> = LazyLock::new(|| {
            let document = Document::parse(include_str!("../data/seccomp-default.json"));
            let deltas = Deltas::parse(include_str!("../data/seccomp-deltas.json"));
            Profile {
                document: Arc::new(document.expect("the embedded profile is tested")),
                deltas: Some(Arc::new(deltas.expect("the embedded deltas are tested"))),
            }
        });
        DEFAULT.clone()
    }
}

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// An array of `struct sock_filter` in native byte order.
    pub bytes: Vec<u8>,
    /// The same in base64, as the launch specification carries it.
    pub base64: Arc<str>,
}

impl Program {
    fn new(instructions: &[assemble::Instruction]) -> Result<Self, Error> {
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(Error::TooLong(instructions.len()));
        }
        let mut bytes = Vec::with_capacity(instructions.len() * 8);
        for instruction in instructions {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jump_true, instruction.jump_false]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        let base64 = STANDARD.encode(&bytes).into();
        Ok(Self { bytes, base64 })
    }
}

/// What a program depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    profile: [u8; 32],
    with_deltas: bool,
    /// Only those that the profile asks about.
    capabilities: CapabilitySet,
    kernel: (u32, u32),
}

/// Compiles profiles for this machine and keeps the programs.
#[derive(Debug, Default)]
pub struct Compiler {
    programs: Mutex<HashMap<Key, Arc<Program>>>,
}

impl Compiler {
    /// Returns the program for a container with these capabilities in its bounding set.
    ///
    /// `kernel` is the running kernel's version and major number, `(6, 18)`.
    pub fn program(
        &self,
        profile: &Profile,
        capabilities: CapabilitySet,
        kernel: (u32, u32),
    ) -> Result<Arc<Program>, Error> {
        let capabilities = capabilities.intersection(profile.document.capabilities);
        let with_deltas = profile.deltas.is_some();
        let key = Key { profile: profile.document.digest, with_deltas, capabilities, kernel };
        let cached = self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(program) = cached {
            return Ok(program);
        }
        // Two threads may compile the same program at once; both get it, and one copy is kept.
        let policy = Policy::new(&profile.document, profile.deltas.as_deref(), Machine::HOST, capabilities, kernel);
        let program = Arc::new(Program::new(&assemble::assemble(&policy))?);
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= CACHED_PROGRAMS {
            programs.clear();
        }
        Ok(Arc::clone(programs.entry(key).or_insert(program)))
    }
}
