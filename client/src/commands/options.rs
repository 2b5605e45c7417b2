//! The flags of `run` and `create`, and the request body they make.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde_json::{Map, Value, json};

use crate::{failure::Failure, terminal};

/// What the container shall be.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long)]
    entrypoint: Option<String>,
    /// Set environment variables; a name alone passes ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Container host name
    #[arg(short = 'h', long, default_value = "", hide_default_value = true)]
    hostname: String,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Set meta data on a container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Connect a container to a network: "none" or "host"
    #[arg(long, visible_alias = "net")]
    network: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    privileged: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub(super) rm: bool,
    /// Security options, as in "no-new-privileges" or "seccomp=profile.json"
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, default_value = "", hide_default_value = true)]
    user: String,
    /// Bind mount a volume
    #[arg(short, long, value_name = "SOURCE:PATH[:OPTIONS]")]
    volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "DIR")]
    workdir: String,
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["IMAGE", "COMMAND"])]
    argv: Vec<String>,
}

/// The streams that somebody is attached to from the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl Options {
    /// Says whether streams were named with `--attach`.
    pub(super) fn names_streams(&self) -> bool {
        !self.attach.is_empty()
    }

    /// Returns what to attach to: what was named, or both outputs, and stdin if it is kept open.
    pub(super) fn attached(&self) -> Result<Attached, Failure> {
        if self.attach.is_empty() {
            return Ok(Attached { stdin: self.interactive, stdout: true, stderr: true });
        }
        let mut attached = Attached { stdin: self.interactive, ..Attached::default() };
        for stream in &self.attach {
            match stream.to_ascii_lowercase().as_str() {
                "stdin" => attached.stdin = true,
                "stdout" => attached.stdout = true,
                "stderr" => attached.stderr = true,
                _ => {
                    return Err(Failure::new(format!(
                        "invalid argument \"{stream}\" for \"-a, --attach\" flag: it has to be STDIN, STDOUT or STDERR"
                    )));
                }
            }
        }
        Ok(attached)
    }

    /// Makes the body of `POST /containers/create`. Only what was asked for is in it: the rest is the daemon's to
    /// default.
    pub(super) fn body(&self, attached: Attached) -> Result<Value, Failure> {
        let (image, cmd) = self.argv.split_first().unwrap_or((const { &String::new() }, &[]));
        let open_stdin = self.interactive || attached.stdin;
        let mut body = json!({
            "Image": image,
            "AttachStdin": attached.stdin,
            "AttachStdout": attached.stdout,
            "AttachStderr": attached.stderr,
            "OpenStdin": open_stdin,
            "StdinOnce": open_stdin && attached.stdin,
            "Tty": self.tty,
            "Env": environment(&self.env_file, &self.env)?,
            "Labels": pairs(&self.label),
            "Hostname": self.hostname,
            "User": self.user,
            "WorkingDir": self.workdir,
        });
        if !cmd.is_empty() {
            body["Cmd"] = json!(cmd);
        }
        if let Some(entrypoint) = &self.entrypoint {
            // An empty one takes the image's away, which an empty list would not.
            body["Entrypoint"] = json!([entrypoint]);
        }
        if let Some(signal) = &self.stop_signal {
            body["StopSignal"] = json!(signal);
        }
        if let Some(seconds) = self.stop_timeout {
            body["StopTimeout"] = json!(seconds);
        }
        let (binds, volumes) = split_volumes(&self.volume)?;
        if !volumes.is_empty() {
            body["Volumes"] = Value::Object(volumes);
        }
        body["HostConfig"] = self.host_config(&binds)?;
        Ok(body)
    }

    fn host_config(&self, binds: &[String]) -> Result<Value, Failure> {
        let tmpfs = self.tmpfs.iter().map(|mount| mount.split_once(':').unwrap_or((mount, "")));
        let mut host = json!({
            "AutoRemove": self.rm,
            "Binds": binds,
            "CapAdd": self.cap_add,
            "CapDrop": self.cap_drop,
            "Privileged": self.privileged,
            "ReadonlyRootfs": self.read_only,
            "SecurityOpt": security_options(&self.security_opt)?,
            "Tmpfs": tmpfs.collect::<BTreeMap<_, _>>(),
        });
        if let Some(network) = &self.network {
            host["NetworkMode"] = json!(network);
        }
        if let (true, Some(size)) = (self.tty, terminal::size()) {
            host["ConsoleSize"] = json!([size.height, size.width]);
        }
        Ok(host)
    }
}

/// Splits `NAME=VALUE`; a name alone has the empty value.
fn pairs(given: &[String]) -> BTreeMap<&str, &str> {
    given.iter().map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect()
}

/// Puts an environment together: first the files, then the flags.
pub(super) fn environment(files: &[PathBuf], flags: &[String]) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for path in files {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| Failure::new(format!("open {shown}: {error}")))?;
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split_once('=').map_or(line, |(name, _)| name);
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(Failure::new(format!(
                    "invalid env file ({shown}): variable '{name}' contains whitespaces or has no name"
                )));
            }
            variables.extend(variable(line, true));
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            return Err(Failure::new(format!("invalid environment variable: {flag}")));
        }
        variables.extend(variable(flag, false));
    }
    Ok(variables)
}

/// Completes a name without a value from our own environment. Without one there it is left out of a file; as a flag it
/// goes as it is, which takes the image's away.
fn variable(text: &str, in_file: bool) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    match env::var(text) {
        Ok(value) => Some(format!("{text}={value}")),
        Err(_) => (!in_file).then(|| text.to_owned()),
    }
}

/// Tells binds (`source:path[:options]`) from anonymous volumes (`path`); a source that begins with a dot is relative
/// to here.
fn split_volumes(given: &[String]) -> Result<(Vec<String>, Map<String, Value>), Failure> {
    let (mut binds, mut volumes) = (Vec::new(), Map::new());
    for volume in given {
        let Some((source, rest)) = volume.split_once(':') else {
            volumes.insert(volume.clone(), json!({}));
            continue;
        };
        if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") {
            let absolute = lexical(&env::current_dir()?.join(source));
            binds.push(format!("{}:{rest}", absolute.display()));
        } else {
            binds.push(volume.clone());
        }
    }
    Ok((binds, volumes))
}

/// Removes `.` and `..` without looking at the file system, as Go's `filepath.Abs` does.
fn lexical(path: &std::path::Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    clean
}

/// Puts the content of a seccomp profile where its file was named: the daemon may not see our files.
fn security_options(given: &[String]) -> Result<Vec<String>, Failure> {
    let resolve = |option: &String| {
        let Some(profile) = option.strip_prefix("seccomp=").or_else(|| option.strip_prefix("seccomp:")) else {
            return Ok(option.clone());
        };
        if matches!(profile, "unconfined" | "builtin") {
            return Ok(option.clone());
        }
        let text = fs::read_to_string(profile)
            .map_err(|error| Failure::new(format!("opening seccomp profile ({profile}) failed: {error}")))?;
        let compact: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::new(format!("compacting json for seccomp profile ({profile}) failed: {error}"))
        })?;
        Ok(format!("seccomp={compact}"))
    };
    given.iter().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::try_parse_from(std::iter::once(&"run").chain(line)).unwrap().options
    }

    fn body(line: &[&str]) -> Value {
        let options = options(line);
        options.body(options.attached().unwrap()).unwrap()
    }

    #[test]
    fn what_follows_the_image_belongs_to_the_command() {
        let body = body(&["-it", "--rm", "alpine", "sh", "-c", "exit 3", "--rm", "-e"]);
        assert_eq!(body["Image"], "alpine");
        assert_eq!(body["Cmd"], json!(["sh", "-c", "exit 3", "--rm", "-e"]));
        assert_eq!((&body["OpenStdin"], &body["StdinOnce"], &body["Tty"]), (&json!(true), &json!(true), &json!(true)));
    }

    #[test]
    fn an_unknown_flag_is_not_taken_for_the_image() {
        assert!(Line::try_parse_from(["run", "--memry", "alpine"]).is_err());
    }

    #[test]
    fn volumes_are_told_apart() {
        let here = env::current_dir().unwrap();
        let given = ["/a:/b:ro", "./x/../y:/z", "name:/data", "/anonymous"].map(str::to_owned);
        let (binds, volumes) = split_volumes(&given).unwrap();
        assert_eq!(binds, ["/a:/b:ro", &format!("{}/y:/z", here.display()), "name:/data"]);
        assert_eq!(Value::Object(volumes), json!({"/anonymous": {}}));
    }

    #[test]
    fn variables_come_from_files_then_flags_then_our_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# comment\n\nA=1\n  B= two words \nPINNACE_TEST_UNSET\nPATH\n").unwrap();
        let flags = ["A=2", "PINNACE_TEST_UNSET"].map(str::to_owned);
        let variables = environment(&[file.path().to_owned()], &flags).unwrap();
        let path = format!("PATH={}", env::var("PATH").unwrap());
        assert_eq!(variables, ["A=1", "B= two words ", &path, "A=2", "PINNACE_TEST_UNSET"]);
        fs::write(file.path(), "A B=1\n").unwrap();
        assert!(environment(&[file.path().to_owned()], &[]).is_err());
    }

    #[test]
    fn streams_are_what_was_named_or_all_that_are_open() {
        let attached = |line: &[&str]| options(line).attached().unwrap();
        assert_eq!(attached(&["i"]), Attached { stdin: false, stdout: true, stderr: true });
        assert_eq!(attached(&["-i", "i"]), Attached { stdin: true, stdout: true, stderr: true });
        assert_eq!(attached(&["-a", "STDOUT", "i"]), Attached { stdin: false, stdout: true, stderr: false });
        assert!(options(&["-a", "stdlog", "i"]).attached().is_err());
    }

    #[test]
    fn the_host_part_carries_what_was_asked() {
        let host = body(&["--tmpfs", "/t:size=1m", "--tmpfs=/u", "--net", "none", "--cap-drop=ALL", "i"])["HostConfig"]
            .clone();
        assert_eq!(host["Tmpfs"], json!({"/t": "size=1m", "/u": ""}));
        assert_eq!((&host["NetworkMode"], &host["CapDrop"]), (&json!("none"), &json!(["ALL"])));
        assert_eq!(body(&["--entrypoint", "", "i"])["Entrypoint"], json!([""]));
        assert_eq!(body(&["i"]).get("Cmd"), None);
    }
}
