//! The database: the only truth about what should exist.
//!
//! All writes go through one task with one connection, which puts whatever waits into one transaction. SQLite runs in
//! WAL mode with `synchronous = NORMAL`: a commit does not wait for the disk. Writes that were asked to be
//! [`Durability::Durable`] are answered only after an `fdatasync` of the write-ahead log that began after their commit;
//! one such sync answers everything that was committed before it began, so that 32 creates at once do not pay 32.
//! SQLite itself syncs the log before a checkpoint.

pub mod containers;
mod error;
pub mod events;
pub mod images;
mod writer;

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

pub use error::StoreError;
pub use sqlx::SqliteConnection;

/// Whether an acknowledged write must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk when it is acknowledged.
    Durable,
    /// Survives a kill of the daemon; a power cut may take it.
    Relaxed,
}

/// The open database.
#[derive(Debug, Clone)]
pub struct Store {
    readers: SqlitePool,
    writer: writer::Writer,
}

impl Store {
    /// Opens the database, makes it if there is none, and migrates it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(StoreError::Open)?;
        sqlx::migrate!("../migrations").run(&mut connection).await.map_err(StoreError::Migrate)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .min_connections(0)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        let writer = writer::Writer::start(connection, path).map_err(StoreError::OpenLog)?;
        Ok(Self { readers, writer })
    }

    /// Runs `operation` in a write transaction; its error undoes what it did, and nothing else.
    pub async fn write<T, F>(&self, durability: Durability, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.writer.run(durability, operation).await
    }

    /// Queues a write in order with the others, and does not wait for it. It survives a kill of the daemon only once it
    /// is carried out: for what the kernel and the helpers can tell again. A failure is logged.
    pub async fn enqueue<F>(&self, operation: F)
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), StoreError>> + Send + 'static,
    {
        if let Err(error) = self.writer.submit(Durability::Relaxed, operation).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a write was not queued");
        }
    }

    /// Returns a connection to read from.
    pub async fn read(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(StoreError::Query)
    }

    /// Carries out what was asked before, checkpoints, and closes the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
