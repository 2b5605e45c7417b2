//! `pinnace inspect`.

use clap::ValueEnum;
use hyper::StatusCode;
use pinnace_client::{Client, Error};
use serde_json::Value;

use crate::{
    failure::{Failure, Outcome},
    output, template,
};

/// What a name is to be looked up as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Container,
    Image,
}

/// Return low-level information on containers and images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// "json", or a template such as "{{.State.Pid}}"
    #[arg(short, long)]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long, value_enum)]
    r#type: Option<Kind>,
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

impl Args {
    /// Looks up `only` one kind, or what `--type` says, or both in turn.
    pub(crate) async fn run(&self, client: &Client, only: Option<Kind>) -> Outcome {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.find(client, name, only.or(self.r#type)).await? {
                Ok(value) => found.push(value),
                Err(sentence) => missing.push(sentence),
            }
        }
        match self.format.as_deref() {
            None => output::json(&found)?,
            Some(format) => {
                for value in &found {
                    let text = if format == "json" { value.to_string() } else { template::render(format, value)? };
                    output::line(&text)?;
                }
            }
        }
        for sentence in &missing {
            output::complain(sentence);
        }
        if missing.is_empty() { Ok(0) } else { Err(Failure::Silent(1)) }
    }

    /// Returns the object, or the sentence that it is not there.
    async fn find(&self, client: &Client, name: &str, kind: Option<Kind>) -> Result<Result<Value, String>, Error> {
        let mut sentence = format!("Error: No such object: {name}");
        for candidate in [Kind::Container, Kind::Image] {
            if kind.is_some_and(|kind| kind != candidate) {
                continue;
            }
            let result = match candidate {
                Kind::Container => client.inspect_container(name, self.size).await,
                Kind::Image => client.inspect_image(name).await,
            };
            match result {
                Ok(value) => return Ok(Ok(value)),
                Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
                    if kind.is_some() {
                        sentence = error.to_string();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Err(sentence))
    }
}
