//! Samples and what is said about them.

use std::time::Duration;

use serde::Serialize;

/// Durations of one operation.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<Duration>);

/// What is reported of samples; times in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Summary {
    pub(crate) samples: usize,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) mean: f64,
}

impl Samples {
    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// `None` without samples.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let count = sorted.len();
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let min = milliseconds(*sorted.first()?);
        // Nearest rank: with fewer than 100 samples the 99th percentile is the slowest.
        let rank = |percent: usize| milliseconds(sorted[(count * percent).div_ceil(100).max(1) - 1]);
        let total: Duration = sorted.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a count of samples is far below 2^52")]
        let mean = milliseconds(total) / count as f64;
        Some(Summary { samples: count, min, p50: rank(50), p99: rank(99), mean })
    }

    /// The median in milliseconds.
    pub(crate) fn p50(&self) -> Option<f64> {
        self.summary().map(|summary| summary.p50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut samples = Samples::default();
        for milliseconds in (1..=200).rev() {
            samples.push(Duration::from_millis(milliseconds));
        }
        let summary = samples.summary().unwrap();
        assert_eq!((summary.samples, summary.min, summary.p50, summary.p99), (200, 1.0, 100.0, 198.0));
    }

    #[test]
    fn without_samples_nothing_is_said() {
        assert!(Samples::default().summary().is_none());
    }
}
