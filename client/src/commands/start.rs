//! `pinnace start`.

use pinnace_client::{
    Client,
    api::container::{Attach, Condition},
};

use crate::{
    failure::{Failure, Outcome},
    session::{Session, Signals, Stdio},
    terminal,
};

/// Start one or more stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Proxy received signals to the process
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = true,
        action = clap::ArgAction::Set,
    )]
    sig_proxy: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        match self.containers.as_slice() {
            [one] if self.attach || self.interactive => self.attached(client, one).await,
            _ if self.attach || self.interactive => {
                Err(Failure::new("you cannot start and attach multiple containers at once"))
            }
            several => {
                let act = async |name: &str| {
                    client.start_container(name, self.detach_keys.as_deref()).await?;
                    Ok(name.to_owned())
                };
                super::each(several, act).await
            }
        }
    }

    async fn attached(&self, client: &Client, name: &str) -> Outcome {
        let container = client.container(name).await?;
        let stdio = Stdio { stdin: self.interactive && container.config.open_stdin, tty: container.config.tty };
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
        let waiting = client.wait_container(&container.id, Condition::NextExit).await?;
        session.starting(client.start_container(&container.id, None)).await??;
        let ending = session.run().await?;
        super::settle(ending, waiting, false, 1).await
    }
}
