//! Signals as Docker's clients write them (`9`, `KILL`, `sigkill`, `RTMIN+3`) and as the kernel numbers them.
//!
//! The numbers are those of x86-64, aarch64 and most other architectures; mips, sparc and alpha differ and are not
//! supported.

use std::fmt;

/// Names by number as Docker knows them, without `SIG`. The first name of a number is the one that is printed.
const NAMES: [(&str, u8); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", RTMIN),
];

/// The first real-time signal a program can use: the C library keeps 32 and 33 for itself.
const RTMIN: u8 = 34;
/// The last signal there is.
const RTMAX: u8 = 64;
/// Docker counts `RTMIN+1` to `RTMIN+15` and, from the other end, `RTMAX-14` to `RTMAX-1`.
const RTMIN_OFFSETS: u8 = 15;
const RTMAX_OFFSETS: u8 = 14;

/// A signal that can be sent, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Why a string names no signal; the words are dockerd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid signal: {0}")]
    Invalid(String),
    #[error("The linux daemon does not support signal {0}")]
    Unsupported(i64),
}

impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);
    pub const STOP: Self = Self(19);
    pub const WINCH: Self = Self(28);

    /// Returns the signal of that number, 1 to 64.
    pub fn from_number(number: i64) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=RTMAX).contains(number)).map(Self)
    }

    /// Reads a number, or a name in any case, with or without `SIG`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Invalid(text.to_owned());
        // Go's Atoi, which dockerd uses, takes a sign too and no more than 64 bits.
        if let Ok(number) = text.parse::<i64>() {
            if number == 0 {
                return Err(invalid());
            }
            return Self::from_number(number).ok_or(Error::Unsupported(number));
        }
        let upper = text.to_uppercase();
        Self::from_bare_name(upper.strip_prefix("SIG").unwrap_or(&upper)).ok_or_else(invalid)
    }

    fn from_bare_name(name: &str) -> Option<Self> {
        let offset = |digits: &str, most: u8| {
            let plain = !digits.starts_with(['0', '+']);
            digits.parse::<u8>().ok().filter(|offset| plain && (1..=most).contains(offset))
        };
        if name == "RTMAX" {
            return Some(Self(RTMAX));
        }
        if let Some(digits) = name.strip_prefix("RTMIN+") {
            return offset(digits, RTMIN_OFFSETS).map(|offset| Self(RTMIN + offset));
        }
        if let Some(digits) = name.strip_prefix("RTMAX-") {
            return offset(digits, RTMAX_OFFSETS).map(|offset| Self(RTMAX - offset));
        }
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| Self(*number))
    }

    pub fn number(self) -> u8 {
        self.0
    }
}

/// Writes the name with `SIG`, as in `SIGTERM` and `SIGRTMIN+3`; the C library's own 32 and 33 are written as numbers.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMES.iter().find(|(_, number)| *number == self.0) {
            return write!(f, "SIG{name}");
        }
        match self.0 {
            RTMAX => write!(f, "SIGRTMAX"),
            number if number > RTMIN + RTMIN_OFFSETS => write!(f, "SIGRTMAX-{}", RTMAX - number),
            number if number > RTMIN => write!(f, "SIGRTMIN+{}", number - RTMIN),
            number => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_that_docker_takes_is_read() {
        for (text, number) in [
            ("9", 9),
            ("64", 64),
            ("33", 33),
            ("+9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("kill", 9),
            ("sigKill", 9),
            ("SIGIOT", 6),
            ("CLD", 17),
            ("POLL", 29),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+15", 49),
            ("RTMAX", 64),
            ("rtmax-2", 62),
            ("SIGRTMAX-14", 50),
            ("WINCH", 28),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused_with_dockers_words() {
        for text in [
            "",
            "0",
            "SIG",
            "FOO",
            "SIGFOO",
            "SIGSIGKILL",
            "KILL ",
            "RTMIN+0",
            "RTMIN+16",
            "RTMAX-15",
            "RTMIN-1",
            "RTMIN+",
            "RTMIN+03",
            "RTMIN++3",
            "RTMAX+1",
            "9.0",
            "99999999999999999999",
        ] {
            assert_eq!(Signal::parse(text).unwrap_err().to_string(), format!("invalid signal: {text}"));
        }
        for (text, message) in [
            ("65", "The linux daemon does not support signal 65"),
            ("-1", "The linux daemon does not support signal -1"),
            ("4096", "The linux daemon does not support signal 4096"),
        ] {
            assert_eq!(Signal::parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_printed_name_is_read_back_as_the_same_signal() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Ok(signal), "{signal}");
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(Signal::from_number(6).unwrap().to_string(), "SIGABRT");
        assert_eq!(Signal::from_number(49).unwrap().to_string(), "SIGRTMIN+15");
        assert_eq!(Signal::from_number(50).unwrap().to_string(), "SIGRTMAX-14");
        assert_eq!(Signal::from_number(0), None);
        assert_eq!(Signal::from_number(65), None);
        assert_eq!(Signal::from_number(265), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_signal_of_the_kernel_or_an_error(text in "\\PC{0,12}") {
            if let Ok(signal) = Signal::parse(&text) {
                prop_assert!((1..=64).contains(&signal.number()));
            }
        }
    }
}
