//! What happened, in order: numbered events in a bounded ring, followed by cursor and written to the database behind.
//!
//! Publishing never waits. A follower remembers the number of the last event that it has seen and takes what came after
//! it; one that falls more than [`RING`] events behind loses the oldest. Rows are written in batches by one task, which
//! a kill of the daemon may deprive of the last few milliseconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::store::{Durability, Store, StoreError, events as rows};

/// Events that are kept, in memory and in the database (arbitrary; Docker keeps 256 and forgets them at a restart).
pub const RING: usize = 4096;

/// What kind of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Container,
    Image,
    Network,
    Volume,
    Daemon,
}

impl Kind {
    /// Returns the API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number: one more than the event's before it.
    pub seq: u64,
    pub time: Timestamp,
    /// One of the words of [`Kind`].
    pub kind: String,
    pub action: String,
    /// Id of the object.
    pub actor: String,
    pub attributes: BTreeMap<String, String>,
}

/// The event bus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
    /// Number of the last event that is in the database.
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    next: u64,
}

impl Events {
    /// Loads the last events and starts the task that writes new ones.
    pub async fn open(store: Store) -> Result<Self, StoreError> {
        let mut reader = store.read().await?;
        let events: VecDeque<_> = rows::last(&mut reader, RING).await?.into_iter().map(Arc::new).collect();
        drop(reader);
        let last_seq = events.back().map_or(0, |event| event.seq);
        let (last, follower) = watch::channel(last_seq);
        let written = watch::Sender::new(last_seq);
        let bus =
            Self { shared: Arc::new(Shared { ring: Mutex::new(Ring { events, next: last_seq + 1 }), last, written }) };
        crate::tasks::spawn("events-writer", write_rows(bus.clone(), follower, store, last_seq));
        Ok(bus)
    }

    /// Records that something happened, now.
    pub fn publish(
        &self,
        kind: Kind,
        action: impl Into<String>,
        actor: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let mut ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = ring.next;
        ring.next += 1;
        // Never earlier than the event before it, also when the wall clock is set back.
        let time = ring.events.back().map_or(Timestamp::now(), |before| before.time.max(Timestamp::now()));
        if ring.events.len() == RING {
            ring.events.pop_front();
        }
        ring.events.push_back(Arc::new(Event {
            seq,
            time,
            kind: kind.as_str().to_owned(),
            action: action.into(),
            actor: actor.into(),
            attributes,
        }));
        self.shared.last.send_replace(seq);
    }

    /// Returns the events after the one with this number, oldest first.
    pub fn after(&self, seq: u64) -> Vec<Arc<Event>> {
        let ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let start = ring.events.partition_point(|event| event.seq <= seq);
        ring.events.range(start..).cloned().collect()
    }

    /// Returns the number of the last event.
    pub fn last(&self) -> u64 {
        *self.shared.last.borrow()
    }

    /// Waits until what has happened so far is in the database, for the daemon's end.
    pub async fn flush(&self) {
        let last = self.last();
        // The sender lives as long as this does.
        crate::error::ignore(self.shared.written.subscribe().wait_for(|written| *written >= last).await);
    }

    /// Returns a receiver of the last event's number.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.shared.last.subscribe()
    }
}

async fn write_rows(bus: Events, mut follower: watch::Receiver<u64>, store: Store, mut written: u64) {
    while follower.changed().await.is_ok() {
        let batch = bus.after(written);
        let Some(newest) = batch.last().map(|event| event.seq) else { continue };
        let result = store
            .write(Durability::Relaxed, move |connection| {
                Box::pin(async move {
                    for event in &batch {
                        rows::insert(connection, event).await?;
                    }
                    rows::delete_before(connection, newest.saturating_sub(RING as u64)).await
                })
            })
            .await;
        match result {
            Ok(()) => {
                written = newest;
                bus.shared.written.send_replace(newest);
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "events were not written"),
        }
    }
}
