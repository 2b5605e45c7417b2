//! `GET /containers/{id}/top`: read from the host's `/proc`. No program is executed, of the host or of the container.

use api_schema::container::TopResponse;
use axum::extract::{Path, State};
use http::StatusCode;

use super::Answer;
use crate::clock::Timestamp;
use crate::http::error::json;
use crate::http::extract::Query;
use crate::http::{ApiError, Shared};

pub(crate) async fn top(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    let columns = columns(query.get("ps_args").unwrap_or("-ef"))?;
    let pids = engine.containers.pids(&container)?;
    let processes = pids.into_iter().filter_map(Process::read).collect::<Vec<_>>();
    let response = TopResponse {
        titles: columns.iter().map(|column| column.title().to_owned()).collect(),
        processes: processes
            .iter()
            .map(|process| columns.iter().map(|column| column.value(process)).collect())
            .collect(),
    };
    let mut attributes = container.event_attributes();
    attributes.insert("ps_args".to_owned(), query.text("ps_args").to_owned());
    engine.events.publish(crate::events::Kind::Container, "top", container.id.as_str(), attributes);
    Ok(json(StatusCode::OK, &response))
}

/// A column of ps(1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    User,
    Uid,
    Pid,
    Ppid,
    CpuPercent,
    MemoryPercent,
    Vsz,
    Rss,
    Tty,
    Stat,
    StartTime,
    Time,
    Command,
    CommandName,
    Nice,
}

/// Reads the arguments of ps(1) that people give: `-ef`, `aux` and `-o` with a list of columns.
fn columns(text: &str) -> Result<Vec<Column>, ApiError> {
    use Column::{Command, CpuPercent, MemoryPercent, Pid, Ppid, Rss, StartTime, Stat, Time, Tty, Uid, User, Vsz};
    let text = text.trim();
    match text.trim_start_matches('-') {
        "ef" | "fe" | "eF" | "e -f" | "" => return Ok(vec![Uid, Pid, Ppid, CpuPercent, StartTime, Tty, Time, Command]),
        "aux" | "axu" | "au" | "xau" => {
            return Ok(vec![User, Pid, CpuPercent, MemoryPercent, Vsz, Rss, Tty, Stat, StartTime, Time, Command]);
        }
        "ax" | "e" | "A" | "x" => return Ok(vec![Pid, Tty, Stat, Time, Command]),
        _ => {}
    }
    let mut wanted = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let list = match word {
            "-o" | "o" | "-eo" | "-axo" | "axo" => words.next().unwrap_or_default(),
            "-e" | "-A" | "ax" => continue,
            word => word.strip_prefix("-o").or_else(|| word.strip_prefix("-eo")).ok_or_else(|| unknown(text))?,
        };
        for name in list.split(',').filter(|name| !name.is_empty()) {
            wanted.push(Column::parse(name).ok_or_else(|| unknown(name))?);
        }
    }
    if !wanted.contains(&Pid) {
        return Err(ApiError::invalid("Couldn't find PID field in ps output"));
    }
    Ok(wanted)
}

fn unknown(what: &str) -> ApiError {
    ApiError::invalid(format!("ps argument {what:?} is not supported: use -ef, aux, or -o with a list of columns"))
}

impl Column {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "user" | "uname" | "euser" => Self::User,
            "uid" | "euid" => Self::Uid,
            "pid" => Self::Pid,
            "ppid" => Self::Ppid,
            "pcpu" | "%cpu" | "c" => Self::CpuPercent,
            "pmem" | "%mem" => Self::MemoryPercent,
            "vsz" | "vsize" => Self::Vsz,
            "rss" => Self::Rss,
            "tty" | "tname" | "tt" => Self::Tty,
            "stat" | "state" | "s" => Self::Stat,
            "stime" | "start" | "start_time" | "lstart" => Self::StartTime,
            "time" | "cputime" => Self::Time,
            "cmd" | "args" | "command" => Self::Command,
            "comm" | "ucmd" => Self::CommandName,
            "ni" | "nice" => Self::Nice,
            _ => return None,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Uid => "UID",
            Self::Pid => "PID",
            Self::Ppid => "PPID",
            Self::CpuPercent => "C",
            Self::MemoryPercent => "%MEM",
            Self::Vsz => "VSZ",
            Self::Rss => "RSS",
            Self::Tty => "TTY",
            Self::Stat => "STAT",
            Self::StartTime => "STIME",
            Self::Time => "TIME",
            Self::Command => "CMD",
            Self::CommandName => "COMMAND",
            Self::Nice => "NI",
        }
    }

    fn value(self, process: &Process) -> String {
        match self {
            Self::User | Self::Uid => user_name(process.uid),
            Self::Pid => process.pid.to_string(),
            Self::Ppid => process.ppid.to_string(),
            Self::CpuPercent => process.cpu_percent().to_string(),
            Self::MemoryPercent => {
                let total = crate::host::memory_total().max(1) / 1024;
                format!("{:.1}", process.rss_kib as f64 * 100.0 / total as f64)
            }
            Self::Vsz => process.vsz_kib.to_string(),
            Self::Rss => process.rss_kib.to_string(),
            Self::Tty => process.tty(),
            Self::Stat => process.state.to_string(),
            Self::StartTime => process.start_time(),
            Self::Time => clock_time(process.cpu_seconds),
            Self::Command => process.command.clone(),
            Self::CommandName => process.name.clone(),
            Self::Nice => process.nice.to_string(),
        }
    }
}

/// What `/proc/PID` says.
struct Process {
    pid: i32,
    ppid: i32,
    uid: u32,
    state: char,
    tty: u64,
    nice: i64,
    cpu_seconds: u64,
    /// Seconds since boot.
    started: u64,
    vsz_kib: u64,
    rss_kib: u64,
    name: String,
    command: String,
}

impl Process {
    /// Reads a process; `None` if it has ended meanwhile.
    fn read(pid: i32) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let directory = std::path::PathBuf::from(format!("/proc/{pid}"));
        let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
        let uid = std::fs::metadata(&directory).ok()?.uid();
        // The name is in parentheses and may contain any byte, parentheses too: proc_pid_stat(5).
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let unsigned = |index: usize| number(index).and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let arguments = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        let words: Vec<_> =
            arguments.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
        Some(Self {
            pid,
            ppid: i32::try_from(number(1)?).ok()?,
            uid,
            state: fields.first()?.chars().next()?,
            tty: unsigned(4),
            nice: number(16).unwrap_or(0),
            cpu_seconds: (unsigned(11) + unsigned(12)) / ticks,
            started: unsigned(19) / ticks,
            vsz_kib: unsigned(20) / 1024,
            rss_kib: unsigned(21) * rustix::param::page_size() as u64 / 1024,
            command: if words.is_empty() { format!("[{name}]") } else { words.join(" ") },
            name,
        })
    }

    /// As ps(1): processor time over life time, in whole per cent.
    fn cpu_percent(&self) -> u64 {
        let alive = uptime().saturating_sub(self.started).max(1);
        (self.cpu_seconds * 100 / alive).min(99)
    }

    fn tty(&self) -> String {
        let (major, minor) = ((self.tty >> 8) & 0xfff, (self.tty & 0xff) | ((self.tty >> 12) & 0xf_ff00));
        match major {
            0 => "?".to_owned(),
            136..=143 => format!("pts/{minor}"),
            _ => format!("tty{minor}"),
        }
    }

    fn start_time(&self) -> String {
        let seconds = Timestamp::now().seconds() - i64::try_from(uptime().saturating_sub(self.started)).unwrap_or(0);
        let text = Timestamp(seconds.saturating_mul(1_000_000_000)).rfc3339();
        text.get(11..16).unwrap_or("00:00").to_owned()
    }
}

fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

fn clock_time(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The host's name for a user, as ps(1) on the host prints it.
fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_that_people_give_are_understood() {
        for text in ["-ef", "aux", "-aux", "-o pid,comm", "-eo pid,cmd", "-opid", ""] {
            let found = columns(text).map_err(|error| error.to_string());
            assert!(found.is_ok_and(|columns| columns.contains(&Column::Pid)), "{text}");
        }
        for text in ["-o comm", "--forest", "-o pid,bogus"] {
            assert!(columns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_process_reads_itself() {
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.vsz_kib > 0 && !own.command.is_empty());
    }
}
