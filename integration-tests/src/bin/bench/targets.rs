//! What the project promises beside what was measured.

use serde_json::json;

use crate::report::{Report, figure};

/// The figures that the project has targets for.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) floor_p50: Option<f64>,
    pub(crate) pinnace_p50: Option<f64>,
    /// `(clients, lives per second)`.
    pub(crate) lives_per_second: Vec<(usize, f64)>,
    pub(crate) exec_p50: Option<f64>,
    pub(crate) daemon_mib: Option<f64>,
    pub(crate) helper_mib: Option<f64>,
    pub(crate) attach_rate: Option<f64>,
}

/// Adds the table of the targets, in front of the others.
pub(crate) fn report(figures: &Figures, report: &mut Report) {
    let rate =
        |clients: usize| figures.lives_per_second.iter().find(|(count, _)| *count == clients).map(|(_, rate)| *rate);
    let gain = |clients: usize| Some(rate(clients)? / rate(1)?);
    let at_most = |limit: f64, value: Option<f64>| (value, value.map(|value| value <= limit));
    let at_least = |limit: f64, value: Option<f64>| (value, value.map(|value| value >= limit));
    let above = |limit: f64, value: Option<f64>| (value, value.map(|value| value > limit));
    let targets = [
        (
            "create + start + wait + remove at most 2 x the floor (p50)",
            at_most(2.0, figures.pinnace_p50.zip(figures.floor_p50).map(|(p50, floor)| p50 / floor)),
        ),
        ("8 clients get more lives per second than one (factor)", above(1.0, gain(8))),
        ("32 clients get more lives per second than one (factor)", above(1.0, gain(32))),
        ("exec at most 5 ms (p50)", at_most(5.0, figures.exec_p50)),
        ("helper below 1 MiB PSS", at_most(1.0, figures.helper_mib)),
        ("daemon below 20 MiB PSS idle", at_most(20.0, figures.daemon_mib)),
        ("64-byte lines through log and attach at 300 MB/s or more", at_least(300.0, figures.attach_rate)),
    ];
    let rows = targets
        .iter()
        .map(|(target, (value, met))| {
            let verdict = match met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not measured",
            };
            vec![(*target).to_owned(), figure(*value), verdict.to_owned()]
        })
        .collect();
    let data = targets
        .iter()
        .map(|(target, (value, met))| json!({ "target": target, "measured": value, "met": met }))
        .collect();
    report.table(
        "Targets",
        &format!("The kernel floor: {} ms at p50.", figure(figures.floor_p50)),
        &["target", "measured", "met"],
        rows,
        data,
    );
    report.last_first();
}
