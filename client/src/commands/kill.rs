//! `pinnace kill`.

use pinnace_client::Client;

use crate::failure::Outcome;

/// Kill one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let act = async |name: &str| {
            client.kill_container(name, self.signal.as_deref()).await?;
            Ok(name.to_owned())
        };
        super::each(&self.containers, act).await
    }
}
