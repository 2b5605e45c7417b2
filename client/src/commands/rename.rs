//! `pinnace rename`.

use pinnace_client::Client;

use crate::failure::Outcome;

/// Rename a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    container: String,
    new_name: String,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        client.rename_container(&self.container, &self.new_name).await?;
        Ok(0)
    }
}
