//! The daemon: so far what is pure.

pub mod capability;
pub mod container {
    //! Containers.
    pub mod name_words;
}
pub mod seccomp;
pub mod signal;
pub mod units;
