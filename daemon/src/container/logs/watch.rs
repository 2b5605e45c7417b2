//! One inotify instance for all followed logs: the kernel allows a user few of them (128 by default).

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::sys;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest;
use tokio::sync::watch;

struct Watches {
    inotify: Inotify,
    senders: Mutex<HashMap<WatchDescriptor, watch::Sender<u64>>>,
}

static WATCHES: OnceLock<Watches> = OnceLock::new();

/// Returns a receiver that changes when a file in the directory is written or made.
pub(super) fn directory(path: &Path) -> io::Result<watch::Receiver<u64>> {
    let watches = match WATCHES.get() {
        Some(watches) => watches,
        None => start()?,
    };
    let mut senders = watches.senders.lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock, so that an event finds its sender.
    let descriptor = watches
        .inotify
        .add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR)?;
    let sender = senders.entry(descriptor).or_insert_with(|| watch::Sender::new(0));
    Ok(sender.subscribe())
}

fn start() -> io::Result<&'static Watches> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let poller = sys::watch(inotify.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
    let mut first = false;
    let watches = WATCHES.get_or_init(|| {
        first = true;
        Watches { inotify, senders: Mutex::new(HashMap::new()) }
    });
    if first {
        crate::tasks::spawn("log-watch", async move {
            loop {
                match poller.readable().await {
                    Ok(mut guard) => {
                        watches.drain();
                        guard.clear_ready();
                    }
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "logs cannot be followed");
                        return;
                    }
                }
            }
        });
    }
    Ok(watches)
}

impl Watches {
    fn drain(&self) {
        while let Ok(events) = self.inotify.read_events() {
            let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                let gone = match senders.get(&event.wd) {
                    Some(sender) if sender.receiver_count() > 0 => {
                        sender.send_modify(|count| *count += 1);
                        event.mask.contains(AddWatchFlags::IN_IGNORED)
                    }
                    Some(_) => {
                        // Nobody follows any more. An error means that the directory is gone, and the watch with it.
                        crate::error::ignore(self.inotify.rm_watch(event.wd));
                        true
                    }
                    None => false,
                };
                if gone {
                    senders.remove(&event.wd);
                }
            }
        }
    }
}
