//! `pinnace tag`, and how a name falls into repository and tag.

use pinnace_client::Client;

use crate::failure::{Failure, Outcome};

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        if self.target.contains('@') {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        let (repository, tag) = split(&self.target);
        client.tag_image(&self.source, repository, tag).await?;
        Ok(0)
    }
}

/// Splits a name at its tag; a colon before the last slash belongs to a port.
pub(super) fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(split("localhost:5000/a/b"), ("localhost:5000/a/b", ""));
        assert_eq!(split("localhost:5000/a/b:1.2"), ("localhost:5000/a/b", "1.2"));
        assert_eq!(split("a"), ("a", ""));
    }
}
