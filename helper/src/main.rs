//! `pinnace-helper`: launches one container, then watches over it until it has ended.
//!
//! The daemon starts it with one end of a `SOCK_SEQPACKET` pair as standard input, often long before there is
//! anything to launch. Everything a launch needs that no container's specification decides is made in that time
//! ([`launch::Nursery`]). See `pinnace_helper::protocol` for the conversation.

mod fault;
mod launch;
mod supervise;
mod sys;

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use pinnace_helper::protocol::Report;
use pinnace_helper::protocol::packet;
use rustix::process::DumpableBehavior;

fn main() -> ExitCode {
    let Ok(control) = become_helper() else {
        return ExitCode::FAILURE;
    };
    let nursery = launch::Nursery::prepare();
    let (report, outcome) = match launch::receive(&control) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(order)) => match launch::launch(nursery, order) {
            Ok(running) => (running.started(), Some(running)),
            Err(error) => (Report::Failed(error), None),
        },
        Err(error) => (Report::Failed(error), None),
    };
    // A daemon that has gone meanwhile finds the container through the control socket.
    let told = packet::send(&control, &report, &[]);
    match outcome {
        Some(running) => supervise::supervise(running, control),
        None if told.is_ok() => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// Makes this process one that nothing reaches by accident, and returns the first control connection.
fn become_helper() -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    sys::close_from(3)?;
    // It was executed by descriptor, whose number would be its name.
    rustix::thread::set_name(c"pinnace-helper")?;
    sys::keep_heap_small();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    launch::rlimits::forbid_core_dumps()?;
    sys::reset_signals();
    sys::ignore_sigpipe(true);
    rustix::process::umask(Mode::empty());
    // Fails only for a process that leads a session already, which is as good.
    rustix::process::setsid()
        .map(drop)
        .or_else(|errno| if errno == rustix::io::Errno::PERM { Ok(()) } else { Err(errno) })?;
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(control)
}
