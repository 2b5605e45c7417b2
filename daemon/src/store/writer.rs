//! The one writer: batches what waits into a transaction, and syncs the write-ahead log for those that asked.

use std::any::Any;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{Durability, StoreError};

/// Writes that may wait; the next one waits for a place in the queue (arbitrary, some times the parallel requests).
const QUEUE: usize = 256;

/// The most writes in one transaction, so that the first does not wait for ever (arbitrary).
const BATCH: usize = 64;

type Value = Box<dyn Any + Send>;
type Operation = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Value, StoreError>> + Send>;
type Reply = oneshot::Sender<Result<Value, StoreError>>;

enum Job {
    Write { durability: Durability, operation: Operation, reply: Reply },
    Close(oneshot::Sender<()>),
}

/// A write that is committed and waits for the disk.
type Committed = (Value, Reply);

/// A handle to the writer.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the writer's tasks.
    pub(super) fn start(connection: SqliteConnection, database: &Path) -> io::Result<Self> {
        let mut log_path = database.as_os_str().to_owned();
        log_path.push("-wal");
        // A database that was migrated has a log, and keeps it while a connection is open.
        let log = File::open(&log_path)?;
        if let Some(parent) = database.parent() {
            File::open(parent)?.sync_all()?;
        }
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (committed, to_sync) = mpsc::channel(QUEUE);
        crate::tasks::spawn("store-sync", sync_loop(Arc::new(log), to_sync));
        crate::tasks::spawn("store-writer", write_loop(connection, waiting, committed));
        Ok(Self { jobs })
    }

    pub(super) async fn run<T, F>(&self, durability: Durability, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let answer = self.submit(durability, operation).await?;
        let value = answer.await.map_err(|_closed| StoreError::Closed)??;
        Ok(*value.downcast::<T>().expect("the operation returned a T"))
    }

    /// Queues a write and does not wait for it.
    pub(super) async fn submit<T, F>(
        &self,
        durability: Durability,
        operation: F,
    ) -> Result<oneshot::Receiver<Result<Value, StoreError>>, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let operation: Operation = Box::new(move |connection| {
            Box::pin(async move { operation(connection).await.map(|value| Box::new(value) as Value) })
        });
        let (reply, answer) = oneshot::channel();
        let job = Job::Write { durability, operation, reply };
        self.jobs.send(job).await.map_err(|_closed| StoreError::Closed)?;
        Ok(answer)
    }

    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            drop(closed.await);
        }
    }
}

async fn write_loop(
    mut connection: SqliteConnection,
    mut waiting: mpsc::Receiver<Job>,
    committed: mpsc::Sender<Committed>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut close = None;
        let mut writes = Vec::with_capacity(batch.len());
        for job in batch.drain(..) {
            match job {
                Job::Write { durability, operation, reply } => writes.push((durability, operation, reply)),
                Job::Close(done) => close = Some(done),
            }
        }
        if !writes.is_empty() {
            write_batch(&mut connection, writes, &committed).await;
        }
        if let Some(done) = close {
            drop(committed);
            if let Err(error) = connection.close().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "closing the database failed");
            }
            // The asker may have gone; there is nobody to tell then.
            crate::error::ignore(done.send(()));
            return;
        }
    }
}

async fn write_batch(
    connection: &mut SqliteConnection,
    writes: Vec<(Durability, Operation, Reply)>,
    committed: &mpsc::Sender<Committed>,
) {
    if let Err(error) = connection.execute("BEGIN IMMEDIATE").await {
        let text = error.to_string();
        for (_, _, reply) in writes {
            answer(reply, Err(StoreError::Commit(text.clone())));
        }
        return;
    }
    // A lone write needs no savepoint: undoing it undoes the transaction.
    let lone = writes.len() == 1;
    let mut done = Vec::with_capacity(writes.len());
    for (durability, operation, reply) in writes {
        match run_one(connection, operation, lone).await {
            Ok(value) => done.push((durability, value, reply)),
            Err(error) => answer(reply, Err(error)),
        }
    }
    let end = if done.is_empty() { "ROLLBACK" } else { "COMMIT" };
    if let Err(error) = connection.execute(end).await {
        let text = error.to_string();
        if let Err(error) = connection.execute("ROLLBACK").await {
            tracing::debug!(error = &error as &dyn std::error::Error, "rollback after a failed commit");
        }
        for (_, _, reply) in done {
            answer(reply, Err(StoreError::Commit(text.clone())));
        }
        return;
    }
    for (durability, value, reply) in done {
        match durability {
            Durability::Relaxed => answer(reply, Ok(value)),
            Durability::Durable => {
                if let Err(mpsc::error::SendError((_, reply))) = committed.send((value, reply)).await {
                    answer(reply, Err(StoreError::Closed));
                }
            }
        }
    }
}

async fn run_one(connection: &mut SqliteConnection, operation: Operation, lone: bool) -> Result<Value, StoreError> {
    if lone {
        return operation(connection).await;
    }
    connection.execute("SAVEPOINT one").await?;
    let result = operation(connection).await;
    if result.is_err() {
        connection.execute("ROLLBACK TO one").await?;
    }
    connection.execute("RELEASE one").await?;
    result
}

async fn sync_loop(log: Arc<File>, mut to_sync: mpsc::Receiver<Committed>) {
    let mut batch = Vec::new();
    while to_sync.recv_many(&mut batch, QUEUE).await > 0 {
        let file = Arc::clone(&log);
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        let failure = match synced {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        for (value, reply) in batch.drain(..) {
            let result = match &failure {
                None => Ok(value),
                Some(text) => Err(StoreError::Sync(text.clone())),
            };
            answer(reply, result);
        }
    }
}

fn answer(reply: Reply, result: Result<Value, StoreError>) {
    // A caller that went away, or never waited, does not want its answer; a failure is told to somebody all the same.
    if let Err(Err(error)) = reply.send(result) {
        tracing::error!(error = &error as &dyn std::error::Error, "a write that nobody waited for failed");
    }
}
