//! Lists: rows with named cells, shown as Docker's table, as JSON lines or through a template.

use serde_json::{Map, Value};

use crate::{
    failure::Failure,
    output,
    template::{self, TemplateError},
};

/// The least width of a column, as Docker has it.
const MINIMUM: usize = 10;

/// One row: what `--format` can name.
pub(crate) type Row = Map<String, Value>;

/// Makes a row; the fields are sorted as Go prints a map.
pub(crate) fn row<const N: usize>(fields: [(&str, String); N]) -> Row {
    let mut fields = fields;
    fields.sort_by_key(|(name, _)| *name);
    fields.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

/// Prints `rows`: by default a table with `columns` (field, heading).
pub(crate) fn print(rows: &[Row], columns: &[(&str, &str)], format: Option<&str>) -> Result<(), Failure> {
    let text = match format {
        None | Some("" | "table") => {
            let mut cells = vec![columns.iter().map(|(_, heading)| *heading).collect::<Vec<_>>()];
            let cell = |row: &'_ Row, field| row.get(field).and_then(Value::as_str).map(str::to_owned);
            let body: Vec<Vec<String>> = rows
                .iter()
                .map(|row| columns.iter().map(|(field, _)| cell(row, *field).unwrap_or_default()).collect())
                .collect();
            cells.extend(body.iter().map(|row| row.iter().map(String::as_str).collect()));
            output::columns(&cells, MINIMUM)
        }
        Some("json") => lines(rows, |row| Ok(Value::Object(row.clone()).to_string()))?,
        Some(format) => match format.strip_prefix("table ") {
            None => lines(rows, |row| template::render(format, &Value::Object(row.clone())))?,
            Some(format) => {
                let mut table = vec![template::headings(format)];
                for row in rows {
                    table.push(template::render(format, &Value::Object(row.clone()))?);
                }
                let cells: Vec<Vec<&str>> = table.iter().map(|line| line.split('\t').collect()).collect();
                output::columns(&cells, MINIMUM)
            }
        },
    };
    Ok(output::raw(&text)?)
}

fn lines(rows: &[Row], line: impl Fn(&Row) -> Result<String, TemplateError>) -> Result<String, TemplateError> {
    rows.iter().map(|row| Ok(line(row)? + "\n")).collect()
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::new(error.to_string())
    }
}
