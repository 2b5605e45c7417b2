//! Versions of the Engine API.

use std::fmt;

/// A version such as 1.47.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

/// The oldest version that is served.
pub const MIN: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// The version that is served when a path names none, and the newest.
pub const CURRENT: ApiVersion = ApiVersion { major: 1, minor: 51 };

impl ApiVersion {
    /// Makes version 1.`minor`.
    pub const fn v1(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    /// Parses `1.47`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number_and_not_by_text() {
        assert!(ApiVersion::parse("1.9") < ApiVersion::parse("1.51"));
        assert_eq!(ApiVersion::parse("1.51"), Some(CURRENT));
        for text in ["", "1", "1.", ".1", "a.b", "1.2.3"] {
            assert_eq!(ApiVersion::parse(text), None, "{text}");
        }
    }
}
