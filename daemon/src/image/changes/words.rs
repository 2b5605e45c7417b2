//! Words as the shell and the Dockerfile know them: quotes, escapes and variables of the image.

use api_schema::image::ImageConfig;

use super::ChangeError;

/// Splits at blanks, removes quotes and puts in variables.
pub(super) fn words(text: &str, config: &ImageConfig) -> Result<Vec<String>, ChangeError> {
    raw_words(text)?.iter().map(|word| unquote(word, config)).collect()
}

/// Splits at blanks that are neither quoted nor escaped, and keeps the quotes.
pub(super) fn raw_words(text: &str) -> Result<Vec<String>, ChangeError> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', None | Some('"')) => {
                word.push(char);
                word.extend(chars.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (char, None) if char.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(char);
    }
    if quote.is_some() {
        return Err(ChangeError::Quote);
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Removes quotes and escapes, and puts in variables where the shell would.
pub(super) fn unquote(text: &str, config: &ImageConfig) -> Result<String, ChangeError> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\'', None) | ('"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (char, Some('\'')) => out.push(char),
            ('\\', Some('"')) => match chars.next() {
                Some(escaped @ ('"' | '$' | '\\')) => out.push(escaped),
                Some(other) => out.extend(['\\', other]),
                None => return Err(ChangeError::Quote),
            },
            ('\\', None) => out.extend(chars.next()),
            ('$', _) => out.push_str(&variable(text, &mut chars, config)?),
            (char, _) => out.push(char),
        }
    }
    if quote.is_some() { Err(ChangeError::Quote) } else { Ok(out) }
}

/// Reads what follows a `$`: `name`, `{name}`, `{name:-default}` or `{name:+other}`.
fn variable(
    whole: &str,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    config: &ImageConfig,
) -> Result<String, ChangeError> {
    let value = |name: &str| {
        config.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    let word = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
    if chars.next_if_eq(&'{').is_none() {
        let mut name = String::new();
        while let Some(char) = chars.next_if(word) {
            name.push(char);
        }
        return Ok(if name.is_empty() { "$".to_owned() } else { value(&name) });
    }
    let invalid = || ChangeError::Substitution(whole.to_owned());
    let mut inner = String::new();
    loop {
        match chars.next().ok_or_else(invalid)? {
            '}' => break,
            char => inner.push(char),
        }
    }
    let end = inner.find(|char| !word(&char)).unwrap_or(inner.len());
    let (name, modifier) = inner.split_at(end);
    let set = value(name);
    match (name, modifier.get(..2)) {
        ("", _) => Err(invalid()),
        (_, Some(":-")) if set.is_empty() => unquote(&modifier[2..], config),
        (_, Some(":+")) if !set.is_empty() => unquote(&modifier[2..], config),
        (_, Some(":+")) => Ok(String::new()),
        (_, Some(":-")) => Ok(set),
        (_, None) if modifier.is_empty() => Ok(set),
        _ => Err(invalid()),
    }
}
