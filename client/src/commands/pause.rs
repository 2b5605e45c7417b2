//! `pinnace pause` and `pinnace unpause`.

use pinnace_client::Client;

use crate::failure::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    /// `verb` is "pause" or "unpause".
    pub(crate) async fn run(&self, client: &Client, verb: &str) -> Outcome {
        let act = async |name: &str| {
            client.pause_container(verb, name).await?;
            Ok(name.to_owned())
        };
        super::each(&self.containers, act).await
    }
}
