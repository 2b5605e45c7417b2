//! `pinnace`: the command line of the Pinnace daemon.
//!
//! It parses, calls and prints; what is allowed and what it means is the daemon's to decide. Verbs, flags, tables and
//! exit codes are Docker's, so that hands and scripts need not learn anything.

mod commands;
mod failure;
mod input;
mod listing;
mod output;
mod session;
mod template;
mod terminal;
mod time;

use std::{env, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};
use pinnace_client::{Client, Host};

use crate::{
    commands::{
        attach, create, events, exec, history, images, import, info,
        inspect::{self, Kind},
        kill, load, logs, pause, ps, rename, rm, rmi, run, start, stop, tag, top, version, wait,
    },
    failure::{DAEMON_FAILED, Failure, Outcome},
};

/// Runs containers with the Pinnace daemon.
#[derive(Debug, Parser)]
#[command(name = "pinnace", version, infer_long_args = false, disable_help_subcommand = true, max_term_width = 120)]
struct Cli {
    /// Daemon socket to connect to, as in "unix:///run/pinnace/pinnace.sock" [env: PINNACE_HOST, DOCKER_HOST]
    #[arg(short = 'H', long)]
    host: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Container(ContainerCommand),
    Images(images::Args),
    Load(load::Args),
    Import(import::Args),
    Tag(tag::Args),
    Rmi(rmi::Args),
    History(history::Args),
    Inspect(inspect::Args),
    #[command(flatten)]
    System(SystemCommand),
    Version(version::Args),
    /// Manage containers
    #[command(subcommand, name = "container")]
    Containers(ContainerGroup),
    /// Manage images
    #[command(subcommand)]
    Image(ImageGroup),
    /// Manage the daemon
    #[command(subcommand, name = "system")]
    Systems(SystemCommand),
}

/// What is done to containers, with and without `container` in front.
#[derive(Debug, Subcommand)]
enum ContainerCommand {
    Run(Box<run::Args>),
    Create(Box<create::Args>),
    Start(start::Args),
    /// Stop one or more running containers
    Stop(stop::Args),
    /// Restart one or more containers
    Restart(stop::Args),
    Kill(kill::Args),
    /// Pause all processes within one or more containers
    Pause(pause::Args),
    /// Unpause all processes within one or more containers
    Unpause(pause::Args),
    Rm(rm::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Exec(exec::Args),
    Top(top::Args),
    Wait(wait::Args),
    Rename(rename::Args),
}

#[derive(Debug, Subcommand)]
enum ContainerGroup {
    #[command(alias = "list")]
    Ls(ps::Args),
    Inspect(inspect::Args),
    #[command(flatten)]
    Verb(ContainerCommand),
}

#[derive(Debug, Subcommand)]
enum ImageGroup {
    #[command(alias = "list")]
    Ls(images::Args),
    Load(load::Args),
    Import(import::Args),
    Tag(tag::Args),
    #[command(alias = "remove")]
    Rm(rmi::Args),
    History(history::Args),
    Inspect(inspect::Args),
}

#[derive(Debug, Subcommand)]
enum SystemCommand {
    Info(info::Args),
    Events(events::Args),
}

impl ContainerCommand {
    async fn run(&self, client: &Client) -> Outcome {
        match self {
            Self::Run(args) => args.run(client).await,
            Self::Create(args) => args.run(client).await,
            Self::Start(args) => args.run(client).await,
            Self::Stop(args) => args.run(client, "stop").await,
            Self::Restart(args) => args.run(client, "restart").await,
            Self::Kill(args) => args.run(client).await,
            Self::Pause(args) => args.run(client, "pause").await,
            Self::Unpause(args) => args.run(client, "unpause").await,
            Self::Rm(args) => args.run(client).await,
            Self::Ps(args) => args.run(client).await,
            Self::Logs(args) => args.run(client).await,
            Self::Attach(args) => args.run(client).await,
            Self::Exec(args) => args.run(client).await,
            Self::Top(args) => args.run(client).await,
            Self::Wait(args) => args.run(client).await,
            Self::Rename(args) => args.run(client).await,
        }
    }
}

impl SystemCommand {
    async fn run(&self, client: &Client) -> Outcome {
        match self {
            Self::Info(args) => args.run(client).await,
            Self::Events(args) => args.run(client).await,
        }
    }
}

impl Command {
    async fn run(&self, client: &Client) -> Outcome {
        match self {
            Self::Container(verb) | Self::Containers(ContainerGroup::Verb(verb)) => verb.run(client).await,
            Self::Containers(ContainerGroup::Ls(args)) => args.run(client).await,
            Self::Containers(ContainerGroup::Inspect(args)) => args.run(client, Some(Kind::Container)).await,
            Self::Images(args) | Self::Image(ImageGroup::Ls(args)) => args.run(client).await,
            Self::Load(args) | Self::Image(ImageGroup::Load(args)) => args.run(client).await,
            Self::Import(args) | Self::Image(ImageGroup::Import(args)) => args.run(client).await,
            Self::Tag(args) | Self::Image(ImageGroup::Tag(args)) => args.run(client).await,
            Self::Rmi(args) | Self::Image(ImageGroup::Rm(args)) => args.run(client).await,
            Self::History(args) | Self::Image(ImageGroup::History(args)) => args.run(client).await,
            Self::Inspect(args) => args.run(client, None).await,
            Self::Image(ImageGroup::Inspect(args)) => args.run(client, Some(Kind::Image)).await,
            Self::System(verb) | Self::Systems(verb) => verb.run(client).await,
            Self::Version(args) => args.run(client).await,
        }
    }

    /// Says whether the exit code is a program's: then one that is about us has to stand out.
    fn exits_like_a_container(&self) -> bool {
        matches!(
            self,
            Self::Container(ContainerCommand::Run(_))
                | Self::Containers(ContainerGroup::Verb(ContainerCommand::Run(_)))
        )
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let code = match run(&cli) {
        Ok(code) | Err(Failure::Silent(code)) => code,
        Err(Failure::Because { code, text }) => {
            output::complain(&text);
            code
        }
    };
    ExitCode::from(code)
}

fn run(cli: &Cli) -> Outcome {
    // What fails before the container does is told apart from what its program says.
    let code = if cli.command.exits_like_a_container() { DAEMON_FAILED } else { 1 };
    let variables = ["PINNACE_HOST", "DOCKER_HOST"].map(env::var_os);
    let host = Host::choose(cli.host.as_deref(), variables[0].as_deref(), variables[1].as_deref())
        .map_err(|error| Failure::new(error.to_string()).with_code(code))?;
    // One thread is enough for one conversation, and costs nothing to start.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cli.command.run(&Client::new(host)))
}

/// Prints help, or what is wrong with the command line. Docker exits with 125 for a flag it does not know, with 1 for
/// what is missing.
fn usage(error: &clap::Error) -> ExitCode {
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 0,
        ErrorKind::UnknownArgument | ErrorKind::InvalidValue | ErrorKind::ValueValidation => DAEMON_FAILED,
        _ => 1,
    };
    match code {
        0 if output::raw(&error.render().to_string()).is_ok() => {}
        _ => output::complain(error.render().to_string().trim_end()),
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_tree_of_verbs_is_sound() {
        Cli::command().debug_assert();
    }
}
