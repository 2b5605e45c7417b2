//! `pinnace attach`.

use pinnace_client::{Client, api::container::Attach};

use crate::{
    failure::{Failure, Outcome},
    session::{Session, Signals, Stdio},
    terminal,
};

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = true,
        action = clap::ArgAction::Set,
    )]
    sig_proxy: bool,
    container: String,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let container = client.container(&self.container).await?;
        let refusal = match &container.state {
            state if !state.running => Some("You cannot attach to a stopped container, start it first"),
            state if state.paused => Some("You cannot attach to a paused container, unpause it first"),
            state if state.restarting => Some("You cannot attach to a restarting container, wait until it is running"),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(Failure::new(refusal));
        }
        let stdio = Stdio { stdin: container.config.open_stdin && !self.no_stdin, tty: container.config.tty };
        if stdio.tty && stdio.stdin && !terminal::stdin_is_terminal() {
            return Err(Failure::new(super::NOT_A_TTY));
        }
        let attach = Attach {
            stdin: stdio.stdin,
            stdout: true,
            stderr: true,
            logs: false,
            detach_keys: self.detach_keys.clone(),
        };
        let stream = client.attach_container(&container.id, &attach).await?;
        let signals = if self.sig_proxy { Signals::Proxy { client, container: &container.id } } else { Signals::Ours };
        let mut session = Session::prepare(stream, stdio, signals).await?;
        session.redraw().await.map_err(|error| Failure::new(error.to_string()))?;
        session.run().await?.outcome(1)
    }
}
