//! What handlers read from a request, with errors that are Docker's.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ErrorKind;
use crate::http::ApiError;

/// The largest JSON body, in bytes (arbitrary; a create with ten thousand variables is below it).
const MAX_JSON_BODY: usize = 4 * 1024 * 1024;

/// The query string, with Docker's reading of booleans.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Returns the first value of a parameter; `None` if it is missing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a parameter, empty if it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Returns every value of a parameter that may be repeated.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns a boolean as Docker reads it: everything but the empty string, 0, no, false and none is true.
    pub(super) fn bool(&self, name: &str) -> bool {
        self.bool_or(name, false)
    }

    /// As [`Self::bool`], with another answer for a missing parameter.
    pub(super) fn bool_or(&self, name: &str, missing: bool) -> bool {
        self.get(name).map_or(missing, |value| {
            !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// Returns a number; `None` if it is missing or empty.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_not_a_number| {
                ApiError::invalid(format!("invalid value {text:?} for {name}: not a number in its range"))
            }),
        }
    }

    /// Returns the parsed `filters` parameter.
    pub(super) fn filters(&self, known: &[&str]) -> Result<api_schema::Filters, ApiError> {
        let filters = api_schema::Filters::parse(self.text("filters")).map_err(|error| ApiError::invalid(error.0))?;
        filters.check(known).map_err(|error| ApiError::invalid(error.0))?;
        Ok(filters)
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (own(k), own(v))).collect()))
    }
}

fn own(text: Cow<'_, str>) -> String {
    text.into_owned()
}

/// A JSON body. `None` if the body is empty, which dockerd accepts for many requests.
#[derive(Debug)]
pub(super) struct Json(pub(super) Option<Value>);

impl Json {
    /// Reads the value as a `T`, naming the field that does not fit.
    pub(super) fn parse<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let cause = error.into_inner();
            ApiError::invalid(if path == "." {
                format!("invalid JSON: {cause}")
            } else {
                format!("invalid JSON: field {path}: {cause}")
            })
        })
    }

    /// Reads the body as a `T`; an empty body is refused.
    pub(super) fn required<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        match self.0 {
            Some(value) => Self::parse(value),
            None => Err(ApiError::invalid("invalid JSON: got EOF while reading request body")),
        }
    }

    /// Reads the body as a `T`; an empty body is the default.
    pub(super) fn or_default<T: DeserializeOwned + Default>(self) -> Result<T, ApiError> {
        self.0.map_or_else(|| Ok(T::default()), Self::parse)
    }
}

impl<S: Sync> FromRequest<S> for Json {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = read_body(request.into_body()).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(None));
        }
        check_content_type(content_type.as_ref())?;
        let mut stream = serde_json::Deserializer::from_slice(&body).into_iter::<Value>();
        let value = match stream.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(ApiError::invalid(format!("invalid JSON: {error}"))),
            None => return Ok(Self(None)),
        };
        let rest = &body[stream.byte_offset()..];
        if !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::invalid("unexpected content after JSON"));
        }
        Ok(Self((!value.is_null()).then_some(value)))
    }
}

async fn read_body(body: Body) -> Result<bytes::Bytes, ApiError> {
    match Limited::new(body, MAX_JSON_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(
            ErrorKind::TooLarge,
            format!("request body is larger than the limit of {MAX_JSON_BODY} bytes"),
        )),
        Err(error) => Err(ApiError::invalid(format!("reading the request body: {error}"))),
    }
}

fn check_content_type(value: Option<&header::HeaderValue>) -> Result<(), ApiError> {
    let Some(value) = value else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    if kind.is_empty() || kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::invalid(format!("unsupported Content-Type header ({text}): must be 'application/json'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query(form_urlencoded::parse(text.as_bytes()).map(|(k, v)| (own(k), own(v))).collect())
    }

    #[test]
    fn booleans_are_read_as_docker_reads_them() {
        for (text, expected) in [("x=1", true), ("x=True", true), ("x=yes", true), ("x=banana", true)] {
            assert_eq!(query(text).bool("x"), expected, "{text}");
        }
        for text in ["", "x", "x=", "x=0", "x=No", "x=FALSE", "x=none", "x=%20"] {
            assert!(!query(text).bool("x"), "{text}");
        }
        assert!(query("").bool_or("x", true));
        assert!(!query("x=0").bool_or("x", true));
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        assert_eq!(query("h=24").number::<u16>("h").unwrap(), Some(24));
        assert_eq!(query("h=").number::<u16>("h").unwrap(), None);
        let error = query("h=70000").number::<u16>("h").unwrap_err();
        assert!(error.message().contains("70000") && error.message().contains('h'), "{error}");
    }
}
