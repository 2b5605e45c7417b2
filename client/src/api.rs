//! The calls, grouped by noun, and what of their answers a client looks at.
//!
//! Bodies and small answers are the shared types of `api_schema`. Lists and inspections have views of their own here:
//! they name only what is printed or decided on, so that a daemon that is older or newer than this client can still be
//! looked at. Inspect answers that are shown whole stay JSON.

pub mod container;
pub mod exec;
pub mod image;
pub mod system;

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default: Go sends nil slices and maps so.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
