//! What can go wrong with the database.

use crate::error::{Classify, ErrorKind};

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open the database")]
    Open(#[source] sqlx::Error),
    #[error("open the database's write-ahead log")]
    OpenLog(#[source] std::io::Error),
    #[error("migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("database")]
    Query(#[source] sqlx::Error),
    #[error("sync the database's write-ahead log: {0}")]
    Sync(String),
    #[error("commit to the database: {0}")]
    Commit(String),
    #[error("the database is closed")]
    Closed,
    /// A value that this daemon cannot have written.
    #[error("inconsistent row {row} in {table}.{column}: {detail}")]
    Inconsistent { table: &'static str, column: &'static str, row: String, detail: String },
}

impl StoreError {
    /// Returns whether a UNIQUE or PRIMARY KEY constraint refused the write.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Query(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Returns whether a foreign key refused the write.
    pub fn is_foreign_key_violation(&self) -> bool {
        matches!(self, Self::Query(sqlx::Error::Database(error)) if error.is_foreign_key_violation())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error)
    }
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}
