//! `pinnace events`.

use api_schema::event::EventMessage;
use jiff::{Timestamp, tz::TimeZone};
use pinnace_client::{Client, api::container::filters};
use serde_json::Value;

use crate::{
    failure::{Failure, Outcome},
    output, template,
    time::api_time,
};

/// Get real time events from the daemon
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all events created since timestamp
    #[arg(long)]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    until: Option<String>,
    /// Filter output, as in "event=die"
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "json", or a template
    #[arg(long)]
    format: Option<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let since = self.since.as_deref().map(api_time).transpose()?;
        let until = self.until.as_deref().map(api_time).transpose()?;
        let filters = filters(&self.filter);
        let mut events = client.events(since.as_deref(), until.as_deref(), filters.as_deref()).await?;
        match self.format.as_deref() {
            None => {
                while let Some(event) = events.next::<EventMessage>().await? {
                    output::line(&sentence(&event)?)?;
                }
            }
            Some(format) => {
                while let Some(event) = events.next::<Value>().await? {
                    let line = if format == "json" { event.to_string() } else { template::render(format, &event)? };
                    output::line(&line)?;
                }
            }
        }
        Ok(0)
    }
}

/// Puts an event on a line: time, type, action, id, attributes.
fn sentence(event: &EventMessage) -> Result<String, Failure> {
    let time = Timestamp::from_nanosecond(event.time_nano.into())
        .map_err(|error| Failure::new(format!("the daemon sent an impossible time: {error}")))?;
    let time =
        time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string().replace("+00:00", "Z");
    let mut line = format!("{time} {} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<_> = event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line = format!("{line} ({})", attributes.join(", "));
    }
    Ok(line)
}
