//! Many clients at once: lives per second, and how long one life takes then.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use crate::Plan;
use crate::Result;
use crate::container::Client;
use crate::daemon::{Daemon, Kind};
use crate::floor::{Floor, Shape};
use crate::image::Image;
use crate::report::{Report, figure};
use crate::stats::Samples;
use crate::targets::Figures;

/// Clients at once.
const CLIENTS: [usize; 3] = [1, 8, 32];

/// What the floor needs to be started once per client.
#[derive(Debug)]
pub(crate) struct FloorSetting<'a> {
    pub(crate) binaries: &'a Path,
    pub(crate) scratch: &'a Path,
    pub(crate) image: &'a Image,
    pub(crate) shape: &'a Shape,
    pub(crate) cgroup: &'a str,
}

/// Lives that one crowd of clients lived.
struct Crowd {
    lives: Samples,
    elapsed: Duration,
}

pub(crate) fn measure(
    plan: &Plan,
    setting: &FloorSetting<'_>,
    daemons: &[Daemon],
    report: &mut Report,
    figures: &mut Figures,
) -> Result<()> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut data = Map::new();
    let mut notes = vec!["Lives (create, start, wait, remove) per second; p50 and p99 of one life in ms.".to_owned()];
    let mut record = |name: &str, clients: usize, crowd: Result<Crowd>| -> Option<f64> {
        let crowd = crowd.map_err(|error| notes.push(format!("{name} with {clients} clients failed: {error}"))).ok()?;
        let summary = crowd.lives.summary()?;
        #[expect(clippy::cast_precision_loss, reason = "a count of samples is far below 2^52")]
        let rate = summary.samples as f64 / crowd.elapsed.as_secs_f64();
        rows.push(vec![
            name.to_owned(),
            clients.to_string(),
            figure(Some(rate)),
            figure(Some(summary.p50)),
            figure(Some(summary.p99)),
            summary.samples.to_string(),
        ]);
        data.insert(format!("{name}, {clients}"), json!({ "per_second": rate, "life": summary }));
        Some(rate)
    };
    for clients in CLIENTS {
        crate::check_interrupted()?;
        record("kernel floor", clients, floor_crowd(setting, clients, plan.crowd));
        for daemon in daemons {
            let rate = record(daemon.kind.name(), clients, daemon_crowd(daemon, clients, plan.crowd));
            if daemon.kind == Kind::Pinnace {
                figures.lives_per_second.extend(rate.map(|rate| (clients, rate)));
            }
        }
    }
    report.table(
        "Many clients at once",
        &notes.join("\n"),
        &["contender", "clients", "lives/s", "p50", "p99", "samples"],
        rows,
        data.into(),
    );
    Ok(())
}

fn daemon_crowd(daemon: &Daemon, clients: usize, duration: Duration) -> Result<Crowd> {
    let clients = (0..clients).map(|_| Client::new(daemon)).collect();
    crowd(clients, duration, |client: &mut Client<'_>| client.life().map(|steps| steps.total()))
}

fn floor_crowd(setting: &FloorSetting<'_>, clients: usize, duration: Duration) -> Result<Crowd> {
    let start = |_| Floor::start(setting.binaries, setting.scratch, setting.image, setting.shape, setting.cgroup);
    let floors = (0..clients).map(start).collect::<Result<Vec<_>>>()?;
    crowd(floors, duration, |floor: &mut Floor| Ok(floor.run()?.iter().map(|(_, took)| *took).sum()))
}

/// Lets every client live one life after the other until the time is over; the last life of each is finished.
fn crowd<C: Send>(
    clients: Vec<C>,
    duration: Duration,
    life: impl Fn(&mut C) -> Result<Duration> + Sync,
) -> Result<Crowd> {
    let began = Instant::now();
    let results: Vec<Result<Samples>> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let life = &life;
                scope.spawn(move || {
                    let mut samples = Samples::default();
                    while began.elapsed() < duration {
                        crate::check_interrupted()?;
                        samples.push(life(&mut client)?);
                    }
                    Ok(samples)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into()))).collect()
    });
    let elapsed = began.elapsed();
    let mut lives = Samples::default();
    for samples in results {
        lives.append(samples?);
    }
    Ok(Crowd { lives, elapsed })
}
