//! Which images a list or a prune is about: filters, and the order of the answer.

use std::sync::Arc;

use super::reference::Tagged;
use super::{Error, Image, Images};
use crate::clock::Timestamp;
use crate::units;

/// What is asked for; empty is everything.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Without a name, or with one.
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must match.
    pub labels: Vec<String>,
    /// Images with one of these labels are left out.
    pub without_labels: Vec<String>,
    /// Image that must be newer.
    pub before: Option<String>,
    /// Image that must be older.
    pub since: Option<String>,
    /// Patterns for names; one must match.
    pub references: Vec<String>,
    /// As the client wrote it: Unix time, duration before now, or date.
    pub until: Option<String>,
}

/// The same, checked.
#[derive(Debug)]
pub struct Selection {
    request: ListRequest,
    before: Option<i64>,
    since: Option<i64>,
    until: Option<i64>,
}

/// A listed image with the names that were asked for.
#[derive(Debug, Clone)]
pub struct Listed {
    pub image: Arc<Image>,
    pub tags: Vec<Tagged>,
    /// Bytes of layers that other images have as well.
    pub shared_bytes: u64,
}

impl Images {
    /// Checks a request: images that it names exist, patterns and times are valid.
    pub fn selection(&self, request: ListRequest) -> Result<Selection, Error> {
        let created = |name: &Option<String>| {
            name.as_deref().map(|name| Ok::<_, Error>(self.resolve(name)?.document.created_seconds())).transpose()
        };
        for pattern in &request.references {
            glob(pattern, "").ok_or_else(|| {
                Error::Filter(format!("invalid filter 'reference={pattern}': syntax error in pattern"))
            })?;
        }
        let until = request.until.as_deref().map(|text| moment(text, Timestamp::now())).transpose()?;
        Ok(Selection { before: created(&request.before)?, since: created(&request.since)?, until, request })
    }

    /// Returns the selected images, the newest first.
    pub fn list(&self, selection: &Selection) -> Vec<Listed> {
        let index = self.index();
        let mut users_of_layer = std::collections::HashMap::new();
        for layer in index.all().flat_map(|image| &image.layers) {
            *users_of_layer.entry(layer.chain_id).or_insert(0_usize) += 1;
        }
        let shared = |image: &Image| {
            let shared =
                image.layers.iter().filter(|layer| users_of_layer.get(&layer.chain_id).is_some_and(|&n| n > 1));
            shared.fold(0_u64, |sum, layer| sum.saturating_add(layer.size_bytes))
        };
        let mut listed: Vec<Listed> = index
            .all()
            .filter_map(|image| {
                let tags = selection.matches(image)?;
                Some(Listed { image: Arc::clone(image), tags, shared_bytes: shared(image) })
            })
            .collect();
        listed.sort_by_key(|listed| (std::cmp::Reverse(listed.image.document.created_seconds()), listed.image.digest));
        listed
    }
}

impl Selection {
    /// Returns the image's names that match, or `None` if the image does not.
    pub fn matches(&self, image: &Image) -> Option<Vec<Tagged>> {
        let request = &self.request;
        let created = image.document.created_seconds();
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => image.config.labels.get(key).is_some_and(|own| own == value),
            None => image.config.labels.contains_key(wanted),
        };
        let fits = self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.until.is_none_or(|until| created <= until)
            && request.dangling.is_none_or(|dangling| dangling == image.tags.is_empty())
            && request.labels.iter().all(has)
            && !request.without_labels.iter().any(has);
        if !fits {
            return None;
        }
        if request.references.is_empty() {
            return Some(image.tags.clone());
        }
        let matches = |tagged: &&Tagged| {
            let (name, with_tag) = (tagged.repository.familiar(), tagged.to_string());
            let one = |pattern: &String| [name, &with_tag].iter().any(|text| glob(pattern, text) == Some(true));
            request.references.iter().any(one)
        };
        let tags: Vec<Tagged> = image.tags.iter().filter(matches).cloned().collect();
        (!tags.is_empty()).then_some(tags)
    }
}

/// Matches as Go's `path.Match`: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes, `\` quotes. `None` when
/// the pattern is malformed.
fn glob(pattern: &str, text: &str) -> Option<bool> {
    let tokens = tokens(pattern)?;
    let text: Vec<char> = text.chars().collect();
    // Which prefixes of the text the tokens so far can produce.
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for token in &tokens {
        let mut next = vec![false; text.len() + 1];
        for position in 0..=text.len() {
            let step = |one: bool| one && position < text.len();
            match token {
                Token::Star => {
                    let longer = position > 0 && text[position - 1] != '/' && next[position - 1];
                    next[position] = reach[position] || longer;
                }
                Token::Any => {
                    if step(reach[position]) && text[position] != '/' {
                        next[position + 1] = true;
                    }
                }
                Token::Char(wanted) => {
                    if step(reach[position]) && text[position] == *wanted {
                        next[position + 1] = true;
                    }
                }
                Token::Class { negated, ranges } => {
                    if step(reach[position]) && text[position] != '/' {
                        let within = ranges.iter().any(|(low, high)| (low..=high).contains(&&text[position]));
                        next[position + 1] = within != *negated;
                    }
                }
            }
        }
        reach = next;
    }
    reach.last().copied()
}

enum Token {
    Star,
    Any,
    Char(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Char(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut bound = |first: bool| match chars.next()? {
                        ']' if first && !ranges.is_empty() => Some(None),
                        ']' | '-' => None,
                        '\\' => chars.next().map(Some),
                        char => Some(Some(char)),
                    };
                    let Some(low) = bound(true)? else { break };
                    let high = if chars.next_if_eq(&'-').is_some() { closing(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            char => Token::Char(char),
        });
    }
    Some(tokens)
}

fn closing(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        ']' | '-' => None,
        '\\' => chars.next(),
        char => Some(char),
    }
}

/// Reads the `until` filter: Unix seconds, a Go duration before now, RFC 3339, or a date with or without a time in UTC.
/// Returns seconds since the epoch.
fn moment(text: &str, now: Timestamp) -> Result<i64, Error> {
    if let Some(duration) = go_duration(text) {
        return Ok(now.seconds().saturating_sub(duration));
    }
    if let Ok(Some(nanos)) = units::parse_unix_time(text) {
        return Ok(Timestamp(nanos).seconds());
    }
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let civil = || {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let moment = zoned.or_else(civil).ok_or_else(|| Error::Filter(format!("invalid filter 'until={text}'")))?;
    Ok(moment.as_second())
}

/// Parses `1h30m`, `10s`, `1.5h`; returns seconds.
fn go_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = rest.strip_prefix(unit)?;
        seconds += number * factor;
    }
    (!text.is_empty() && seconds < 1e12).then_some(seconds as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_path_match() {
        for (pattern, text, expected) in [
            ("*", "busybox", Some(true)),
            ("*", "a/b", Some(false)),
            ("*/*", "a/b", Some(true)),
            ("busy*:la?est", "busybox:latest", Some(true)),
            ("[a-c]x", "bx", Some(true)),
            ("[^a-c]x", "bx", Some(false)),
            ("[]a]x", "ax", None),
            ("a\\*", "a*", Some(true)),
            ("[", "a", None),
            ("[a-]", "a", None),
            ("a\\", "a", None),
            ("", "", Some(true)),
            ("a", "ab", Some(false)),
            ("*****************************x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Some(false)),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn until_is_a_time_a_duration_or_a_date() {
        let now = Timestamp(1_700_000_000_000_000_000);
        for (text, expected) in [
            ("1600000000", 1_600_000_000),
            ("1600000000.5", 1_600_000_000),
            ("10m", 1_699_999_400),
            ("1h30m", 1_699_994_600),
            ("1.5h", 1_699_994_600),
            ("2023-01-02", 1_672_617_600),
            ("2023-01-02T03:04:05", 1_672_628_645),
            ("2023-01-02T03:04:05+01:00", 1_672_625_045),
        ] {
            assert_eq!(moment(text, now).unwrap(), expected, "{text}");
        }
        for text in ["", "m", "10 minutes", "yesterday", "10x"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
