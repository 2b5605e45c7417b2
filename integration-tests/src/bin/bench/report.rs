//! What is printed for people (Markdown, so that it can be pasted into docs) and written for programs (JSON).

use std::fmt::Write;

use serde_json::{Map, Value};

/// The figures of one run, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    title: String,
    note: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    data: Value,
}

impl Report {
    /// Adds a table; `data` is the same in full for programs.
    pub(crate) fn table(&mut self, title: &str, note: &str, columns: &[&str], rows: Vec<Vec<String>>, data: Value) {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        self.sections.push(Section { title: title.to_owned(), note: note.to_owned(), columns, rows, data });
    }

    /// Puts the last table in front of the others.
    pub(crate) fn last_first(&mut self) {
        self.sections.rotate_right(1);
    }

    pub(crate) fn markdown(&self) -> String {
        self.sections.iter().map(Section::markdown).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn json(&self) -> Value {
        let sections: Map<String, Value> =
            self.sections.iter().map(|section| (section.title.clone(), section.data.clone())).collect();
        Value::Object(sections)
    }
}

impl Section {
    fn markdown(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at)).chain([&self.columns[at]]);
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(at, (cell, &width))| if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
                .collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(
                |(at, &width)| {
                    if at == 0 { "-".repeat(width.max(3)) } else { format!("{}:", "-".repeat(width.max(3) - 1)) }
                },
            )
            .collect();
        let mut text = format!("### {}\n\n{}{}", self.title, line(&self.columns), line(&rule));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        if !self.note.is_empty() {
            // Writing to a String cannot fail.
            let _never_fails = write!(text, "\n{}\n", self.note);
        }
        text
    }
}

/// A figure with as many digits as mean something; a dash for none.
pub(crate) fn figure(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
