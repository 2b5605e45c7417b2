//! `pinnace import`.

use std::{io, path::Path};

use futures_util::stream;
use pinnace_client::{Client, api::image::Import};

use super::load::{open, report};
use crate::{failure::Outcome, input};

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, default_value = "")]
    message: String,
    #[arg(value_name = "FILE|URL|-")]
    source: String,
    #[arg(value_name = "REPOSITORY[:TAG]", default_value = "")]
    repository: String,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let mut import = Import {
            url: None,
            repository: self.repository.clone(),
            message: self.message.clone(),
            changes: self.change.clone(),
        };
        let lines = match self.source.as_str() {
            "-" => client.import_image(&import, input::body(io::stdin())?).await?,
            url if url.starts_with("http://") || url.starts_with("https://") => {
                import.url = Some(url.to_owned());
                client.import_image(&import, stream::empty()).await?
            }
            path => client.import_image(&import, input::body(open(Path::new(path))?)?).await?,
        };
        report(lines, |progress| progress.status.map(|status| status + "\n").unwrap_or_default()).await
    }
}
