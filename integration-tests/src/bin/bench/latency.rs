//! One container's whole life, one at a time: every contender in turn, so that noise hits all of them alike.

use std::time::Duration;

use serde_json::{Map, json};

use crate::Plan;
use crate::Result;
use crate::bundle::Runtime;
use crate::container::Client;
use crate::daemon::{Daemon, Kind};
use crate::floor::Floor;
use crate::machine;
use crate::report::{Report, figure};
use crate::stats::Samples;
use crate::targets::Figures;

/// Everything that was measured of one contender.
#[derive(Debug, Default)]
struct Life {
    total: Samples,
    auto_removed: Samples,
    steps: [Samples; 4],
    failures: Vec<String>,
}

/// After so many failures a contender sits out the remaining rounds.
const FAILURES: usize = 5;

const STEPS: [&str; 4] = ["create", "start", "wait", "remove"];

pub(crate) fn measure(
    plan: &Plan,
    floor: &mut Floor,
    daemons: &[Daemon],
    runtimes: &mut [Runtime],
    report: &mut Report,
    figures: &mut Figures,
) -> Result<()> {
    let mut floor_total = Samples::default();
    let mut floor_phases: Vec<(String, Samples)> = Vec::new();
    let mut lives: Vec<Life> = daemons.iter().map(|_| Life::default()).collect();
    let mut runs: Vec<Life> = runtimes.iter().map(|_| Life::default()).collect();
    let mut clients: Vec<Client<'_>> = daemons.iter().map(Client::new).collect();

    for round in 0..=plan.rounds {
        crate::check_interrupted()?;
        let warm = round > 0; // the first round fills caches and is thrown away
        machine::settle();
        for _ in 0..plan.fast_per_round {
            let phases = floor.run()?;
            if warm {
                floor_total.push(phases.iter().map(|(_, took)| *took).sum());
                if floor_phases.is_empty() {
                    floor_phases = phases.iter().map(|(name, _)| (name.clone(), Samples::default())).collect();
                }
                for ((_, samples), (_, took)) in floor_phases.iter_mut().zip(phases) {
                    samples.push(took);
                }
            }
            // Life by life with the floor: the ratio of these two is what the project is measured by.
            for (client, life) in clients.iter_mut().zip(&mut lives).filter(|(client, _)| pinnace(client)) {
                life.measure(client, warm);
            }
        }
        for (client, life) in clients.iter_mut().zip(&mut lives).filter(|(client, _)| !pinnace(client)) {
            machine::settle();
            life.measure(client, warm);
        }
        for (runtime, life) in runtimes.iter_mut().zip(&mut runs) {
            if life.failures.len() < FAILURES {
                machine::settle();
                match runtime.run() {
                    Ok(took) if warm => life.total.push(took),
                    Ok(_) => {}
                    Err(error) => life.failures.push(error.to_string()),
                }
            }
        }
    }

    let floor_p50 = floor_total.p50().unwrap_or(f64::NAN);
    let served = daemons.iter().map(|daemon| daemon.kind.name()).zip(&lives);
    let contenders: Vec<(&str, &Life)> = served.chain(runtimes.iter().map(|runtime| runtime.name).zip(&runs)).collect();
    report_lives(floor_p50, &floor_total, &contenders, report);
    report_floor(&floor_phases, report);
    let pinnace = daemons
        .iter()
        .zip(&lives)
        .find(|(daemon, _)| daemon.kind == Kind::Pinnace)
        .and_then(|(_, life)| life.total.p50());
    figures.floor_p50 = floor_total.p50();
    figures.pinnace_p50 = pinnace;
    Ok(())
}

fn pinnace(client: &Client<'_>) -> bool {
    client.daemon().kind == Kind::Pinnace
}

impl Life {
    /// One life of each kind.
    fn measure(&mut self, client: &mut Client<'_>, warm: bool) {
        if self.failures.len() >= FAILURES {
            return;
        }
        let lived = client.life().and_then(|steps| Ok((steps, client.auto_removed_life()?)));
        match lived {
            Ok((steps, auto_removed)) if warm => {
                self.total.push(steps.total());
                self.auto_removed.push(auto_removed);
                let durations: [Duration; 4] = [steps.create, steps.start, steps.wait, steps.remove];
                for (samples, duration) in self.steps.iter_mut().zip(durations) {
                    samples.push(duration);
                }
            }
            Ok(_) => {}
            Err(error) => self.failures.push(error.to_string()),
        }
    }
}

fn report_lives(floor_p50: f64, floor_total: &Samples, contenders: &[(&str, &Life)], report: &mut Report) {
    let mut rows = Vec::new();
    let mut step_rows = Vec::new();
    let mut data = Map::new();
    let mut notes = vec![
        "Times in ms. With AutoRemove: from create to the answer of `wait?condition=removed`, with two connections."
            .to_owned(),
    ];
    let floor = [("kernel floor", floor_total, None)];
    notes.extend(busy_machine(floor_total));
    for (name, total, life) in
        floor.into_iter().chain(contenders.iter().map(|&(name, life)| (name, &life.total, Some(life))))
    {
        let summary = total.summary();
        let auto = life.and_then(|life| life.auto_removed.summary());
        rows.push(vec![
            name.to_owned(),
            figure(summary.map(|summary| summary.p50 / floor_p50)),
            figure(summary.map(|summary| summary.p50)),
            figure(summary.map(|summary| summary.p99)),
            figure(auto.map(|summary| summary.p50 / floor_p50)),
            figure(auto.map(|summary| summary.p50)),
            figure(auto.map(|summary| summary.p99)),
            summary.map_or(0, |summary| summary.samples).to_string(),
        ]);
        let steps: Map<_, _> = life
            .into_iter()
            .flat_map(|life| STEPS.into_iter().zip(&life.steps))
            .filter_map(|(step, samples)| Some((step.to_owned(), json!(samples.summary()?))))
            .collect();
        if !steps.is_empty() {
            let cells = life.into_iter().flat_map(|life| &life.steps).flat_map(|samples| {
                let summary = samples.summary();
                [figure(summary.map(|summary| summary.p50)), figure(summary.map(|summary| summary.p99))]
            });
            step_rows.push([name.to_owned()].into_iter().chain(cells).collect());
        }
        let failures: &[String] = life.map_or(&[], |life| &life.failures);
        if let Some(last) = failures.last() {
            notes.push(format!("{name} failed {} times, the last time: {last}", failures.len()));
        }
        data.insert(
            name.to_owned(),
            json!({ "total": summary, "auto_remove": auto, "steps": steps, "failures": failures }),
        );
    }
    report.table(
        "create + start + wait + remove of `true`, network none",
        &notes.join("\n"),
        &["contender", "x floor", "p50", "p99", "AutoRemove x floor", "p50", "p99", "samples"],
        rows,
        data.into(),
    );
    let columns = ["contender", "create p50", "p99", "start p50", "p99", "wait p50", "p99", "remove p50", "p99"];
    report.table("Each step", "Times in ms.", &columns, step_rows, json!({}));
}

/// Says so if something else used the machine: the floor alone would cost about the same every time.
fn busy_machine(floor: &Samples) -> Option<String> {
    let summary = floor.summary().filter(|summary| summary.p50 > 1.5 * summary.min)?;
    Some(format!(
        "The machine was busy with something else: the floor's p50 is {:.1} times its minimum of {:.2} ms. What a \
         contender leaves to be done behind the answer, the floor does in front of it, so that a busy disk flatters \
         the ratios of those that do.",
        summary.p50 / summary.min,
        summary.min
    ))
}

fn report_floor(phases: &[(String, Samples)], report: &mut Report) {
    let mut data = Map::new();
    let rows = phases
        .iter()
        .map(|(name, samples)| {
            let summary = samples.summary();
            data.insert(name.clone(), json!(summary));
            vec![name.clone(), figure(summary.map(|summary| summary.p50)), figure(summary.map(|summary| summary.p99))]
        })
        .collect();
    report.table("Where the kernel floor goes", "Times in ms.", &["phase", "p50", "p99"], rows, data.into());
}
