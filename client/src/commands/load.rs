//! `pinnace load`.

use std::{fs::File, io, path::PathBuf};

use pinnace_client::{Client, api::image::Progress, http::JsonLines};

use crate::{
    failure::{Failure, Outcome},
    input, output, terminal,
};

/// Load images from a tar archive or stdin
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from tar archive file, instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let lines = match &self.input {
            Some(path) => client.load_images(self.quiet, input::body(open(path)?)?).await?,
            None if terminal::stdin_is_terminal() => {
                return Err(Failure::new("requested load from stdin, but stdin is empty"));
            }
            None => client.load_images(self.quiet, input::body(io::stdin())?).await?,
        };
        report(lines, |progress| progress.stream.unwrap_or_default()).await
    }
}

/// Opens a file to be uploaded.
pub(super) fn open(path: &std::path::Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::new(format!("open {}: {error}", path.display())))
}

/// Prints what `show` makes of each line of progress; an error in the stream ends the verb.
pub(super) async fn report(mut lines: JsonLines, show: impl Fn(Progress) -> String) -> Outcome {
    while let Some(progress) = lines.next::<Progress>().await? {
        match progress.error {
            Some(error) => return Err(Failure::new(error)),
            None => output::raw(&show(progress))?,
        }
    }
    Ok(0)
}
