//! The verbs, one file each (those that differ in a word share one), and what several of them need.

pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod options;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod rename;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod top;
pub(crate) mod version;
pub(crate) mod wait;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use pinnace_client::{Error, api::container::Waiting, stream::Status};
use tokio::time::timeout;

use crate::{
    failure::{Failure, Outcome, exit_code},
    output,
    session::Ending,
};

/// How many containers one command line acts on at once; Docker's client does as many.
const AT_ONCE: usize = 50;

/// Does `act` to each of `names` at once; prints, in their order, the answer of each success and the reason of each
/// failure.
async fn each<'a>(names: &'a [String], act: impl AsyncFn(&'a str) -> Result<String, Error>) -> Outcome {
    let mut results = stream::iter(names.iter().map(|name| act(name))).buffered(AT_ONCE);
    let mut failed = false;
    while let Some(result) = results.next().await {
        match result {
            Ok(answer) if answer.is_empty() => {}
            Ok(answer) => output::line(&answer)?,
            Err(error) => {
                failed = true;
                output::complain(&error.to_string());
            }
        }
    }
    if failed { Err(Failure::Silent(1)) } else { Ok(0) }
}

/// What is said when a program's terminal has none of ours to be connected to; Docker's words.
const NOT_A_TTY: &str = "the input device is not a TTY";

/// How long the answer to wait may lag behind the end of the stream: both come from one exit. Generous for a loaded
/// machine.
const LAG: Duration = Duration::from_secs(10);

/// Turns the end of a container's stream into an exit code. With `removed` the container is gone when this returns; a
/// stream that broke leaves the answer to `waiting`, and exits with `lost` if that broke too.
async fn settle(ending: Ending, waiting: Waiting, removed: bool, lost: u8) -> Outcome {
    match ending {
        Ending::Finished(Status::Exited(_)) if removed => {
            // The stream has already said how it ended; this only waits until the name is free again.
            drop(timeout(LAG, waiting.exit()).await);
            ending.outcome(lost)
        }
        Ending::Lost(error) => match timeout(LAG, waiting.exit()).await {
            Ok(Ok(exit)) => {
                output::complain(&format!("{error}; output may be missing"));
                Ok(exit_code(exit.status_code))
            }
            Ok(Err(_)) | Err(_) => Ending::Lost(error).outcome(lost),
        },
        ending => ending.outcome(lost),
    }
}
