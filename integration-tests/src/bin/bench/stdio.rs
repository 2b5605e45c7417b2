//! How fast a container's output comes through: attached while it is logged, and read back from the log.

use std::io::{self, BufRead, BufReader};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use crate::Plan;
use crate::Result;
use crate::container::{Client, versioned};
use crate::daemon::{Daemon, Kind};
use crate::http;
use crate::report::{Report, figure};
use crate::targets::Figures;

const MIB: u64 = 1024 * 1024;

/// Written first, to learn how much fits into the time.
const PROBE: u64 = 16 * MIB;

/// Written at most.
const MOST: u64 = 1024 * MIB;

struct Flow {
    bytes: u64,
    elapsed: Duration,
}

impl Flow {
    /// MB (10^6 bytes) per second.
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a GiB is far below 2^52")]
        let megabytes = self.bytes as f64 / 1e6;
        megabytes / self.elapsed.as_secs_f64().max(1e-9)
    }
}

pub(crate) fn measure(plan: &Plan, daemons: &[Daemon], report: &mut Report, figures: &mut Figures) -> Result<()> {
    let mut rows = Vec::new();
    let mut data = Map::new();
    let mut notes = vec![
        "A container writes 64-byte lines as fast as it can (blocks of 64 KiB) with the default log; MB/s of payload. \
         Read back: `GET logs` of what the log kept."
            .to_owned(),
    ];
    for daemon in daemons {
        crate::check_interrupted()?;
        let name = daemon.kind.name();
        match flows(daemon, plan.output) {
            Ok((attached, lost, read_back)) => {
                if lost > 0 {
                    notes.push(format!("{name} lost {lost} bytes of the attached stream."));
                }
                rows.push(vec![
                    name.to_owned(),
                    figure(Some(attached.rate())),
                    (attached.bytes / MIB).to_string(),
                    figure(Some(read_back.rate())),
                    (read_back.bytes / MIB).to_string(),
                ]);
                data.insert(
                    name.to_owned(),
                    json!({ "attach_mb_per_s": attached.rate(), "attach_bytes": attached.bytes, "lost_bytes": lost,
                            "read_back_mb_per_s": read_back.rate(), "read_back_bytes": read_back.bytes }),
                );
                if daemon.kind == Kind::Pinnace {
                    figures.attach_rate = Some(attached.rate());
                }
            }
            Err(error) => notes.push(format!("{name} failed: {error}")),
        }
    }
    report.table(
        "Output",
        &notes.join("\n"),
        &["contender", "attach MB/s", "MiB written", "read back MB/s", "MiB read in all"],
        rows,
        data.into(),
    );
    Ok(())
}

fn flows(daemon: &Daemon, time: Duration) -> Result<(Flow, u64, Flow)> {
    let mut client = Client::new(daemon);
    let (probe, _, id) = attached(&mut client, PROBE)?;
    client.remove(&id)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive rate times seconds, then limited"
    )]
    let fits = (probe.rate() * 1e6 * time.as_secs_f64()) as u64;
    let (flow, lost, id) = attached(&mut client, fits.clamp(PROBE, MOST))?;

    let path = versioned(&format!("/containers/{id}/logs?stdout=1&stderr=1"));
    let began = Instant::now();
    let mut bytes = 0;
    // A short log is read several times; a slow one is given up when the time is over.
    while began.elapsed() < time {
        let read = http::stream(&daemon.socket, &path, |body| {
            Ok(count(&mut BufReader::with_capacity(256 * 1024, body), Some(began + time))?.0)
        })?;
        if read == 0 {
            break;
        }
        bytes += read;
    }
    let read_back = Flow { bytes, elapsed: began.elapsed() };
    client.remove(&id)?;
    Ok((flow, lost, read_back))
}

/// Runs a container that writes `bytes`, and reads them attached. Returns the flow, the bytes that are missing, and the
/// container's id.
fn attached(client: &mut Client<'_>, bytes: u64) -> Result<(Flow, u64, String)> {
    let id = client.create(&["/lines", &bytes.to_string()], false)?;
    let path = versioned(&format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1"));
    let mut output = http::hijack(&client.daemon().socket, &path, &json!({}))?;
    let reader = thread::spawn(move || {
        let counted = count(&mut output, None);
        counted.map(|(bytes, first)| Flow { bytes, elapsed: first.map_or(Duration::ZERO, |first| first.elapsed()) })
    });
    client.start(&id)?;
    let flow = reader.join().map_err(|_panic| "the reader panicked")??;
    client.wait(&id)?;
    let lost = bytes.saturating_sub(flow.bytes);
    Ok((flow, lost, id))
}

/// Counts the payload of a multiplexed stream (an 8-byte head with the length before each frame) up to its end; also
/// when its first byte came. After `deadline` the rest is left unread.
fn count(stream: &mut impl BufRead, deadline: Option<Instant>) -> io::Result<(u64, Option<Instant>)> {
    let mut total = 0;
    let mut first = None;
    loop {
        if stream.fill_buf()?.is_empty() || deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Ok((total, first));
        }
        first.get_or_insert_with(Instant::now);
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let [_, _, _, _, length @ ..] = head;
        let mut left = u64::from(u32::from_be_bytes(length));
        total += left;
        while left > 0 {
            let available = stream.fill_buf()?.len() as u64;
            if available == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = available.min(left);
            stream.consume(usize::try_from(taken).map_err(io::Error::other)?);
            left -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_payload_is_counted_and_a_torn_frame_is_an_error() {
        let frames = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x02de";
        assert_eq!(count(&mut BufReader::with_capacity(4, &frames[..]), None).unwrap().0, 5);
        assert!(count(&mut &frames[..frames.len() - 1], None).is_err());
    }
}
