//! The part of Go's templates that `--format` is used with: fields, pipes and a few functions.
//!
//! `{{.Name}}`, `{{.State.Pid}}`, `{{json .Config}}`, `{{.Names | upper}}`, `{{index .RepoTags 0}}`, `{{join .Args "
//! "}}`, `{{len .Mounts}}`. Control structures are refused by name.

use serde_json::Value;

/// A template that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    #[error("template: unclosed action: \"{{{{{0}\"")]
    Unclosed(String),
    #[error("template: \"{0}\" is not supported in --format")]
    Unsupported(String),
    #[error("template: {function} needs {needs}")]
    Argument { function: String, needs: &'static str },
    #[error("template: map has no entry for key \"{0}\"")]
    NoField(String),
}

/// Fills `template` in from `data`.
pub(crate) fn render(template: &str, data: &Value) -> Result<String, TemplateError> {
    // The shell hands `\t` and `\n` over as they were typed.
    let template = template.replace("\\t", "\t").replace("\\n", "\n");
    let mut text = String::new();
    let mut rest = template.as_str();
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (action, tail) = after.split_once("}}").ok_or_else(|| TemplateError::Unclosed(after.to_owned()))?;
        let mut value = None;
        for stage in split_words(action, '|') {
            value = Some(apply(&stage, value, data)?);
        }
        text.push_str(&display(&value.unwrap_or(Value::Null)));
        rest = tail;
    }
    text.push_str(rest);
    Ok(text)
}

/// Lists the fields that `template` begins its paths with, to be the headings of a table.
pub(crate) fn headings(template: &str) -> String {
    let mut text = template.to_owned();
    while let Some((start, end)) = text.find("{{").and_then(|at| Some((at, at + text[at..].find("}}")?))) {
        let name: String = text[start..end]
            .chars()
            .skip_while(|&c| c != '.')
            .skip(1)
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        text.replace_range(start..end + 2, &heading(&name));
    }
    text.replace("\\t", "\t")
}

/// Makes Docker's heading of a field's name: "CreatedAt" is "CREATED AT".
fn heading(name: &str) -> String {
    match name {
        "ID" => return "ID".to_owned(),
        "RunningFor" | "CreatedSince" => return "CREATED".to_owned(),
        _ => {}
    }
    let mut text = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && text.ends_with(|last: char| last != ' ') {
            text.push(' ');
        }
        text.push(character);
    }
    text.to_ascii_uppercase()
}

/// Splits at `separator` outside of quotes, and drops what is empty.
fn split_words(text: &str, separator: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in text.chars() {
        match quote {
            None if character == separator => words.push(std::mem::take(&mut word)),
            None if character == '"' || character == '`' => {
                quote = Some(character);
                word.push(character);
            }
            _ => {
                if quote == Some(character) {
                    quote = None;
                }
                word.push(character);
            }
        }
    }
    words.push(word);
    words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Evaluates one stage of a pipe: a field, a literal, or a function whose last argument may be what the pipe holds.
fn apply(stage: &str, piped: Option<Value>, data: &Value) -> Result<Value, TemplateError> {
    let words = split_words(stage, ' ');
    let (function, arguments) = words.split_first().ok_or_else(|| TemplateError::Unsupported(stage.to_owned()))?;
    if arguments.is_empty() && piped.is_none() && is_operand(function) {
        return operand(function, data);
    }
    let mut arguments = arguments.iter().map(|word| operand(word, data)).collect::<Result<Vec<_>, _>>()?;
    arguments.extend(piped);
    let wrong = |needs| TemplateError::Argument { function: function.clone(), needs };
    match (function.as_str(), arguments.as_slice()) {
        ("json", [value]) => Ok(Value::String(value.to_string())),
        ("upper", [value]) => Ok(Value::String(display(value).to_uppercase())),
        ("lower", [value]) => Ok(Value::String(display(value).to_lowercase())),
        ("println", [value]) => Ok(Value::String(display(value) + "\n")),
        ("len", [value]) => match value {
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(fields) => Ok(fields.len().into()),
            Value::String(text) => Ok(text.len().into()),
            Value::Null => Ok(0.into()),
            Value::Bool(_) | Value::Number(_) => Err(wrong("a list, a map or a text")),
        },
        ("index", [first, keys @ ..]) => {
            let step = |value: Value, key: &Value| match key {
                Value::Number(at) => value.get(usize::try_from(at.as_u64()?).ok()?).cloned(),
                key => Some(value.get(key.as_str()?).cloned().unwrap_or(Value::Null)),
            };
            keys.iter().try_fold(first.clone(), step).ok_or_else(|| wrong("an index that exists"))
        }
        ("join", [Value::Array(items), Value::String(separator)]) => {
            Ok(Value::String(items.iter().map(display).collect::<Vec<_>>().join(separator)))
        }
        ("json" | "upper" | "lower" | "println" | "len", _) => Err(wrong("one argument")),
        ("join", _) => Err(wrong("a list and a separator")),
        _ => Err(TemplateError::Unsupported(function.clone())),
    }
}

fn is_operand(word: &str) -> bool {
    word.starts_with(['.', '"', '`']) || word.bytes().all(|byte| byte.is_ascii_digit())
}

fn operand(word: &str, data: &Value) -> Result<Value, TemplateError> {
    if let Some(path) = word.strip_prefix('.') {
        let mut value = data;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            value = match value {
                Value::Object(fields) => fields.get(name).ok_or_else(|| TemplateError::NoField(name.to_owned()))?,
                _ => return Err(TemplateError::NoField(name.to_owned())),
            };
        }
        return Ok(value.clone());
    }
    for quote in ['"', '`'] {
        if let Some(text) = word.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return Ok(Value::String(text.to_owned()));
        }
    }
    word.parse::<u64>().map(Value::from).map_err(|_not_a_number| TemplateError::Unsupported(word.to_owned()))
}

/// Prints a value as Go does.
fn display(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(display).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{}", display(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let data = json!({
            "Name": "/web", "State": {"Pid": 42, "Running": true}, "Args": ["-c", "x | y"],
            "Config": {"Labels": {"a.b": "c"}, "Cmd": null},
        });
        let table = [
            ("{{.Name}} {{ .State.Pid }}", "/web 42"),
            ("{{json .State}}", r#"{"Pid":42,"Running":true}"#),
            ("{{.State | json}}", r#"{"Pid":42,"Running":true}"#),
            (r"{{.Name | upper}}\t{{len .Args}}", "/WEB\t2"),
            (r#"{{index .Config.Labels "a.b"}}{{index .Args 1}}"#, "cx | y"),
            (r#"{{join .Args " | "}}"#, "-c | x | y"),
            ("{{.Args}} {{.State}}", "[-c x | y] map[Pid:42 Running:true]"),
            ("{{.Config.Cmd}}", "<no value>"),
        ];
        for (template, text) in table {
            assert_eq!(render(template, &data).unwrap(), text, "{template}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        let error = |template: &str| render(template, &json!({"A": 1})).unwrap_err();
        assert_eq!(error("{{.B}}"), TemplateError::NoField("B".to_owned()));
        assert_eq!(error("{{range .A}}"), TemplateError::Unsupported("range".to_owned()));
        assert_eq!(error("{{.A"), TemplateError::Unclosed(".A".to_owned()));
        assert!(matches!(error("{{index .A 3}}"), TemplateError::Argument { .. }));
    }

    #[test]
    fn tables_get_their_headings_from_the_fields() {
        assert_eq!(headings(r"{{.ID}}\t{{.CreatedAt}}\t{{upper .Names}}"), "ID\tCREATED AT\tNAMES");
    }
}
