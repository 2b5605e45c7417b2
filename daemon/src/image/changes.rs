//! The Dockerfile instructions that import accepts, applied to an empty configuration.

mod words;

use std::collections::BTreeMap;

use api_schema::container::Empty;
use api_schema::image::{Healthcheck, ImageConfig};

use self::words::{raw_words, unquote, words};
use crate::signal::Signal;

/// Why an instruction cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("{0} is not a valid change command")]
    Unknown(String),
    #[error("{0} requires at least one argument")]
    NoArgument(&'static str),
    #[error("{0} requires exactly one argument")]
    OneArgument(&'static str),
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEquals(String),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error("unexpected end of statement while looking for matching quote")]
    Quote,
    #[error("invalid variable substitution in {0:?}")]
    Substitution(String),
    #[error("invalid containerPort: {0}")]
    Port(String),
    #[error("invalid proto: {0}")]
    Protocol(String),
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("Invalid signal: {0}")]
    Signal(String),
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    Trigger(String),
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    ChainedTrigger,
    #[error("invalid HEALTHCHECK: {0}")]
    Healthcheck(String),
}

/// Returns the configuration that the instructions describe. Each text may hold several lines.
pub(super) fn apply(changes: &[String]) -> Result<ImageConfig, ChangeError> {
    let mut config = ImageConfig::default();
    for line in logical_lines(&changes.join("\n")) {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        instruction(&mut config, name, rest.trim())?;
    }
    Ok(config)
}

/// Joins lines that end in a backslash, and drops empty ones and comments.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with('#') || (line.trim().is_empty() && !open.is_empty()) {
            continue;
        }
        match line.trim_end().strip_suffix('\\') {
            Some(begun) => open.push_str(begun),
            None => {
                open.push_str(line);
                lines.push(std::mem::take(&mut open).trim().to_owned());
            }
        }
    }
    lines.push(open.trim().to_owned());
    lines.retain(|line| !line.is_empty());
    lines
}

fn instruction(config: &mut ImageConfig, name: &str, rest: &str) -> Result<(), ChangeError> {
    let some = |name: &'static str| if rest.is_empty() { Err(ChangeError::NoArgument(name)) } else { Ok(rest) };
    let one = |config: &ImageConfig, name: &'static str| match words(rest, config)?.as_slice() {
        [word] => Ok(word.clone()),
        _ => Err(ChangeError::OneArgument(name)),
    };
    match name.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(some("CMD")?)),
        "ENTRYPOINT" => config.entrypoint = Some(command(some("ENTRYPOINT")?)),
        "ENV" => {
            for (key, value) in pairs("ENV", some("ENV")?, config)? {
                let prefix = format!("{key}=");
                let entry = format!("{prefix}{value}");
                match config.env.iter_mut().find(|known| known.starts_with(&prefix)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs("LABEL", some("LABEL")?, config)?),
        "EXPOSE" => {
            some("EXPOSE")?;
            for port in words(rest, config)? {
                expose(&mut config.exposed_ports, &port)?;
            }
        }
        "USER" => config.user = one(config, "USER")?,
        "VOLUME" => {
            let paths = match json_list(some("VOLUME")?) {
                Some(paths) => paths,
                None => words(rest, config)?,
            };
            for path in paths {
                let path = path.trim();
                if path.is_empty() {
                    return Err(ChangeError::EmptyVolume);
                }
                config.volumes.insert(path.to_owned(), Empty {});
            }
        }
        "WORKDIR" => {
            some("WORKDIR")?;
            let path = unquote(rest, config)?;
            config.working_dir = clean(&config.working_dir, &path);
        }
        "STOPSIGNAL" => {
            let signal = one(config, "STOPSIGNAL")?;
            Signal::parse(&signal).map_err(|_unknown| ChangeError::Signal(signal.clone()))?;
            config.stop_signal = signal;
        }
        "ONBUILD" => {
            let trigger = some("ONBUILD")?.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match trigger.as_str() {
                "ONBUILD" => return Err(ChangeError::ChainedTrigger),
                "FROM" | "MAINTAINER" => return Err(ChangeError::Trigger(trigger)),
                _ => config.on_build.get_or_insert_default().push(rest.to_owned()),
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(some("HEALTHCHECK")?)?),
        _ => return Err(ChangeError::Unknown(name.to_owned())),
    }
    Ok(())
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A JSON list is the arguments themselves; anything else is for the shell.
fn command(text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// Reads `key=value …`, or the old `key value to the end`.
fn pairs(name: &'static str, text: &str, config: &ImageConfig) -> Result<Vec<(String, String)>, ChangeError> {
    let raw = raw_words(text)?;
    if raw.first().is_some_and(|first| !first.contains('=')) {
        let (key, value) = text.split_once(char::is_whitespace).ok_or(ChangeError::TwoArguments(name))?;
        return Ok(vec![(unquote(key, config)?, unquote(value.trim(), config)?)]);
    }
    raw.iter()
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| ChangeError::NoEquals(word.clone()))?;
            let key = unquote(key, config)?;
            if key.is_empty() { Err(ChangeError::BlankName(name)) } else { Ok((key, unquote(value, config)?)) }
        })
        .collect()
}

fn expose(ports: &mut BTreeMap<String, Empty>, spec: &str) -> Result<(), ChangeError> {
    let invalid = || ChangeError::Port(spec.to_owned());
    let (range, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(ChangeError::Protocol(protocol));
    }
    // What a port is published as is for the container to say.
    let range = range.rsplit(':').next().unwrap_or_default();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) =
        (first.parse().map_err(|_no_port| invalid())?, last.parse().map_err(|_no_port| invalid())?);
    if first > last {
        return Err(invalid());
    }
    ports.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
    Ok(())
}

/// Joins a path to the working directory so far, without `.`, `..` and doubled slashes.
fn clean(base: &str, path: &str) -> String {
    let mut parts = Vec::new();
    let base = if path.starts_with('/') { "" } else { base };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn healthcheck(text: &str) -> Result<Healthcheck, ChangeError> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let invalid = || ChangeError::Healthcheck(format!("flag --{flag}"));
        let (name, value) = flag.split_once('=').ok_or_else(invalid)?;
        let nanos = || duration(value).filter(|&nanos| nanos == 0 || nanos >= 1_000_000).ok_or_else(invalid);
        match name {
            "interval" => check.interval = nanos()?,
            "timeout" => check.timeout = nanos()?,
            "start-period" => check.start_period = nanos()?,
            "start-interval" => check.start_interval = nanos()?,
            "retries" => check.retries = value.parse().ok().filter(|&count| count >= 0).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        }
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if arguments.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(ChangeError::Healthcheck("NONE takes no arguments".to_owned())),
        "CMD" if arguments.is_empty() => return Err(ChangeError::Healthcheck("missing command after CMD".to_owned())),
        "CMD" => match json_list(arguments) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
        },
        _ => return Err(ChangeError::Healthcheck(format!("unknown type {kind:?}"))),
    };
    Ok(check)
}

/// Parses a Go duration; returns nanoseconds.
fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut nanos) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = rest.strip_prefix(unit)?;
        nanos += number * factor;
    }
    (!text.is_empty() && nanos < 9e18).then_some(nanos as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(changes: &[&str]) -> Result<String, String> {
        let changes: Vec<String> = changes.iter().map(|&text| text.to_owned()).collect();
        apply(&changes).map(|config| serde_json::to_string(&config).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn instructions_mean_what_they_mean_in_a_dockerfile() {
        for (changes, expected) in [
            (&["CMD [\"a\", \"b c\"]"][..], r#"{"Cmd":["a","b c"]}"#),
            (&["cmd echo $HOME"], r#"{"Cmd":["/bin/sh","-c","echo $HOME"]}"#),
            (&["ENTRYPOINT [\"/init\"]", "CMD x"], r#"{"Entrypoint":["/init"],"Cmd":["/bin/sh","-c","x"]}"#),
            (&["ENV A=1 B=\"two words\" C='$A'", "ENV D=${A}-$B E=${X:-none}"], {
                r#"{"Env":["A=1","B=two words","C=$A","D=1-two words","E=none"]}"#
            }),
            (&["ENV A some words", "ENV A=2"], r#"{"Env":["A=2"]}"#),
            (&["ENV A=a\\ b"], r#"{"Env":["A=a b"]}"#),
            (&["LABEL a=b \"c d\"=e"], r#"{"Labels":{"a":"b","c d":"e"}}"#),
            (
                &["EXPOSE 80 53/UDP 8000-8001"],
                r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{}}}"#,
            ),
            (&["USER 1000:1000"], r#"{"User":"1000:1000"}"#),
            (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#),
            (&["WORKDIR /a/b", "WORKDIR ../c"], r#"{"WorkingDir":"/a/c"}"#),
            (&["STOPSIGNAL SIGQUIT"], r#"{"StopSignal":"SIGQUIT"}"#),
            (&["ONBUILD RUN make"], r#"{"OnBuild":["RUN make"]}"#),
            (&["HEALTHCHECK --interval=5s --retries=3 CMD curl x"], {
                r#"{"Healthcheck":{"Test":["CMD-SHELL","curl x"],"Interval":5000000000,"Retries":3}}"#
            }),
            (&["HEALTHCHECK NONE"], r#"{"Healthcheck":{"Test":["NONE"]}}"#),
            (&["# comment\nCMD a \\\n b\n\nUSER x"], r#"{"User":"x","Cmd":["/bin/sh","-c","a  b"]}"#),
            (&[], "{}"),
        ] {
            assert_eq!(json(changes).as_deref(), Ok(expected), "{changes:?}");
        }
    }

    #[test]
    fn other_instructions_and_mistakes_are_refused() {
        for (change, part) in [
            ("RUN make", "RUN is not a valid change command"),
            ("FROM scratch", "FROM is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "can't find = in \"B\""),
            ("ENV =1", "ENV names can not be blank"),
            ("LABEL a=\"b", "matching quote"),
            ("EXPOSE http", "invalid containerPort: http"),
            ("EXPOSE 90-80", "invalid containerPort"),
            ("EXPOSE 80/icmp", "invalid proto: icmp"),
            ("USER a b", "USER requires exactly one argument"),
            ("VOLUME [\" \"]", "VOLUME specified can not be an empty string"),
            ("STOPSIGNAL SIGNOTHING", "Invalid signal"),
            ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            ("HEALTHCHECK CMD", "missing command"),
            ("HEALTHCHECK --interval=soon CMD x", "--interval=soon"),
            ("ENV A=${", "invalid variable substitution"),
            ("ENV A=${B:?no}", "invalid variable substitution"),
        ] {
            let error = json(&[change]).unwrap_err();
            assert!(error.contains(part), "{change}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(name in "(ENV|LABEL|EXPOSE|VOLUME|HEALTHCHECK|WORKDIR|CMD) ", rest in ".{0,60}") {
            drop(apply(&[format!("{name}{rest}")]));
        }
    }
}
