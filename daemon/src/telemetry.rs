//! The daemon's own log.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Config, LogFormat};

/// Sets up the log on stderr. Spans are written when they end, with their times, at level debug.
pub fn start(config: &Config) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&config.log_level).map_err(|error| format!("log level {:?}: {error}", config.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Human => builder.with_target(false).with_ansi(false).with_span_events(FmtSpan::NONE).init(),
        LogFormat::Json => builder.json().with_span_events(FmtSpan::CLOSE).init(),
    }
    Ok(())
}
