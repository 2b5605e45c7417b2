//! `pinnace logs`.

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use pinnace_client::{
    Client, Error,
    api::container,
    stdcopy::{Decoder, Output},
};

use crate::{
    failure::{Failure, Outcome},
    output::Sink,
    time::api_time,
};

/// Fetch the logs of a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Show logs since a time (as in "2026-01-02T13:23:37Z") or a duration ago (as in "42m")
    #[arg(long)]
    since: Option<String>,
    /// Show logs before a time or a duration ago
    #[arg(long)]
    until: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", allow_hyphen_values = true)]
    tail: String,
    container: String,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let logs = container::Logs {
            follow: self.follow,
            timestamps: self.timestamps,
            details: self.details,
            since: self.since.as_deref().map(api_time).transpose()?,
            until: self.until.as_deref().map(api_time).transpose()?,
            tail: Some(self.tail.clone()),
        };
        // Only the container's configuration says whether the stream is multiplexed.
        let container = client.container(&self.container).await?;
        let mut body = client.container_logs(&container.id, &logs).await?;
        let mut decoder = (!container.config.tty).then(Decoder::default);
        let mut sink = Sink::open()?;
        let mut result = Ok(());
        // What has arrived already is printed in one write, up to the size of a batch.
        while let Some(first) = body.frame().await {
            let mut next = Some(first);
            while let (Ok(()), Some(frame)) = (&result, next) {
                result = match frame {
                    Ok(frame) => take(&mut decoder, &mut sink, frame.data_ref()),
                    Err(error) => Err(Error::Broken(error).into()),
                };
                next = if sink.is_full() { None } else { body.frame().now_or_never().flatten() };
            }
            if !sink.flush().await || result.is_err() {
                break;
            }
        }
        sink.finish().await?;
        result.map(|()| 0)
    }
}

fn take(decoder: &mut Option<Decoder>, sink: &mut Sink, data: Option<&bytes::Bytes>) -> Result<(), Failure> {
    match (decoder, data) {
        (_, None) => Ok(()),
        (None, Some(data)) => {
            sink.push(Output::Stdout, data);
            Ok(())
        }
        (Some(decoder), Some(data)) => decoder
            .feed(data, |output, bytes| sink.push(output, bytes))
            .map_err(|error| Failure::new(error.to_string())),
    }
}
