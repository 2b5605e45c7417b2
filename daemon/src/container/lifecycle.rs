//! Where a container is in its life, and what may happen next: one pure function.
//!
//! ```text
//!   Created ──Start──▶ Starting ──Launched──▶ Running ◀──Pause/Unpause──▶ Paused
//!      ▲                  │                     │                           │
//!      └──LaunchFailed────┘ (or back to Exited) └────────InitExited─────────┘──▶ Exited ──Start──▶ Starting
//! ```
//!
//! Docker's overlapping booleans are computed from this in `view`, and stored nowhere.

#![warn(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Classify, ErrorKind};
use crate::id::Id;

/// A container's state. Facts that exist only in one state live inside that state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Lifecycle {
    /// Never ran. `failure` is why the last start failed, if one did.
    Created {
        failure: Option<StartFailure>,
    },
    /// A helper was asked to launch it. `before` is what it goes back to if that fails.
    Starting {
        before: Box<Lifecycle>,
    },
    Running(Process),
    Paused(Process),
    Exited(Exit),
}

/// A running container's first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// In the daemon's pid namespace.
    pub pid: i32,
    pub started_at: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255, or 128 + signal.
    pub code: i32,
    pub oom_killed: bool,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// Why it ended, if not by itself: the helper was lost, or a later start failed.
    pub error: String,
}

/// Why a start failed, as Docker says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// 126, 127 or 128.
    pub code: i32,
    pub message: String,
}

/// What happened: requests and observations alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Start,
    Launched(Process),
    LaunchFailed(StartFailure),
    Pause,
    Unpause,
    /// A signal is to be sent.
    Signal,
    Stop,
    InitExited(Exit),
    Remove {
        force: bool,
    },
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The state changes now.
    Become(Lifecycle),
    /// The event is allowed; the state changes when something is observed.
    Act,
    /// It is already so. A success: HTTP 304 where the API has one.
    Unchanged,
}

/// Why an event is not allowed; the words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("container {0} is not running")]
    NotRunning(Id),
    #[error("container {0} is already paused")]
    AlreadyPaused(Id),
    #[error("Container {0} is not paused")]
    NotPaused(Id),
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused,
    #[error(
        "cannot remove container {name:?}: container is {state}: stop the container before removing or force remove"
    )]
    RemoveRunning { name: String, state: &'static str },
    #[error("container {0} is being started")]
    BeingStarted(Id),
    /// A report that does not fit the state; a defect of the daemon or of the helper.
    #[error("container {id} cannot take {event} while it is {state}")]
    Unexpected { id: Id, event: &'static str, state: &'static str },
}

impl Classify for Denied {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unexpected { .. } => ErrorKind::Internal,
            Self::NotRunning(_)
            | Self::AlreadyPaused(_)
            | Self::NotPaused(_)
            | Self::StartPaused
            | Self::RemoveRunning { .. }
            | Self::BeingStarted(_) => ErrorKind::Conflict,
        }
    }
}

impl Lifecycle {
    /// Returns the API's word for the state.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Starting { before } => before.status(),
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Exited(_) => "exited",
        }
    }

    /// Returns the column's word for the state.
    pub fn column(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Created { .. } | Self::Running(_) | Self::Paused(_) | Self::Exited(_) => self.status(),
        }
    }

    /// Returns the process, if there is one.
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Running(process) | Self::Paused(process) => Some(process),
            Self::Created { .. } | Self::Starting { .. } | Self::Exited(_) => None,
        }
    }

    /// Returns whether a process is there or about to be.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Running(_) | Self::Paused(_))
    }
}

/// Decides what an event means for a container in this state. `name` is for Docker's sentences only.
pub fn step(id: &Id, name: &str, state: &Lifecycle, event: Event) -> Result<Decision, Denied> {
    match event {
        Event::Start => start(id, state),
        Event::Launched(process) => match state {
            Lifecycle::Starting { .. } => Ok(Decision::Become(Lifecycle::Running(process))),
            Lifecycle::Created { .. } | Lifecycle::Running(_) | Lifecycle::Paused(_) | Lifecycle::Exited(_) => {
                Err(unexpected(id, "a launch", state))
            }
        },
        Event::LaunchFailed(failure) => match state {
            Lifecycle::Starting { before } => Ok(Decision::Become(failed(before, failure))),
            Lifecycle::Created { .. } | Lifecycle::Running(_) | Lifecycle::Paused(_) | Lifecycle::Exited(_) => {
                Err(unexpected(id, "a failed launch", state))
            }
        },
        Event::Pause => match state {
            Lifecycle::Running(process) => Ok(Decision::Become(Lifecycle::Paused(process.clone()))),
            Lifecycle::Paused(_) => Err(Denied::AlreadyPaused(id.clone())),
            Lifecycle::Created { .. } | Lifecycle::Starting { .. } | Lifecycle::Exited(_) => {
                Err(Denied::NotRunning(id.clone()))
            }
        },
        Event::Unpause => match state {
            Lifecycle::Paused(process) => Ok(Decision::Become(Lifecycle::Running(process.clone()))),
            Lifecycle::Running(_) | Lifecycle::Created { .. } | Lifecycle::Starting { .. } | Lifecycle::Exited(_) => {
                Err(Denied::NotPaused(id.clone()))
            }
        },
        Event::Signal => match state {
            Lifecycle::Running(_) | Lifecycle::Paused(_) => Ok(Decision::Act),
            Lifecycle::Created { .. } | Lifecycle::Starting { .. } | Lifecycle::Exited(_) => {
                Err(Denied::NotRunning(id.clone()))
            }
        },
        Event::Stop => match state {
            Lifecycle::Running(_) | Lifecycle::Paused(_) => Ok(Decision::Act),
            Lifecycle::Created { .. } | Lifecycle::Exited(_) => Ok(Decision::Unchanged),
            Lifecycle::Starting { .. } => Err(Denied::BeingStarted(id.clone())),
        },
        Event::InitExited(exit) => match state {
            Lifecycle::Running(_) | Lifecycle::Paused(_) | Lifecycle::Starting { .. } => {
                Ok(Decision::Become(Lifecycle::Exited(exit)))
            }
            Lifecycle::Created { .. } | Lifecycle::Exited(_) => Err(unexpected(id, "an exit", state)),
        },
        Event::Remove { force } => remove(name, state, force),
    }
}

fn start(id: &Id, state: &Lifecycle) -> Result<Decision, Denied> {
    match state {
        Lifecycle::Created { .. } | Lifecycle::Exited(_) => {
            Ok(Decision::Become(Lifecycle::Starting { before: Box::new(state.clone()) }))
        }
        Lifecycle::Running(_) => Ok(Decision::Unchanged),
        Lifecycle::Paused(_) => Err(Denied::StartPaused),
        Lifecycle::Starting { .. } => Err(Denied::BeingStarted(id.clone())),
    }
}

/// Removing what runs needs `force`, and then an end first: `Act`.
fn remove(name: &str, state: &Lifecycle, force: bool) -> Result<Decision, Denied> {
    match state {
        Lifecycle::Created { .. } | Lifecycle::Exited(_) => Ok(Decision::Act),
        Lifecycle::Starting { .. } | Lifecycle::Running(_) | Lifecycle::Paused(_) if force => Ok(Decision::Act),
        Lifecycle::Starting { .. } | Lifecycle::Running(_) => {
            Err(Denied::RemoveRunning { name: name.to_owned(), state: "running" })
        }
        Lifecycle::Paused(_) => Err(Denied::RemoveRunning { name: name.to_owned(), state: "paused" }),
    }
}

/// As dockerd: a container whose start failed keeps its state, with the code and the sentence of the failure.
fn failed(before: &Lifecycle, failure: StartFailure) -> Lifecycle {
    match before {
        Lifecycle::Exited(exit) => {
            Lifecycle::Exited(Exit { code: failure.code, error: failure.message, ..exit.clone() })
        }
        Lifecycle::Created { .. } | Lifecycle::Starting { .. } | Lifecycle::Running(_) | Lifecycle::Paused(_) => {
            Lifecycle::Created { failure: Some(failure) }
        }
    }
}

fn unexpected(id: &Id, event: &'static str, state: &Lifecycle) -> Denied {
    Denied::Unexpected { id: id.clone(), event, state: state.column() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn process() -> Process {
        Process { pid: 7, started_at: Timestamp(1) }
    }

    fn exit() -> Exit {
        Exit { code: 3, oom_killed: false, started_at: Timestamp(1), finished_at: Timestamp(2), error: String::new() }
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Start),
            Just(Event::Launched(process())),
            Just(Event::LaunchFailed(StartFailure { code: 127, message: "no".to_owned() })),
            Just(Event::Pause),
            Just(Event::Unpause),
            Just(Event::Signal),
            Just(Event::Stop),
            Just(Event::InitExited(exit())),
            any::<bool>().prop_map(|force| Event::Remove { force }),
        ]
    }

    #[test]
    fn a_running_container_is_not_started_again_and_not_removed_without_force() {
        let id = Id::random();
        let running = Lifecycle::Running(process());
        assert_eq!(step(&id, "x", &running, Event::Start), Ok(Decision::Unchanged));
        assert_eq!(
            step(&id, "x", &running, Event::Remove { force: false }).unwrap_err().to_string(),
            "cannot remove container \"x\": container is running: stop the container before removing or force remove"
        );
        assert_eq!(step(&id, "x", &running, Event::Remove { force: true }), Ok(Decision::Act));
    }

    #[test]
    fn a_failed_start_goes_back_to_what_was_before_with_the_code_and_the_sentence() {
        let id = Id::random();
        let failure = StartFailure { code: 127, message: "no".to_owned() };
        for (before, status) in
            [(Lifecycle::Created { failure: None }, "created"), (Lifecycle::Exited(exit()), "exited")]
        {
            let starting = Lifecycle::Starting { before: Box::new(before) };
            let Ok(Decision::Become(after)) = step(&id, "x", &starting, Event::LaunchFailed(failure.clone())) else {
                panic!("not allowed");
            };
            assert_eq!(after.status(), status);
        }
    }

    #[test]
    fn stopping_what_does_not_run_is_already_done() {
        let id = Id::random();
        for state in [Lifecycle::Created { failure: None }, Lifecycle::Exited(exit())] {
            assert_eq!(step(&id, "x", &state, Event::Stop), Ok(Decision::Unchanged));
            assert!(matches!(step(&id, "x", &state, Event::Signal), Err(Denied::NotRunning(_))));
        }
    }

    proptest! {
        #[test]
        fn nothing_reaches_running_without_a_launch(sequence in proptest::collection::vec(events(), 0..40)) {
            let id = Id::random();
            let mut state = Lifecycle::Created { failure: None };
            for event in sequence {
                let launched = matches!(event, Event::Launched(_));
                let unpaused = matches!(event, Event::Unpause);
                let before = state.clone();
                if let Ok(Decision::Become(next)) = step(&id, "x", &state, event) {
                    state = next;
                }
                if matches!(state, Lifecycle::Running(_)) && !matches!(before, Lifecycle::Running(_)) {
                    prop_assert!(launched || (unpaused && matches!(before, Lifecycle::Paused(_))));
                }
            }
        }

        #[test]
        fn every_state_reads_back_from_its_json(sequence in proptest::collection::vec(events(), 0..20)) {
            let id = Id::random();
            let mut state = Lifecycle::Created { failure: None };
            for event in sequence {
                if let Ok(Decision::Become(next)) = step(&id, "x", &state, event) {
                    state = next;
                }
                let json = serde_json::to_string(&state).unwrap();
                prop_assert_eq!(serde_json::from_str::<Lifecycle>(&json).unwrap(), state.clone());
            }
        }
    }
}
