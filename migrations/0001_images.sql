-- An unpacked layer: layers/<chain_id> under the data root.
CREATE TABLE layers (
    chain_id   TEXT PRIMARY KEY CHECK (length(chain_id) = 64),
    diff_id    TEXT NOT NULL CHECK (length(diff_id) = 64),
    parent     TEXT REFERENCES layers (chain_id),
    -- Sum of the sizes of its regular files and links, in bytes.
    size       INTEGER NOT NULL CHECK (size >= 0),
    created_ns INTEGER NOT NULL
) STRICT;

CREATE INDEX layers_parent ON layers (parent);

-- An image: its configuration is blobs/sha256/<id> under the data root.
CREATE TABLE images (
    id             TEXT PRIMARY KEY CHECK (length(id) = 64),
    -- The topmost layer; with its parents it stays as long as the image does.
    layer          TEXT NOT NULL REFERENCES layers (chain_id),
    -- The manifest that the image came with, blobs/sha256/<manifest>; NULL if it came without.
    manifest       TEXT CHECK (length(manifest) = 64),
    created_ns     INTEGER NOT NULL,
    last_tagged_ns INTEGER
) STRICT;

CREATE INDEX images_layer ON images (layer);

-- A name of an image. The repository is the full one, such as docker.io/library/busybox.
CREATE TABLE tags (
    repository TEXT NOT NULL CHECK (length(repository) > 0),
    tag        TEXT NOT NULL CHECK (length(tag) BETWEEN 1 AND 128),
    image_id   TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_image ON tags (image_id);
