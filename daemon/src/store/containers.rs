//! Rows of `containers`.

use sqlx::SqliteConnection;

use super::StoreError;
use crate::clock::Timestamp;
use crate::container::lifecycle::Lifecycle;
use crate::container::spec::ContainerSpec;
use crate::id::Id;

/// A container as the database has it.
#[derive(Debug, Clone)]
pub struct StoredContainer {
    pub id: Id,
    pub name: String,
    pub created: Timestamp,
    pub image_id: String,
    pub layer: String,
    pub spec: ContainerSpec,
    pub lifecycle: Lifecycle,
}

/// Returns every container; a row that cannot be read is an error of its own and hides no other.
pub async fn all(connection: &mut SqliteConnection) -> Result<Vec<Result<StoredContainer, StoreError>>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", name, created_ns, image_id, layer, spec, facts FROM containers ORDER BY created_ns"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let inconsistent = |column, detail: String| StoreError::Inconsistent {
                table: "containers",
                column,
                row: row.id.clone(),
                detail,
            };
            Ok(StoredContainer {
                id: Id::parse(&row.id).ok_or_else(|| inconsistent("id", "no container id".to_owned()))?,
                created: Timestamp(row.created_ns),
                spec: serde_json::from_str(&row.spec).map_err(|error| inconsistent("spec", error.to_string()))?,
                lifecycle: serde_json::from_str(&row.facts)
                    .map_err(|error| inconsistent("facts", error.to_string()))?,
                name: row.name,
                image_id: row.image_id,
                layer: row.layer,
            })
        })
        .collect())
}

/// Inserts a container. A name that is taken is a unique violation, a layer that is gone a foreign key violation.
pub async fn insert(connection: &mut SqliteConnection, container: &StoredContainer) -> Result<(), StoreError> {
    let id = container.id.as_str();
    let spec = serde_json::to_string(&container.spec).expect("a spec is JSON");
    let facts = serde_json::to_string(&container.lifecycle).expect("a lifecycle is JSON");
    let state = container.lifecycle.column();
    sqlx::query!(
        "INSERT INTO containers (id, name, created_ns, image_id, layer, auto_remove, spec, state, facts)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        container.name,
        container.created.0,
        container.image_id,
        container.layer,
        container.spec.auto_remove,
        spec,
        state,
        facts
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a container's state.
pub async fn set_lifecycle(
    connection: &mut SqliteConnection,
    id: &Id,
    lifecycle: &Lifecycle,
) -> Result<(), StoreError> {
    let id = id.as_str();
    let state = lifecycle.column();
    let facts = serde_json::to_string(lifecycle).expect("a lifecycle is JSON");
    sqlx::query!("UPDATE containers SET state = ?, facts = ? WHERE id = ?", state, facts, id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Renames a container. A name that is taken is a unique violation.
pub async fn rename(connection: &mut SqliteConnection, id: &Id, name: &str) -> Result<(), StoreError> {
    let id = id.as_str();
    sqlx::query!("UPDATE containers SET name = ? WHERE id = ?", name, id).execute(connection).await?;
    Ok(())
}

/// Deletes a container.
pub async fn delete(connection: &mut SqliteConnection, id: &Id) -> Result<(), StoreError> {
    let id = id.as_str();
    sqlx::query!("DELETE FROM containers WHERE id = ?", id).execute(connection).await?;
    Ok(())
}
