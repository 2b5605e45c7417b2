//! The version in a path, and the headers that every answer carries.

use api_schema::{ApiVersion, version};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{HeaderName, HeaderValue, SERVER};
use http::{Request, Uri};

use crate::http::ApiError;

/// Takes `/v1.47` off the path and remembers it as the request's [`ApiVersion`].
pub(super) fn route(request: &mut Request<Body>) -> Result<(), ApiError> {
    let (wanted, rest) = match split(request.uri().path()) {
        Some((wanted, rest)) => (parse(wanted)?, Some(rest.to_owned())),
        None => (version::CURRENT, None),
    };
    if let Some(path) = rest {
        let target = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        *request.uri_mut() = target.parse::<Uri>().map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    request.extensions_mut().insert(wanted);
    Ok(())
}

/// Splits `/v1.47/rest` into `1.47` and `/rest`.
fn split(path: &str) -> Option<(&str, &str)> {
    let after = path.strip_prefix("/v")?;
    let end = after.find('/')?;
    let (wanted, rest) = after.split_at(end);
    (!wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')).then_some((wanted, rest))
}

fn parse(text: &str) -> Result<ApiVersion, ApiError> {
    let wanted = ApiVersion::parse(text).ok_or_else(|| ApiError::invalid(format!("invalid API version: {text}")))?;
    if wanted < version::MIN {
        return Err(ApiError::invalid(format!(
            "client version {wanted} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
            version::MIN
        )));
    }
    if wanted > version::CURRENT {
        return Err(ApiError::invalid(format!(
            "client version {wanted} is too new. Maximum supported API version is {}",
            version::CURRENT
        )));
    }
    Ok(wanted)
}

/// Adds the headers that dockerd puts on every answer.
pub(super) fn stamp(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux) Pinnace")));
    headers.insert(HeaderName::from_static("api-version"), HeaderValue::from_static("1.51"));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    headers.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false"));
}

/// Answers a request whose version cannot be served.
pub(super) fn refuse(error: ApiError) -> Response {
    let mut response = error.into_response();
    stamp(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(uri: &str) -> Result<(String, ApiVersion), String> {
        let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        route(&mut request).map_err(|error| error.message().to_owned())?;
        let version = *request.extensions().get::<ApiVersion>().unwrap();
        Ok((request.uri().to_string(), version))
    }

    #[test]
    fn a_version_is_taken_off_the_path_and_the_query_stays() {
        assert_eq!(path_of("/v1.24/info?a=b"), Ok(("/info?a=b".to_owned(), ApiVersion::v1(24))));
        assert_eq!(path_of("/info"), Ok(("/info".to_owned(), version::CURRENT)));
        assert_eq!(path_of("/version"), Ok(("/version".to_owned(), version::CURRENT)));
        assert_eq!(path_of("/volumes/v1.2"), Ok(("/volumes/v1.2".to_owned(), version::CURRENT)));
    }

    #[test]
    fn versions_that_are_not_served_are_refused_in_dockers_words() {
        assert_eq!(
            path_of("/v1.12/info").unwrap_err(),
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        assert_eq!(
            path_of("/v9.9/info").unwrap_err(),
            "client version 9.9 is too new. Maximum supported API version is 1.51"
        );
    }

    #[test]
    fn the_announced_version_is_the_current_one() {
        let mut response = Response::new(Body::empty());
        stamp(&mut response);
        assert_eq!(response.headers()["api-version"], version::CURRENT.to_string());
    }
}
