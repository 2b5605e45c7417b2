//! `pinnace version`.

use pinnace_client::Client;
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Outcome},
    output, template,
};

/// Show the Pinnace version information
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// "json", or a template
    #[arg(short, long)]
    format: Option<String>,
}

impl Args {
    /// Shows our version in any case, and the daemon's if it answers.
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let ours = json!({
            "Platform": {"Name": "Pinnace"},
            "Version": env!("CARGO_PKG_VERSION"),
            "Os": std::env::consts::OS,
            "Arch": std::env::consts::ARCH,
            "Host": client.host().to_string(),
        });
        let theirs = client.version().await;
        let both = json!({ "Client": ours, "Server": theirs.as_ref().ok() });
        match self.format.as_deref() {
            Some("json") => output::line(&both.to_string())?,
            Some(format) => output::line(&template::render(format, &both)?)?,
            None => output::raw(&page(&both))?,
        }
        theirs.map(|_| 0).map_err(Failure::from)
    }
}

fn page(both: &Value) -> String {
    let lines = [("Version", "Version"), ("API version", "ApiVersion"), ("Minimum API version", "MinAPIVersion")];
    let more = [
        ("Git commit", "GitCommit"),
        ("Built", "BuildTime"),
        ("OS", "Os"),
        ("Arch", "Arch"),
        ("Kernel", "KernelVersion"),
        ("Host", "Host"),
    ];
    let mut text = String::new();
    for side in ["Client", "Server"].into_iter().filter(|side| !both[*side].is_null()) {
        let platform = both[side].pointer("/Platform/Name").and_then(Value::as_str).unwrap_or_default();
        text.push_str(format!("{side}: {platform}").trim_end());
        text.push('\n');
        for (label, field) in lines.into_iter().chain(more) {
            if let Some(value) = both[side][field].as_str().filter(|value| !value.is_empty()) {
                text.push_str(&format!(" {:<20} {value}\n", format!("{label}:")));
            }
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len() + 1);
    text
}
