//! `pinnace wait`.

use pinnace_client::{Client, Error, api::container::Condition};

use crate::failure::Outcome;

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let act = async |name: &str| {
            let exit = client.wait_container(name, Condition::NotRunning).await?.exit().await?;
            match exit.error {
                Some(error) if !error.message.is_empty() => Err(Error::Protocol(error.message)),
                _ => Ok(exit.status_code.to_string()),
            }
        };
        super::each(&self.containers, act).await
    }
}
