//! Rows of `events`.

use sqlx::SqliteConnection;

use super::StoreError;
use crate::clock::Timestamp;
use crate::events::Event;

/// Returns the last `count` events, oldest first.
pub async fn last(connection: &mut SqliteConnection, count: usize) -> Result<Vec<Event>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = sqlx::query!(
        r#"SELECT seq AS "seq!", time_ns, type AS kind, action, actor, attributes FROM events ORDER BY seq DESC LIMIT ?"#,
        count
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .rev()
        .map(|row| {
            Ok(Event {
                seq: row.seq.unsigned_abs(),
                time: Timestamp(row.time_ns),
                kind: row.kind,
                action: row.action,
                actor: row.actor,
                attributes: serde_json::from_str(&row.attributes).map_err(|error| StoreError::Inconsistent {
                    table: "events",
                    column: "attributes",
                    row: row.seq.to_string(),
                    detail: error.to_string(),
                })?,
            })
        })
        .collect()
}

/// Inserts one event.
pub async fn insert(connection: &mut SqliteConnection, event: &Event) -> Result<(), StoreError> {
    let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
    let attributes = serde_json::to_string(&event.attributes).expect("a map of strings is JSON");
    sqlx::query!(
        "INSERT INTO events (seq, time_ns, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?, ?)",
        seq,
        event.time.0,
        event.kind,
        event.action,
        event.actor,
        attributes
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the events up to the one with this number.
pub async fn delete_before(connection: &mut SqliteConnection, seq: u64) -> Result<(), StoreError> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    sqlx::query!("DELETE FROM events WHERE seq <= ?", seq).execute(connection).await?;
    Ok(())
}
