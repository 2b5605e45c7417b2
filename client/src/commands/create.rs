//! `pinnace create`.

use std::path::PathBuf;

use pinnace_client::Client;

use super::options::{self, Options};
use crate::{
    failure::{Failure, Outcome},
    output,
};

/// Create a new container
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(override_usage = "pinnace create [OPTIONS] IMAGE [COMMAND] [ARG...]", disable_help_flag = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) options: Options,
    /// Assign a name to the container
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let attached = self.options.attached()?;
        output::line(&self.create(client, attached).await?)?;
        Ok(0)
    }

    /// Creates the container and returns its id; what the daemon warns of is on stderr.
    pub(super) async fn create(&self, client: &Client, attached: options::Attached) -> Result<String, Failure> {
        let body = self.options.body(attached)?;
        // Made first: with the file in the way there must be no container.
        let cidfile = match &self.cidfile {
            None => None,
            Some(path) => Some(std::fs::File::create_new(path).map_err(|error| {
                Failure::new(format!("failed to create the container ID file {}: {error}", path.display()))
            })?),
        };
        let created = match client.create_container(self.name.as_deref(), &body).await {
            Ok(created) => created,
            Err(error) => {
                if let Some(path) = &self.cidfile {
                    drop(std::fs::remove_file(path));
                }
                return Err(error.into());
            }
        };
        for warning in created.warnings {
            output::complain(&format!("WARNING: {warning}"));
        }
        if let Some(mut file) = cidfile {
            std::io::Write::write_all(&mut file, created.id.as_bytes())?;
        }
        Ok(created.id)
    }
}
