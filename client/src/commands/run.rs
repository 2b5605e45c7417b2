//! `pinnace run`: create, attach, wait, start, in this order, so that neither output nor the exit is missed.

use pinnace_client::{
    Client,
    api::container::{Attach, Condition, Waiting},
};
use tokio::time::timeout;

use super::{create, options::Attached};
use crate::{
    failure::{DAEMON_FAILED, Failure, Outcome},
    output,
    session::{Session, Signals, Stdio},
    terminal,
};

/// Create and run a new container from an image
#[derive(Debug, clap::Args)]
#[command(override_usage = "pinnace run [OPTIONS] IMAGE [COMMAND] [ARG...]", disable_help_flag = true)]
pub(crate) struct Args {
    #[command(flatten)]
    create: create::Args,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
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
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let options = &self.create.options;
        let mut attached = options.attached()?;
        if self.detach {
            if options.names_streams() {
                return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
            }
            attached = Attached::default();
        }
        if attached.stdin && options.tty && !terminal::stdin_is_terminal() {
            return Err(Failure::new(super::NOT_A_TTY));
        }
        let id = self.create.create(client, attached).await.map_err(Failure::started)?;
        if attached == Attached::default() {
            let started = client.start_container(&id, None).await;
            // Also when it failed to start: it is there, and somebody has to remove it.
            output::line(&id)?;
            return started.map(|()| 0).map_err(|error| Failure::from(error).started());
        }
        self.attached(client, &id, attached).await
    }

    /// Runs the container with our streams. What `--rm` was to remove is removed also if it never gets to its start.
    async fn attached(&self, client: &Client, id: &str, attached: Attached) -> Outcome {
        let (mut session, waiting) = match self.connect(client, id, attached).await {
            Ok(connected) => connected,
            Err(failure) => {
                if self.create.options.rm
                    && let Err(error) = client.remove_container(id, true, true).await
                {
                    output::complain(&error.to_string());
                }
                return Err(failure);
            }
        };
        let rm = self.create.options.rm;
        if let Err(error) = session.starting(client.start_container(id, None)).await? {
            if rm {
                // The daemon removes what never ran; its name is free again when we return.
                drop(timeout(super::LAG, waiting.exit()).await);
            }
            return Err(Failure::from(error).started());
        }
        if !attached.stdout && !attached.stderr {
            output::line(id)?;
        }
        super::settle(session.run().await?, waiting, rm, DAEMON_FAILED).await
    }

    /// Attaches and begins to wait.
    async fn connect<'a>(
        &self,
        client: &'a Client,
        id: &'a str,
        attached: Attached,
    ) -> Result<(Session<'a>, Waiting), Failure> {
        let attach = Attach {
            stdin: attached.stdin,
            stdout: attached.stdout,
            stderr: attached.stderr,
            logs: false,
            detach_keys: self.detach_keys.clone(),
        };
        let failed = |error: pinnace_client::Error| Failure::from(error).with_code(DAEMON_FAILED);
        let stream = client.attach_container(id, &attach).await.map_err(failed)?;
        let stdio = Stdio { stdin: attached.stdin, tty: self.create.options.tty };
        let signals = if self.sig_proxy { Signals::Proxy { client, container: id } } else { Signals::Ours };
        let session = Session::prepare(stream, stdio, signals).await?;
        let condition = if self.create.options.rm { Condition::Removed } else { Condition::NextExit };
        let waiting = client.wait_container(id, condition).await.map_err(failed)?;
        Ok((session, waiting))
    }
}
