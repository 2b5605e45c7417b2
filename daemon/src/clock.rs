//! The time: the only module that reads the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::units;

/// A moment of the wall clock, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the present moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Returns whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Prints as Docker's API does: RFC 3339, UTC, nanoseconds with trailing zeros cut.
    pub fn rfc3339(self) -> String {
        units::rfc3339_nano(self.0)
    }

    /// Returns the time that passed from `earlier` to this moment, zero if none did.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// What Docker prints for a moment that has not come.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
