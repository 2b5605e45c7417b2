//! Running containers: exec, list, inspect and ping, and the memory that the daemons and their helpers take.

use std::collections::BTreeSet;
use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::Plan;
use crate::Result;
use crate::container::{Client, versioned};
use crate::daemon::{Daemon, Kind};
use crate::machine;
use crate::report::{Report, figure};
use crate::stats::Samples;
use crate::targets::Figures;

/// Containers that run while memory and lists are measured.
const CONTAINERS: usize = 10;

/// One daemon with its containers.
struct Crew<'a> {
    client: Client<'a>,
    ids: Vec<String>,
    exec: Samples,
    asked: [Samples; 4],
    helpers: BTreeSet<u32>,
}

const QUESTIONS: [&str; 4] = ["ping", "list", "inspect", "images"];

/// Memory of the daemons before they did anything but load an image, in KiB.
pub(crate) fn fresh_memory(daemons: &[Daemon]) -> Vec<Option<u64>> {
    sleep(Duration::from_secs(1)); // let start-up settle: an idle daemon is what is asked for
    daemons.iter().map(|daemon| tree_pss(daemon.pid(), &BTreeSet::new())).collect()
}

pub(crate) fn measure(
    plan: &Plan,
    daemons: &[Daemon],
    fresh: &[Option<u64>],
    report: &mut Report,
    figures: &mut Figures,
) -> Result<()> {
    let mut notes = Vec::new();
    let mut crews = Vec::new();
    for (daemon, &fresh) in daemons.iter().zip(fresh) {
        match Crew::start(daemon) {
            Ok(crew) => crews.push((crew, fresh)),
            Err(error) => notes.push(format!("{} failed: {error}", daemon.kind.name())),
        }
    }
    for round in 0..=plan.exec_rounds {
        crate::check_interrupted()?;
        for (crew, _) in &mut crews {
            if let Err(error) = crew.round(round > 0) {
                notes.push(format!("{} failed: {error}", crew.client.daemon().kind.name()));
            }
        }
    }
    let mut latency_rows = Vec::new();
    let mut memory_rows = Vec::new();
    let mut data = Map::new();
    for (crew, fresh) in &mut crews {
        let daemon = crew.client.daemon();
        let exec = crew.exec.summary();
        let asked = crew.asked.each_ref().map(Samples::summary);
        let mut row = vec![daemon.kind.name().to_owned()];
        for summary in [exec].into_iter().chain(asked) {
            row.push(figure(summary.map(|summary| summary.p50)));
            row.push(figure(summary.map(|summary| summary.p99)));
        }
        latency_rows.push(row);

        let helper_names: BTreeSet<String> =
            crew.helpers.iter().filter_map(|&pid| machine::status_field(pid, "Name:")).collect();
        let each: Vec<u64> = crew.helpers.iter().filter_map(|&pid| machine::pss(pid)).collect();
        #[expect(clippy::cast_precision_loss, reason = "KiB of memory are far below 2^52")]
        let helper = (!each.is_empty()).then(|| each.iter().sum::<u64>() as f64 / each.len() as f64);
        let loaded = tree_pss(daemon.pid(), &crew.helpers);
        #[expect(clippy::cast_precision_loss, reason = "KiB of memory are far below 2^52")]
        let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
        memory_rows.push(vec![
            daemon.kind.name().to_owned(),
            figure(fresh.map(mebibytes)),
            figure(loaded.map(mebibytes)),
            figure(helper.map(|kibibytes| kibibytes / 1024.0)),
            helper_names.into_iter().collect::<Vec<_>>().join(", "),
        ]);
        if daemon.kind == Kind::Pinnace {
            figures.exec_p50 = exec.map(|summary| summary.p50);
            figures.daemon_mib = fresh.map(mebibytes);
            figures.helper_mib = helper.map(|kibibytes| kibibytes / 1024.0);
        }
        let questions: Map<String, Value> =
            QUESTIONS.iter().zip(asked).map(|(name, summary)| ((*name).to_owned(), json!(summary))).collect();
        data.insert(
            daemon.kind.name().to_owned(),
            json!({ "exec": exec, "questions": questions, "fresh_kib": fresh, "loaded_kib": loaded, "helper_kib": helper }),
        );
        crew.stop();
    }
    let columns = [
        "contender",
        "exec p50",
        "p99",
        "ping p50",
        "p99",
        "list p50",
        "p99",
        "inspect p50",
        "p99",
        "images p50",
        "p99",
    ];
    let mut note = format!(
        "Times in ms, with {CONTAINERS} containers running. An exec is create, start and the end of its output (`true`)."
    );
    for line in &notes {
        note = format!("{note}\n{line}");
    }
    report.table("Exec and questions", &note, &columns, latency_rows, data.into());
    report.table(
        "Memory",
        &format!("PSS in MiB. Daemon: with its child processes, fresh (one image loaded) and after the load with {CONTAINERS} containers running, without the helpers; per container: the parent process of its init, mean of {CONTAINERS}."),
        &["contender", "daemon fresh", "daemon after load", "per container", "helper"],
        memory_rows,
        json!({}),
    );
    Ok(())
}

impl<'a> Crew<'a> {
    fn start(daemon: &'a Daemon) -> Result<Self> {
        let mut crew = Self {
            client: Client::new(daemon),
            ids: Vec::new(),
            exec: Samples::default(),
            asked: Default::default(),
            helpers: BTreeSet::new(),
        };
        for _ in 0..CONTAINERS {
            let id = crew.client.create(&["/bin/busybox", "sleep", "3600"], false)?;
            crew.ids.push(id.clone());
            crew.client.start(&id)?;
            let inspected = crew.client.get(&format!("/containers/{id}/json"))?;
            let init = inspected["State"]["Pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok())
                .ok_or("no pid in inspect")?;
            crew.helpers.extend(machine::parent(init));
        }
        Ok(crew)
    }

    fn round(&mut self, warm: bool) -> Result<()> {
        let id = self.ids[0].clone();
        let began = Instant::now();
        let body = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": ["/true"] });
        let exec = self.client.post(&format!("/containers/{id}/exec"), Some(&body))?.json()?;
        let exec = exec["Id"].as_str().ok_or("exec create gave no id")?;
        let path = versioned(&format!("/exec/{exec}/start"));
        let mut output =
            crate::http::hijack(&self.client.daemon().socket, &path, &json!({ "Detach": false, "Tty": false }))?;
        output.read_to_end(&mut Vec::new())?;
        let took = began.elapsed();
        if warm {
            self.exec.push(took);
        }
        let paths = [
            "/_ping".to_owned(),
            "/containers/json".to_owned(),
            format!("/containers/{id}/json"),
            "/images/json".to_owned(),
        ];
        for (path, samples) in paths.iter().zip(&mut self.asked) {
            let began = Instant::now();
            self.client.ask(path)?;
            if warm {
                samples.push(began.elapsed());
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        for id in std::mem::take(&mut self.ids) {
            // What does not go now goes with the daemon.
            drop(self.client.remove(&id));
        }
    }
}

/// PSS in KiB of a process and all below it, without the processes in `except` and those below them.
fn tree_pss(root: u32, except: &BTreeSet<u32>) -> Option<u64> {
    let mut sum = machine::pss(root)?;
    let children = machine::processes().into_iter().filter(|&pid| machine::parent(pid) == Some(root));
    for child in children.filter(|child| !except.contains(child)) {
        sum += tree_pss(child, except).unwrap_or(0);
    }
    Some(sum)
}
