//! Rows of `layers`, `images` and `tags`.

use sqlx::SqliteConnection;

use super::StoreError;
use crate::image::digest::Digest;
use crate::image::reference::Tagged;

/// A row of `layers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerRow {
    pub chain_id: Digest,
    pub diff_id: Digest,
    pub parent: Option<Digest>,
    pub size_bytes: u64,
    pub created_ns: i64,
}

/// A row of `images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRow {
    pub id: Digest,
    pub layer: Digest,
    pub manifest: Option<Digest>,
    pub created_ns: i64,
    pub last_tagged_ns: Option<i64>,
}

/// A row of `tags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    pub tagged: Tagged,
    pub image_id: Digest,
}

/// Returns every layer.
pub async fn layers(connection: &mut SqliteConnection) -> Result<Vec<LayerRow>, StoreError> {
    let rows =
        sqlx::query!("SELECT chain_id, diff_id, parent, size, created_ns FROM layers").fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let digest = |column, text: &str| digest("layers", column, &row.chain_id, text);
            Ok(LayerRow {
                chain_id: digest("chain_id", &row.chain_id)?,
                diff_id: digest("diff_id", &row.diff_id)?,
                parent: row.parent.as_deref().map(|parent| digest("parent", parent)).transpose()?,
                size_bytes: row.size.unsigned_abs(),
                created_ns: row.created_ns,
            })
        })
        .collect()
}

/// Returns every image.
pub async fn images(connection: &mut SqliteConnection) -> Result<Vec<ImageRow>, StoreError> {
    let rows = sqlx::query!("SELECT id, layer, manifest, created_ns, last_tagged_ns FROM images")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            let digest = |column, text: &str| digest("images", column, &row.id, text);
            Ok(ImageRow {
                id: digest("id", &row.id)?,
                layer: digest("layer", &row.layer)?,
                manifest: row.manifest.as_deref().map(|manifest| digest("manifest", manifest)).transpose()?,
                created_ns: row.created_ns,
                last_tagged_ns: row.last_tagged_ns,
            })
        })
        .collect()
}

/// Returns every tag.
pub async fn tags(connection: &mut SqliteConnection) -> Result<Vec<TagRow>, StoreError> {
    let rows = sqlx::query!("SELECT repository, tag, image_id FROM tags").fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let name = format!("{}:{}", row.repository, row.tag);
            let tagged = Tagged::from_stored(&row.repository, &row.tag).map_err(|error| StoreError::Inconsistent {
                table: "tags",
                column: "repository",
                row: name.clone(),
                detail: error.to_string(),
            })?;
            Ok(TagRow { tagged, image_id: digest("tags", "image_id", &name, &row.image_id)? })
        })
        .collect()
}

/// Inserts a layer that may be there already; its parent must be.
pub async fn insert_layer(connection: &mut SqliteConnection, layer: &LayerRow) -> Result<(), StoreError> {
    let (chain_id, diff_id) = (layer.chain_id.hex(), layer.diff_id.hex());
    let parent = layer.parent.map(|parent| parent.hex());
    let size = i64::try_from(layer.size_bytes).unwrap_or(i64::MAX);
    sqlx::query!(
        "INSERT INTO layers (chain_id, diff_id, parent, size, created_ns) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        chain_id,
        diff_id,
        parent,
        size,
        layer.created_ns
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Inserts an image that may be there already; its layers must be.
pub async fn insert_image(connection: &mut SqliteConnection, image: &ImageRow) -> Result<(), StoreError> {
    let (id, layer) = (image.id.hex(), image.layer.hex());
    let manifest = image.manifest.map(|manifest| manifest.hex());
    sqlx::query!(
        "INSERT INTO images (id, layer, manifest, created_ns, last_tagged_ns) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET manifest = coalesce(images.manifest, excluded.manifest)",
        id,
        layer,
        manifest,
        image.created_ns,
        image.last_tagged_ns
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives an image a name, taking it from the image that has it. `tagged_ns` is when a client asked for it.
pub async fn put_tag(
    connection: &mut SqliteConnection,
    tag: &TagRow,
    tagged_ns: Option<i64>,
) -> Result<(), StoreError> {
    let (repository, name, image_id) = (tag.tagged.repository.full(), &tag.tagged.tag, tag.image_id.hex());
    sqlx::query!(
        "INSERT INTO tags (repository, tag, image_id) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET image_id = excluded.image_id",
        repository,
        name,
        image_id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE images SET last_tagged_ns = coalesce(?, last_tagged_ns) WHERE id = ?", tagged_ns, image_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes a name from whatever image has it.
pub async fn delete_tag(connection: &mut SqliteConnection, tagged: &Tagged) -> Result<(), StoreError> {
    let (repository, tag) = (tagged.repository.full(), &tagged.tag);
    sqlx::query!("DELETE FROM tags WHERE repository = ? AND tag = ?", repository, tag).execute(connection).await?;
    Ok(())
}

/// Deletes an image with its names; its layers stay.
pub async fn delete_image(connection: &mut SqliteConnection, id: &Digest) -> Result<(), StoreError> {
    let id = id.hex();
    sqlx::query!("DELETE FROM images WHERE id = ?", id).execute(connection).await?;
    Ok(())
}

/// Deletes from the top those layers of a chain, given the lowest first, that no image, no container and no layer above
/// needs; returns them.
pub async fn delete_unused_layers(
    connection: &mut SqliteConnection,
    chain: &[Digest],
) -> Result<Vec<Digest>, StoreError> {
    let mut deleted = Vec::new();
    for layer in chain.iter().rev() {
        let chain_id = layer.hex();
        let result = sqlx::query!(
            "DELETE FROM layers WHERE chain_id = ?
             AND NOT EXISTS (SELECT 1 FROM images WHERE layer = layers.chain_id)
             AND NOT EXISTS (SELECT 1 FROM containers WHERE layer = layers.chain_id)
             AND NOT EXISTS (SELECT 1 FROM layers AS child WHERE child.parent = layers.chain_id)",
            chain_id
        )
        .execute(&mut *connection)
        .await?;
        if result.rows_affected() == 0 {
            break;
        }
        deleted.push(*layer);
    }
    Ok(deleted)
}

fn digest(table: &'static str, column: &'static str, row: &str, text: &str) -> Result<Digest, StoreError> {
    Digest::from_hex(text).map_err(|error| StoreError::Inconsistent {
        table,
        column,
        row: row.to_owned(),
        detail: error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Inserts a container that holds a layer, with nothing else in it.
    pub(crate) async fn insert_container(
        connection: &mut SqliteConnection,
        id: String,
        layer: String,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO containers (id, name, created_ns, image_id, layer, auto_remove, spec, state, facts)
             VALUES (?, 'holder', 0, '', ?, 0, '{}', 'exited', '{}')",
        )
        .bind(id)
        .bind(layer)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Deletes all containers.
    pub(crate) async fn delete_containers(connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM containers").execute(connection).await?;
        Ok(())
    }
}
