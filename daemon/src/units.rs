//! Quantities and times in the words and digits that Docker's clients expect: durations and sizes for people, sizes
//! from people, RFC 3339 timestamps, and the `since`/`until` parameters.
//!
//! Times are nanoseconds since the Unix epoch, UTC. The signed 64 bits reach from 1677 to 2262.

use std::time::Duration;

/// What Docker writes for "never happened".
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Says roughly how long, as in `Up 5 minutes`: `Less than a second`, `About a minute`, `3 weeks`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        // Go's units round to hours everywhere but here.
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Writes a size in powers of 1000 with four significant digits: `0B`, `1.234kB`, `56.7MB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let decimals = match size {
        ..10.0 => 3,
        10.0..100.0 => 2,
        _ => 1,
    };
    let number = format!("{size:.decimals$}");
    format!("{}{}", number.trim_end_matches('0').trim_end_matches('.'), UNITS[unit])
}

/// Why a string is not a size; the words are those of Docker's go-units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("invalid size: '{0}'")]
    Size(String),
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
    #[error("strconv.ParseFloat: parsing {0:?}: invalid syntax")]
    Number(String),
}

/// Reads a size in bytes with powers of 1024: `64m`, `1.5g`, `10 KiB`, `1048576`.
pub fn ram_in_bytes(text: &str) -> Result<u64, SizeError> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let Some(end) = end else {
        return Err(SizeError::Size(text.to_owned()));
    };
    let (number, suffix) = text.split_at(end + 1);
    // One space may stand between the number and its unit.
    let number = number.strip_suffix(' ').unwrap_or(number);
    let well_formed = number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    let Some(size) = number.parse::<f64>().ok().filter(|_| well_formed) else {
        return Err(SizeError::Number(number.to_owned()));
    };
    if size < 0.0 {
        return Err(SizeError::Size(text.to_owned()));
    }
    let suffix = suffix.to_lowercase();
    let shift = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(SizeError::Suffix(suffix)),
    };
    let bytes = size * (1_u64 << shift) as f64;
    // The API's sizes are signed 64-bit integers.
    if bytes >= i64::MAX as f64 {
        return Err(SizeError::Size(text.to_owned()));
    }
    Ok(bytes as u64)
}

/// Writes a time as Go's `RFC3339Nano` does: UTC, and no more decimals than are needed.
pub fn rfc3339_nano(nanos: i64) -> String {
    let fixed = log_timestamp(nanos);
    let text = str::from_utf8(&fixed).expect("only ASCII is written into a timestamp");
    let trimmed = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{trimmed}Z")
}

/// Writes a time, or Docker's zero time if there is none.
pub fn rfc3339_nano_or_zero(nanos: Option<i64>) -> String {
    nanos.map_or_else(|| ZERO_TIME.to_owned(), rfc3339_nano)
}

/// Writes a time with always nine decimals, as it stands before each line of `docker logs -t`.
///
/// Nothing is allocated: this runs once per line of log.
pub fn log_timestamp(nanos: i64) -> [u8; 30] {
    let seconds = nanos.div_euclid(NANOS_PER_SECOND);
    let (year, month, day) = civil_date(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    put_digits(&mut text[0..4], year);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], second_of_day / 3600);
    put_digits(&mut text[14..16], second_of_day / 60 % 60);
    put_digits(&mut text[17..19], second_of_day % 60);
    put_digits(&mut text[20..29], nanos.rem_euclid(NANOS_PER_SECOND));
    text
}

/// Writes a non-negative number in decimal, with zeros in front, into all of `field`.
fn put_digits(field: &mut [u8], number: i64) {
    let mut rest = number;
    for byte in field.iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Returns year, month and day of the proleptic Gregorian calendar for a number of days since 1970-01-01.
///
/// Counts in years that begin in March, so that the leap day is a year's last, and in eras of 400 years, which are all
/// equally long (146 097 days).
fn civil_date(days: i64) -> (i64, i64, i64) {
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Why a `since` or `until` is not a time; the words are those that dockerd passes on from Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    Syntax(String),
    #[error("strconv.ParseInt: parsing {0:?}: value out of range")]
    Range(String),
}

/// Reads the `since` and `until` of logs and events: Unix seconds with an optional fraction, `1700000000.25`.
///
/// The empty string means that none was given. Clients turn durations and dates into this form before they ask.
pub fn parse_unix_time(text: &str) -> Result<Option<i64>, TimeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = parse_go_int(whole)?;
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_empty() || !digits {
        return Err(TimeError::Syntax(fraction.to_owned()));
    }
    // Nine digits are nanoseconds; fewer are a decimal fraction, and more than nine cannot be kept.
    let nanos = format!("{fraction:0<9.9}").parse::<i64>().expect("nine decimal digits fit into 64 bits");
    let total = seconds.checked_mul(NANOS_PER_SECOND).and_then(|whole| whole.checked_add(nanos));
    total.map(Some).ok_or_else(|| TimeError::Range(text.to_owned()))
}

fn parse_go_int(text: &str) -> Result<i64, TimeError> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i64>().map_err(|error| match error.kind() {
        PosOverflow | NegOverflow => TimeError::Range(text.to_owned()),
        _ => TimeError::Syntax(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_in_docker_ps() {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (2, "2 seconds"),
            (59, "59 seconds"),
            (MINUTE, "About a minute"),
            (2 * MINUTE - 1, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (45 * MINUTE, "45 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (90 * MINUTE - 1, "About an hour"),
            (90 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (1096 * DAY, "3 years"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), words, "{seconds} s");
        }
        assert_eq!(human_duration(Duration::from_millis(999)), "Less than a second");
    }

    #[test]
    fn sizes_have_four_significant_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.024kB"),
            (1_234_567, "1.235MB"),
            (12_345_678, "12.35MB"),
            (123_456_789, "123.5MB"),
            (999_990, "1000kB"),
            (1_500_000_000, "1.5GB"),
            (u64::MAX, "18.45EB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32 k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("64m", 64 << 20),
            ("1g", 1 << 30),
            ("1.5g", 3 << 29),
            ("0.5", 0),
            ("0", 0),
            ("2t", 2 << 40),
            ("1p", 1 << 50),
            (".5k", 512),
        ] {
            assert_eq!(ram_in_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_in_dockers_words() {
        for (text, message) in [
            ("", "invalid size: ''"),
            ("hello", "invalid size: 'hello'"),
            ("-32", "invalid size: '-32'"),
            ("-32k", "invalid size: '-32k'"),
            ("9999999p", "invalid size: '9999999p'"),
            ("32bb", "invalid suffix: 'bb'"),
            ("32kx", "invalid suffix: 'kx'"),
            ("32kibb", "invalid suffix: 'kibb'"),
            ("32e", "invalid suffix: 'e'"),
            ("32kk", "invalid suffix: 'kk'"),
            (" 32 ", "strconv.ParseFloat: parsing \" 32\": invalid syntax"),
            ("32 3m", "strconv.ParseFloat: parsing \"32 3\": invalid syntax"),
            ("1.2.3", "strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"),
        ] {
            assert_eq!(ram_in_bytes(text).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
    }

    #[test]
    fn times_are_printed_with_the_decimals_they_need() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (500_000_000, "1970-01-01T00:00:00.5Z"),
            (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (1_700_000_010_000_000_000, "2023-11-14T22:13:30Z"),
        ] {
            assert_eq!(rfc3339_nano(nanos), text);
        }
        assert_eq!(rfc3339_nano_or_zero(None), "0001-01-01T00:00:00Z");
        assert_eq!(&log_timestamp(500_000_000), b"1970-01-01T00:00:00.500000000Z");
    }

    #[test]
    fn since_and_until_are_unix_seconds_with_a_fraction() {
        for (text, nanos) in [
            ("", None),
            ("0", Some(0)),
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000.000000001", Some(1_700_000_000_000_000_001)),
            ("1.5", Some(1_500_000_000)),
            ("1.0000000019", Some(1_000_000_001)),
            ("-1", Some(-1_000_000_000)),
        ] {
            assert_eq!(parse_unix_time(text), Ok(nanos), "{text}");
        }
        for (text, message) in [
            ("abc", "strconv.ParseInt: parsing \"abc\": invalid syntax"),
            ("10m", "strconv.ParseInt: parsing \"10m\": invalid syntax"),
            ("1.x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("1.", "strconv.ParseInt: parsing \"\": invalid syntax"),
            (".5", "strconv.ParseInt: parsing \"\": invalid syntax"),
            ("1.-5", "strconv.ParseInt: parsing \"-5\": invalid syntax"),
            ("99999999999999999999", "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"),
            ("9999999999999", "strconv.ParseInt: parsing \"9999999999999\": value out of range"),
        ] {
            assert_eq!(parse_unix_time(text).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
    }

    proptest! {
        /// jiff has a calendar of its own.
        #[test]
        fn every_time_is_printed_as_jiff_prints_it(nanos: i64) {
            let timestamp = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let fixed = String::from_utf8(log_timestamp(nanos).to_vec()).unwrap();
            prop_assert_eq!(fixed, format!("{timestamp:.9}"));
            let parsed: jiff::Timestamp = rfc3339_nano(nanos).parse().unwrap();
            prop_assert_eq!(parsed, timestamp);
            prop_assert!(!rfc3339_nano(nanos).ends_with(".Z"));
        }

        #[test]
        fn any_text_is_a_size_a_time_or_an_error(text in "[-+.0-9 a-zA-Z]{0,12}") {
            if let Ok(bytes) = ram_in_bytes(&text) {
                prop_assert!(i64::try_from(bytes).is_ok());
            }
            if let Ok(Some(nanos)) = parse_unix_time(&text) {
                prop_assert!(rfc3339_nano(nanos).ends_with('Z'));
            }
        }
    }
}
