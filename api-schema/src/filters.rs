//! The `filters` query parameter: a JSON map in one of two encodings.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Parsed filters: for each key the values asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filters {
    /// Parses `{"label": {"a=b": true}}` (what clients send since 1.22) or `{"label": ["a=b"]}`; empty is no filter.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|error| InvalidFilter(format!("invalid filter: {error}")))?;
        let values = parsed.into_iter().map(|(key, values)| {
            let values = match values {
                Values::Set(set) => set.into_iter().filter_map(|(value, wanted)| wanted.then_some(value)).collect(),
                Values::List(list) => list,
            };
            (key, values)
        });
        Ok(Self(values.filter(|(_, values): &(_, Vec<_>)| !values.is_empty()).collect()))
    }

    /// Refuses keys that are not among `known`.
    pub fn check(&self, known: &[&str]) -> Result<(), InvalidFilter> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(InvalidFilter(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Returns the values of a key; none if it was not given.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns whether a key was given.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the boolean that a key asks for, `default` if it was not given.
    pub fn get_bool(&self, key: &str, default: bool) -> Result<bool, InvalidFilter> {
        match self.get(key) {
            [] => Ok(default),
            [value] => match value.as_str() {
                "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(InvalidFilter(format!("invalid filter '{key}={value}'"))),
            },
            values => Err(InvalidFilter(format!("invalid filter '{key}={}'", values.join(",")))),
        }
    }

    /// Returns whether labels satisfy every `label` and no `label!` value, each a key or `key=value`.
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|present| present == value),
            None => labels.contains_key(wanted),
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }
}

/// Filters that cannot be used; the text is the API's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFilter(pub String);

impl std::fmt::Display for InvalidFilter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidFilter {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_mean_the_same() {
        let set = Filters::parse(r#"{"label":{"a=b":true,"c":true,"d":false}}"#).unwrap();
        let list = Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap();
        assert_eq!(set, list);
        assert_eq!(set.get("label"), ["a=b", "c"]);
    }

    #[test]
    fn what_is_no_map_of_filters_is_refused() {
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":{"b":"c"}}"#] {
            assert!(Filters::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Filters::parse(r#"{"foo":["x"]}"#).unwrap().check(&["label"]).unwrap_err().to_string(),
            "invalid filter 'foo'"
        );
    }

    #[test]
    fn labels_match_by_key_or_by_key_and_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        for (filter, expected) in [
            (r#"{"label":["a"]}"#, true),
            (r#"{"label":["a=1","b"]}"#, true),
            (r#"{"label":["a=2"]}"#, false),
            (r#"{"label":["c"]}"#, false),
            (r#"{"label!":["a"]}"#, false),
            ("", true),
        ] {
            assert_eq!(Filters::parse(filter).unwrap().match_labels(&labels), expected, "{filter}");
        }
    }
}
