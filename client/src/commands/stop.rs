//! `pinnace stop` and `pinnace restart`.

use pinnace_client::Client;

use crate::failure::Outcome;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container (-1: for ever)
    #[arg(short, long, visible_alias = "time", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    /// `verb` is "stop" or "restart".
    pub(crate) async fn run(&self, client: &Client, verb: &str) -> Outcome {
        let act = async |name: &str| {
            client.stop_container(verb, name, self.timeout, self.signal.as_deref()).await?;
            Ok(name.to_owned())
        };
        super::each(&self.containers, act).await
    }
}
