//! `pinnace rm`.

use hyper::StatusCode;
use pinnace_client::Client;

use crate::{failure::Outcome, output};

/// Remove one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let act = async |name: &str| match client.remove_container(name, self.force, self.volumes).await {
            // What was to be gone at any price is gone: worth a word, not a failure.
            Err(error) if self.force && error.status() == Some(StatusCode::NOT_FOUND) => {
                output::complain(&error.to_string());
                Ok(String::new())
            }
            result => result.map(|()| name.to_owned()),
        };
        super::each(&self.containers, act).await
    }
}
