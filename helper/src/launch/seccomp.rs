//! The system call filter of a workload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fault::{Call, Fault};
use crate::sys;

/// A decoded filter, ready to be installed.
#[derive(Debug)]
pub(crate) struct Filter(Vec<u8>);

impl Filter {
    /// Decodes the program of a specification.
    pub(crate) fn decode(program: &str) -> Result<Self, Fault> {
        let bytes = STANDARD.decode(program).map_err(|error| Fault::rule(format!("decode(seccomp): {error}")))?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(sys::BPF_INSTRUCTION_SIZE) {
            return Err(Fault::rule("the seccomp program is not a sequence of instructions"));
        }
        Ok(Self(bytes))
    }

    /// Installs it. From here on only what it allows can be called.
    pub(crate) fn install(&self) -> Result<(), Fault> {
        sys::install_seccomp(&self.0).call(|| "seccomp(SECCOMP_SET_MODE_FILTER)".into())
    }
}
