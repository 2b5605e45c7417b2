//! Points in time: what people type for `--since`, and how far ago something was.

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use pinnace_client::units;

use crate::failure::Failure;

/// Turns "10m", "2026-11-23T01:02:03", "2026-11-23" or seconds since 1970 into what the API takes.
pub(crate) fn api_time(text: &str) -> Result<String, Failure> {
    parse(text, Timestamp::now(), &TimeZone::system())
        .ok_or_else(|| Failure::new(format!("invalid value for time: \"{text}\" is neither a time nor a duration")))
}

fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<String> {
    if let Some(ago) = units::parse_go_duration(text) {
        return now.checked_sub(ago).ok().map(units::unix_time);
    }
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if text.split_once('.').map_or(number(text), |(whole, part)| number(whole) && number(part)) {
        return Some(text.to_owned());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(units::unix_time(time));
    }
    let local = text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok()?;
    Some(units::unix_time(local.timestamp()))
}

/// Says how long ago `seconds` since 1970 was: "5 minutes". The future counts as now.
pub(crate) fn since(seconds: i64) -> String {
    let elapsed = Timestamp::now().as_second().saturating_sub(seconds);
    units::human_duration(Duration::from_secs(u64::try_from(elapsed).unwrap_or(0)))
}

/// Formats `seconds` since 1970 in the local time zone, as Go prints a time.
pub(crate) fn created_at(seconds: i64) -> String {
    local(seconds, "%Y-%m-%d %H:%M:%S %z %Z")
}

/// Formats `seconds` since 1970 in the local time zone by RFC 3339.
pub(crate) fn rfc3339(seconds: i64) -> String {
    local(seconds, "%Y-%m-%dT%H:%M:%S%:z").replace("+00:00", "Z")
}

fn local(seconds: i64, format: &str) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime(format).to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_as_people_write_them() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let table = [
            ("10m", Some("999400.000000000")),
            ("1700000000", Some("1700000000")),
            ("1700000000.5", Some("1700000000.5")),
            ("1970-01-02T00:00:00Z", Some("86400.000000000")),
            ("1970-01-02T00:00:00.25+01:00", Some("82800.250000000")),
            ("1970-01-02T00:00:00", Some("86400.000000000")),
            ("1970-01-02T00:00", Some("86400.000000000")),
            ("1970-01-02", Some("86400.000000000")),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, now, &TimeZone::UTC).as_deref(), expected, "{text}");
        }
    }
}
