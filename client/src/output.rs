//! The only place that prints: lines, tables and JSON on stdout, complaints on stderr.

mod sink;

use std::io::{self, Write as _};

use serde::Serialize;

pub(crate) use self::sink::Sink;

/// Writes `text` and a newline to stdout.
pub(crate) fn line(text: &str) -> io::Result<()> {
    raw(&format!("{text}\n"))
}

/// Writes `text` to stdout.
pub(crate) fn raw(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes `text` and a newline to stderr. That stderr is gone cannot be told to anybody.
pub(crate) fn complain(text: &str) {
    drop(io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}

/// Writes JSON with Docker's four spaces of indentation.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    line(&String::from_utf8_lossy(&text))
}

/// Lays rows out in columns: each as wide as its longest cell and three spaces, at least `minimum`; the last one is not
/// padded.
pub(crate) fn columns<S: AsRef<str>>(rows: &[Vec<S>], minimum: usize) -> String {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), minimum);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.as_ref().chars().count() + 3);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = if at + 1 < row.len() { widths[at] } else { 0 };
            text.push_str(&format!("{:width$}", cell.as_ref()));
        }
        text.push('\n');
    }
    text
}

/// Cuts `text` to `limit` characters, the last of which says so.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

/// Shortens an id to the twelve digits that people read; other text stays.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_three_spaces_apart_and_the_last_is_not_padded() {
        let rows = [vec!["CONTAINER ID", "SIZE", "NAMES"], vec!["0123456789ab", "1", "a"]];
        assert_eq!(columns(&rows, 10), "CONTAINER ID   SIZE      NAMES\n0123456789ab   1         a\n");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(ellipsis("\"sleep infinity and more\"", 20), "\"sleep infinity and…");
        assert_eq!(ellipsis("ééé", 3), "ééé");
    }

    #[test]
    fn ids_lose_their_algorithm_and_their_tail() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("<missing>"), "<missing>");
    }
}
