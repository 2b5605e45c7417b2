//! `pinnace-bench`: Pinnace, the kernel floor and whichever peers are installed, side by side in one run.
//!
//! Everything happens in directories, sockets and cgroups of its own and is removed at the end, also after an interrupt;
//! only processes that the run started are ended. docs/BENCHMARKS.md has the last figures and how to read them.

mod bundle;
mod container;
mod daemon;
mod floor;
mod http;
mod image;
mod latency;
mod machine;
mod observe;
mod parallel;
mod report;
mod running;
mod stats;
mod stdio;
mod targets;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::container::Client;
use crate::daemon::{Daemon, Kind};
use crate::floor::{Floor, Shape};
use crate::report::Report;
use crate::targets::Figures;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str =
    "pinnace-bench [--quick] [--json FILE] [--markdown FILE] [--only NAMES] [--measure PARTS] [--bin DIR] [--work DIR]

  --quick          about one minute instead of about five
  --json FILE      write every figure as JSON
  --markdown FILE  write the tables there too
  --only NAMES     contenders beside the floor: pinnace, dockerd, podman, crun, runc, youki (default: all)
  --measure PARTS  one-at-a-time, many-at-once, running, output (default: all)
  --bin DIR        where pinnaced and pinnace-floor are (default: beside this program)
  --work DIR       where the data roots are made (default: /var/tmp)
";

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Rounds of the latency measurement.
    pub(crate) rounds: u32,
    /// Lives of the floor and of Pinnace in each round; the others live one.
    pub(crate) fast_per_round: u32,
    pub(crate) exec_rounds: u32,
    /// How long a crowd of clients starts new lives.
    pub(crate) crowd: Duration,
    /// How long a container writes, about.
    pub(crate) output: Duration,
}

struct Options {
    quick: bool,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    only: Option<Vec<String>>,
    parts: Option<Vec<String>>,
    binaries: PathBuf,
    work: PathBuf,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// An error after SIGINT or SIGTERM, so that the run unwinds and cleans up.
pub(crate) fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

fn main() -> ExitCode {
    let outcome = Options::from_args(std::env::args().skip(1))
        .and_then(|options| options.map_or(Ok(()), |options| run(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("pinnace-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// `None` when only the usage was asked for.
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let beside = std::env::current_exe()?.parent().ok_or("the program is in a directory")?.to_owned();
        let mut options = Self {
            quick: false,
            json: None,
            markdown: None,
            only: None,
            parts: None,
            binaries: beside,
            work: "/var/tmp".into(),
        };
        while let Some(flag) = args.next() {
            if flag == "--quick" {
                options.quick = true;
                continue;
            }
            if flag == "--help" || flag == "-h" {
                say(USAGE);
                return Ok(None);
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value, or is unknown\n{USAGE}"))?;
            match flag.as_str() {
                "--json" => options.json = Some(value.into()),
                "--markdown" => options.markdown = Some(value.into()),
                "--only" => options.only = Some(value.split(',').map(str::to_owned).collect()),
                "--measure" => options.parts = Some(value.split(',').map(str::to_owned).collect()),
                "--bin" => options.binaries = value.into(),
                "--work" => options.work = value.into(),
                _ => return Err(format!("unknown flag {flag}\n{USAGE}").into()),
            }
        }
        Ok(Some(options))
    }

    fn wants(&self, name: &str) -> bool {
        let name = name.split(' ').next().unwrap_or_default();
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == name))
    }

    fn measures(&self, part: &str) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.iter().any(|wanted| wanted == part))
    }

    fn plan(&self) -> Plan {
        if self.quick {
            Plan {
                rounds: 10,
                fast_per_round: 5,
                exec_rounds: 10,
                crowd: Duration::from_secs(1),
                output: Duration::from_secs(1),
            }
        } else {
            Plan {
                rounds: 50,
                fast_per_round: 5,
                exec_rounds: 50,
                crowd: Duration::from_secs(5),
                output: Duration::from_secs(4),
            }
        }
    }
}

/// Progress and errors go to standard error, the tables to standard output.
fn say(text: &str) {
    // Nobody is left to tell if standard error is closed.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err("containers, cgroups and mounts need root".into());
    }
    watch_signals()?;
    let began = Instant::now();
    let work = tempfile::Builder::new().prefix("pinnace-bench.").tempdir_in(&options.work)?;
    let cgroup = format!("pinnace-bench-{}", std::process::id());
    let mut report = Report::default();
    let outcome = measure(options, work.path(), &cgroup, &mut report);
    machine::sweep(work.path(), &cgroup);
    if let Err(error) = work.close() {
        say(&format!("could not remove the directory of the run: {error}"));
    }
    outcome?;
    let facts = machine::facts();
    let text = format!(
        "Machine: {}, {} cores, {}, Linux {}. The run took {:.0} s.\n\n{}",
        facts["cpu"].as_str().unwrap_or_default(),
        facts["cores"],
        facts["memory"].as_str().unwrap_or_default(),
        facts["kernel"].as_str().unwrap_or_default(),
        began.elapsed().as_secs_f64(),
        report.markdown()
    );
    std::io::stdout().write_all(text.as_bytes())?;
    if let Some(path) = &options.markdown {
        fs::write(path, &text)?;
    }
    if let Some(path) = &options.json {
        fs::write(
            path,
            serde_json::to_vec_pretty(&json!({ "machine": facts, "quick": options.quick, "figures": report.json() }))?,
        )?;
    }
    Ok(())
}

/// Turns SIGINT and SIGTERM into a flag; by handlers, because a blocked signal would be blocked in the daemons too.
fn watch_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        })
    })?;
    Ok(())
}

fn measure(options: &Options, work: &Path, cgroup: &str, report: &mut Report) -> Result<()> {
    let plan = options.plan();
    let image = image::build(&work.join("image"))?;
    let mut contenders = Vec::new();

    let mut daemons = Vec::new();
    for kind in Kind::ALL {
        check_interrupted()?;
        if kind == Kind::Dockerd {
            // Pinnace and the floor, started before, see the machine as it is.
            machine::hide_cgroup2()?;
        }
        let state = if options.wants(kind.name()) {
            match Daemon::start(kind, &options.binaries, work, cgroup).and_then(|daemon| load(daemon, &image)) {
                Ok(Some(daemon)) => {
                    let version = daemon.version.clone();
                    daemons.push(daemon);
                    version
                }
                Ok(None) => "not installed".to_owned(),
                Err(error) => format!("cannot run here: {error}"),
            }
        } else {
            "not asked for".to_owned()
        };
        say(&format!("{}: {state}", kind.name()));
        contenders.push((kind.name(), state));
    }
    let fresh = running::fresh_memory(&daemons);
    let shape = observe::floor_shape(&daemons);
    let seccomp = daemons.iter().find(|daemon| daemon.kind == Kind::Dockerd).and_then(observe::docker_seccomp);
    let mut runtimes = Vec::new();
    for name in bundle::RUNTIMES {
        let state = if options.wants(name) {
            match bundle::Runtime::prepare(name, work, &image, cgroup, seccomp.as_ref()) {
                Ok(Some(mut runtime)) => match runtime.run() {
                    Ok(_) => {
                        let version = machine::version(&runtime.program);
                        runtimes.push(runtime);
                        version
                    }
                    Err(error) => format!("cannot run here: {error}"),
                },
                Ok(None) => "not installed".to_owned(),
                Err(error) => format!("cannot run here: {error}"),
            }
        } else {
            "not asked for".to_owned()
        };
        say(&format!("{name}: {state}"));
        contenders.push((name, state));
    }

    let scratch = work.join("floor");
    let setting =
        parallel::FloorSetting { binaries: &options.binaries, scratch: &scratch, image: &image, shape: &shape, cgroup };
    let began = Instant::now();
    let stage = |part: &str| {
        let wanted = options.measures(part);
        if wanted {
            say(&format!("{:4.0} s: {part}", began.elapsed().as_secs_f64()));
        }
        wanted
    };
    let mut figures = Figures::default();
    if stage("one-at-a-time") {
        let mut floor = Floor::start(setting.binaries, setting.scratch, setting.image, setting.shape, setting.cgroup)?;
        latency::measure(&plan, &mut floor, &daemons, &mut runtimes, report, &mut figures)?;
    }
    if stage("many-at-once") {
        parallel::measure(&plan, &setting, &daemons, report, &mut figures)?;
    }
    if stage("running") {
        running::measure(&plan, &daemons, &fresh, report, &mut figures)?;
    }
    if stage("output") {
        stdio::measure(&plan, &daemons, report, &mut figures)?;
    }
    say(&format!("{:4.0} s: clean-up", began.elapsed().as_secs_f64()));
    report_contenders(contenders, &shape, seccomp.is_some(), report);
    targets::report(&figures, report);
    Ok(())
}

fn load(daemon: Option<Daemon>, image: &image::Image) -> Result<Option<Daemon>> {
    if let Some(daemon) = &daemon {
        let mut client = Client::new(daemon);
        client
            .load_image(&image.archive)
            .and_then(|()| client.life())
            .map_err(|error| format!("{error}; its log: {}", daemon.log_tail()))?;
    }
    Ok(daemon)
}

fn report_contenders(contenders: Vec<(&str, String)>, shape: &Shape, seccomp: bool, report: &mut Report) {
    let note = format!(
        "The floor's cgroups ({}): {}; mounted in the container: {}. Seccomp in the bundles of crun, runc and youki: {}. \
         All but Pinnace run in a mount namespace without cgroup2, which crun asks for on a machine with v1 controllers.",
        shape.origin,
        shape.cgroups.join(", "),
        if shape.cgroup_mounts { "yes" } else { "no" },
        if seccomp { "Docker's default profile" } else { "none (dockerd did not run)" },
    );
    let data = contenders
        .iter()
        .map(|(name, state)| ((*name).to_owned(), Value::from(state.clone())))
        .collect::<serde_json::Map<_, _>>();
    let rows = contenders.into_iter().map(|(name, state)| vec![name.to_owned(), state.replace('\n', " ")]).collect();
    report.table("Contenders", &note, &["contender", "version"], rows, data.into());
}
