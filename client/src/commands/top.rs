//! `pinnace top`.

use pinnace_client::Client;

use crate::{failure::Outcome, output};

/// The least width of a column here, as Docker has it.
const MINIMUM: usize = 20;

/// Display the running processes of a container
#[derive(Debug, clap::Args)]
#[command(override_usage = "pinnace top CONTAINER [ps OPTIONS]")]
pub(crate) struct Args {
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_name = "CONTAINER")]
    argv: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let (container, ps_args) = self.argv.split_first().unwrap_or((const { &String::new() }, &[]));
        let ps_args = ps_args.join(" ");
        let top = client.top_container(container, (!ps_args.is_empty()).then_some(&ps_args)).await?;
        let rows: Vec<_> = std::iter::once(top.titles).chain(top.processes).collect();
        output::raw(&output::columns(&rows, MINIMUM))?;
        Ok(0)
    }
}
