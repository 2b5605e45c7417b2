//! An image's configuration as it was stored: parsed to be looked at, never written back, because its bytes are its id.

use api_schema::container::null_default;
use api_schema::image::ImageConfig;
use serde::Deserialize;

use super::digest::Digest;

/// Most layers of one image; Docker's limit.
const MAX_LAYERS: usize = 125;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("invalid image configuration: {0}")]
    Json(#[from] serde_json::Error),
    #[error("invalid image configuration: not an object")]
    NotAnObject,
    #[error("cannot use image: its operating system is {0:?}, and this is linux")]
    OperatingSystem(String),
    #[error("cannot use image: unknown rootfs type {0:?}")]
    RootFs(String),
    #[error("invalid image configuration: time {0:?}")]
    Time(String),
    #[error("max depth exceeded")]
    TooManyLayers,
    #[error("invalid image configuration: history names more layers than there are")]
    History,
}

/// The fields of an image configuration that mean something to the daemon or to its clients.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    #[serde(deserialize_with = "null_default")]
    pub variant: String,
    #[serde(deserialize_with = "null_default")]
    pub os: String,
    #[serde(rename = "os.version", deserialize_with = "null_default")]
    pub os_version: String,
    /// RFC 3339, as it was written.
    pub created: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub author: String,
    #[serde(deserialize_with = "null_default")]
    pub comment: String,
    #[serde(deserialize_with = "null_default")]
    pub docker_version: String,
    #[serde(deserialize_with = "null_default")]
    pub config: ImageConfig,
    pub rootfs: RootFs,
    #[serde(deserialize_with = "null_default")]
    pub history: Vec<History>,
}

/// Which layers the image is made of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default")]
    diff_ids: Vec<DiffId>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct DiffId(Digest);

impl TryFrom<String> for DiffId {
    type Error = super::digest::DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Digest::parse(&text).map(Self)
    }
}

impl RootFs {
    /// Returns the digests of the uncompressed layers, the lowest first.
    pub fn diff_ids(&self) -> impl ExactSizeIterator<Item = Digest> + '_ {
        self.diff_ids.iter().map(|diff_id| diff_id.0)
    }
}

/// How a layer, or a change without one, came to be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct History {
    pub created: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub created_by: String,
    #[serde(deserialize_with = "null_default")]
    pub comment: String,
    #[serde(deserialize_with = "null_default")]
    pub empty_layer: bool,
}

impl Document {
    /// Parses and checks a configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        // serde would take a list for the fields in their order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(DocumentError::NotAnObject);
        }
        let document: Self = serde_json::from_slice(bytes)?;
        if !matches!(document.os.as_str(), "" | "linux") {
            return Err(DocumentError::OperatingSystem(document.os));
        }
        if !matches!(document.rootfs.kind.as_str(), "" | "layers") {
            return Err(DocumentError::RootFs(document.rootfs.kind));
        }
        let layers = document.rootfs.diff_ids.len();
        if layers > MAX_LAYERS {
            return Err(DocumentError::TooManyLayers);
        }
        // History is optional; one that exists must not describe layers that do not.
        if document.history.iter().filter(|step| !step.empty_layer).count() > layers {
            return Err(DocumentError::History);
        }
        let times = document.history.iter().map(|step| &step.created).chain([&document.created]);
        for time in times.flatten() {
            time.parse::<jiff::Timestamp>().map_err(|_not_rfc3339| DocumentError::Time(time.clone()))?;
        }
        Ok(document)
    }

    /// Returns when the image was made, in seconds since the epoch; zero if it does not say.
    pub fn created_seconds(&self) -> i64 {
        seconds(self.created.as_deref())
    }
}

/// Returns seconds since the epoch of a time that was checked; zero for none.
pub(super) fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, String> {
        Document::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn nulls_and_missing_fields_are_empty() {
        let document =
            parse(r#"{"os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert_eq!(document.config, ImageConfig::default());
        assert_eq!(document.created_seconds(), 0);
        let dated = parse(r#"{"created":"2024-01-02T03:04:05.6+01:00"}"#).unwrap();
        assert_eq!(dated.created_seconds(), 1_704_161_045);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let many =
            format!(r#"{{"rootfs":{{"diff_ids":[{}]}}}}"#, vec![format!("\"{}\"", Digest::of(b"")); 126].join(","));
        for (text, part) in [
            (r#"{"os":"windows"}"#, "windows"),
            (r#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#, "invalid checksum digest length"),
            (r#"{"rootfs":{"type":"other"}}"#, "other"),
            (r#"{"history":[{}]}"#, "history"),
            (r#"{"created":"yesterday"}"#, "yesterday"),
            (r#"{"config":{"Env":"no list"}}"#, "invalid type"),
            ("[]", "not an object"),
            ("", "not an object"),
            ("{", "EOF"),
            (&many, "max depth exceeded"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
