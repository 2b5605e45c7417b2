//! How long each phase of a launch took.

use std::time::Instant;

use pinnace_helper::protocol::{LaunchError, PhaseTime, Stage};

use crate::fault::Fault;

/// Measures the time between the ends of stages.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Instant,
    phases: Vec<PhaseTime>,
}

impl Clock {
    /// Starts to measure.
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), phases: Vec::with_capacity(24) }
    }

    /// Ends a stage: takes its time, and says in which stage a failure happened.
    pub(crate) fn stage<T>(&mut self, stage: Stage, result: Result<T, Fault>) -> Result<T, LaunchError> {
        let now = Instant::now();
        let micros = u64::try_from(now.duration_since(self.last).as_micros()).unwrap_or(u64::MAX);
        self.last = now;
        self.add(PhaseTime { stage, micros });
        result.map_err(|fault| fault.at(stage))
    }

    fn add(&mut self, phase: PhaseTime) {
        match self.phases.iter_mut().find(|known| known.stage == phase.stage) {
            Some(known) => known.micros = known.micros.saturating_add(phase.micros),
            None => self.phases.push(phase),
        }
    }

    /// Adds phases that were measured by the first process, while this clock stood still.
    pub(crate) fn extend(&mut self, phases: Vec<PhaseTime>) {
        phases.into_iter().for_each(|phase| self.add(phase));
        self.last = Instant::now();
    }

    /// Returns what was measured until now.
    pub(crate) fn phases(&self) -> Vec<PhaseTime> {
        self.phases.clone()
    }

    /// Returns what was measured.
    pub(crate) fn into_phases(self) -> Vec<PhaseTime> {
        self.phases
    }
}
