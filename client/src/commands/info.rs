//! `pinnace info`.

use pinnace_client::{Client, units};
use serde_json::Value;

use crate::{failure::Outcome, output, template};

/// Display system-wide information
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// "json", or a template
    #[arg(short, long)]
    format: Option<String>,
}

/// Lines of the answer that are shown as they are: label, path.
const LINES: [(&str, &str); 19] = [
    ("Containers", "/Containers"),
    (" Running", "/ContainersRunning"),
    (" Paused", "/ContainersPaused"),
    (" Stopped", "/ContainersStopped"),
    ("Images", "/Images"),
    ("Server Version", "/ServerVersion"),
    ("Storage Driver", "/Driver"),
    ("Logging Driver", "/LoggingDriver"),
    ("Cgroup Driver", "/CgroupDriver"),
    ("Cgroup Version", "/CgroupVersion"),
    ("Default Runtime", "/DefaultRuntime"),
    ("Kernel Version", "/KernelVersion"),
    ("Operating System", "/OperatingSystem"),
    ("OSType", "/OSType"),
    ("Architecture", "/Architecture"),
    ("CPUs", "/NCPU"),
    ("Name", "/Name"),
    ("ID", "/ID"),
    ("Docker Root Dir", "/DockerRootDir"),
];

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let info = client.info().await?;
        match self.format.as_deref() {
            Some("json") => output::line(&info.to_string())?,
            Some(format) => output::line(&template::render(format, &info)?)?,
            None => output::raw(&page(&info, client))?,
        }
        for warning in info.pointer("/Warnings").and_then(Value::as_array).into_iter().flatten() {
            output::complain(warning.as_str().unwrap_or_default());
        }
        Ok(0)
    }
}

fn page(info: &Value, client: &Client) -> String {
    let mut lines = vec![
        "Client:".to_owned(),
        format!(" Version: {}", env!("CARGO_PKG_VERSION")),
        format!(" Host: {}", client.host()),
        String::new(),
        "Server:".to_owned(),
    ];
    for (label, path) in LINES {
        match info.pointer(path) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) => lines.push(format!(" {label}: {value}")),
            Some(value) => lines.push(format!(" {label}: {value}")),
        }
        match label {
            "Storage Driver" => {
                let pairs = info["DriverStatus"].as_array().into_iter().flatten();
                let pair = |pair: &Value| Some(format!("  {}: {}", pair[0].as_str()?, pair[1].as_str()?));
                lines.extend(pairs.filter_map(pair));
            }
            "Default Runtime" => {
                lines.push(" Security Options:".to_owned());
                for option in info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    lines.extend(security_option(option));
                }
            }
            "CPUs" => {
                let memory = units::bytes_size(info["MemTotal"].as_u64().unwrap_or(0));
                lines.push(format!(" Total Memory: {memory}"));
            }
            _ => {}
        }
    }
    lines.join("\n") + "\n"
}

/// Shows "name=seccomp,profile=builtin" as the name and its settings below it.
fn security_option(option: &str) -> Vec<String> {
    let parts = option.split(',').map(|part| part.split_once('=').unwrap_or(("", part)));
    let show = |(name, value)| if name == "name" { format!("  {value}") } else { format!("   {name}: {value}") };
    parts.map(show).collect()
}
