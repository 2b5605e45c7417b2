//! The messages that load, import and pull write while they work: JSON objects, one after the other.

use serde::{Deserialize, Serialize};

/// One message; a failure after the first byte of the answer is one as well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The bar that clients before 1.24 printed; newer ones draw their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// What the message is about, such as the first twelve digits of a layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far something is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Why it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    pub message: String,
}

impl Message {
    /// A line of text; the line's end is part of it.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A word on what is being done.
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: Some(text.into()), ..Self::default() }
    }

    /// The failure that ends the stream.
    pub fn error(text: impl Into<String>) -> Self {
        let message = text.into();
        Self { error: Some(message.clone()), error_detail: Some(ErrorDetail { message }), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_docker_writes_them() {
        let json = |message: &Message| serde_json::to_string(message).unwrap();
        assert_eq!(json(&Message::stream("Loaded image: a:1\n")), r#"{"stream":"Loaded image: a:1\n"}"#);
        assert_eq!(json(&Message::error("no")), r#"{"errorDetail":{"message":"no"},"error":"no"}"#);
        let progress = Message {
            status: Some("Loading layer".to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(1), total: Some(2) }),
            id: Some("abc".to_owned()),
            ..Message::default()
        };
        assert_eq!(
            json(&progress),
            r#"{"status":"Loading layer","progressDetail":{"current":1,"total":2},"id":"abc"}"#
        );
    }
}
