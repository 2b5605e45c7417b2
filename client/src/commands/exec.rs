//! `pinnace exec`.

use api_schema::exec::ExecCreateBody;
use pinnace_client::Client;

use super::options;
use crate::{
    failure::{Failure, Outcome},
    session::{Session, Signals, Stdio},
    terminal,
};

/// Execute a command in a running container
#[derive(Debug, clap::Args)]
#[command(override_usage = "pinnace exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct Args {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<std::path::PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory inside the container
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "DIR")]
    workdir: String,
    #[arg(required = true, trailing_var_arg = true, num_args = 2.., value_names = ["CONTAINER", "COMMAND"])]
    argv: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let (container, cmd) = self.argv.split_first().unwrap_or((const { &String::new() }, &[]));
        let stdio = Stdio { stdin: self.interactive, tty: self.tty };
        if stdio.tty && stdio.stdin && !self.detach && !terminal::stdin_is_terminal() {
            return Err(Failure::new(super::NOT_A_TTY));
        }
        let size = if self.tty { terminal::size() } else { None };
        let body = ExecCreateBody {
            cmd: Some(cmd.to_vec()),
            console_size: size.map(|size| [size.height, size.width].map(u32::from)),
            env: options::environment(&self.env_file, &self.env)?,
            user: self.user.clone(),
            working_dir: self.workdir.clone(),
            tty: self.tty,
            privileged: self.privileged,
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach_keys: self.detach_keys.clone().unwrap_or_default(),
        };
        let id = client.create_exec(container, &body).await?;
        if self.detach {
            client.start_exec_detached(&id).await?;
            return Ok(0);
        }
        let stream = client.start_exec(&id, size).await.map_err(|error| match Failure::from(error).started() {
            // An exec that the daemon refuses is an ordinary failure; only one that cannot be run says why by code.
            failure @ Failure::Because { code: 126 | 127, .. } => failure,
            failure => failure.with_code(1),
        })?;
        let session = Session::prepare(stream, stdio, Signals::Ours).await?;
        session.run().await?.outcome(1)
    }
}
