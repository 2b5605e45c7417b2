//! Images as the API shows them.

use std::collections::BTreeMap;

use api_schema::ApiVersion;
use api_schema::container::GraphDriver;
use api_schema::image::{DeleteItem, HistoryItem, Inspect, Metadata, RootFs, Summary};
use api_schema::progress::{Message, ProgressDetail};
use serde_json::{Value, json};

use super::document::seconds;
use super::list::Listed;
use super::{Image, Images, Removal, Report};
use crate::clock::ZERO_TIME;
use crate::units::human_size;

/// Width of the bar in the progress text, as dockerd draws it.
const BAR: u64 = 50;

/// Name of the storage driver, as clients know it.
const DRIVER: &str = "overlay2";

/// Shows an image of the list. `containers` is how many are made from it.
pub fn summary(listed: &Listed, containers: usize, shared_size: bool, version: ApiVersion) -> Summary {
    let image = &listed.image;
    let size = signed(image.size_bytes);
    let mut repo_tags: Vec<String> = listed.tags.iter().map(ToString::to_string).collect();
    let mut repo_digests = Vec::new();
    if repo_tags.is_empty() && version < ApiVersion::v1(43) {
        repo_tags.push("<none>:<none>".to_owned());
        repo_digests.push("<none>@<none>".to_owned());
    }
    Summary {
        containers: if version < ApiVersion::v1(51) { -1 } else { i64::try_from(containers).unwrap_or(i64::MAX) },
        created: image.document.created_seconds(),
        id: image.id.clone(),
        labels: (!image.config.labels.is_empty()).then(|| image.config.labels.clone()),
        parent_id: String::new(),
        repo_digests,
        repo_tags,
        shared_size: if shared_size { signed(listed.shared_bytes) } else { -1 },
        size,
        virtual_size: (version < ApiVersion::v1(44)).then_some(size),
    }
}

/// Shows everything about an image.
pub fn inspect(images: &Images, image: &Image, version: ApiVersion) -> Inspect {
    let document = &image.document;
    let size = signed(image.size_bytes);
    let mut data = BTreeMap::new();
    let paths = images.layer_paths(&image.top_layer).unwrap_or_default();
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if let Some((upper, lowers)) = paths.split_first() {
        data.insert("UpperDir".to_owned(), upper.clone());
        if !lowers.is_empty() {
            data.insert("LowerDir".to_owned(), lowers.join(":"));
        }
    }
    Inspect {
        id: image.id.clone(),
        repo_tags: image.tags.iter().map(ToString::to_string).collect(),
        repo_digests: Vec::new(),
        parent: String::new(),
        comment: comment(image),
        created: document.created.clone(),
        docker_version: document.docker_version.clone(),
        author: document.author.clone(),
        config: config(image, version),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        os: if document.os.is_empty() { "linux".to_owned() } else { document.os.clone() },
        os_version: document.os_version.clone(),
        size,
        virtual_size: (version < ApiVersion::v1(44)).then_some(size),
        graph_driver: GraphDriver { name: DRIVER.to_owned(), data },
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: document.rootfs.diff_ids().map(|digest| digest.to_string()).collect(),
        },
        metadata: Metadata {
            last_tag_time: image.last_tagged.map_or_else(|| ZERO_TIME.to_owned(), crate::clock::Timestamp::rfc3339),
        },
    }
}

/// What was said when the image was made; dockerd falls back to its last step.
fn comment(image: &Image) -> String {
    let document = &image.document;
    match document.history.last() {
        Some(step) if document.comment.is_empty() => step.comment.clone(),
        _ => document.comment.clone(),
    }
}

fn config(image: &Image, version: ApiVersion) -> Value {
    let mut config = serde_json::to_value(&image.config).unwrap_or_default();
    if version < ApiVersion::v1(50)
        && let Value::Object(own) = &mut config
    {
        // Fields of containers that dockerd showed with images, always at their defaults.
        let Value::Object(mut all) = json!({
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
            "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": null,
            "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": null,
        }) else {
            return config;
        };
        all.append(own);
        return Value::Object(all);
    }
    config
}

/// Shows how an image came to be, the newest step first.
pub fn history(image: &Image) -> Vec<HistoryItem> {
    let mut sizes = image.layers.iter().map(|layer| signed(layer.size_bytes));
    let mut items: Vec<HistoryItem> = image
        .document
        .history
        .iter()
        .map(|step| HistoryItem {
            comment: step.comment.clone(),
            created: seconds(step.created.as_deref()),
            created_by: step.created_by.clone(),
            id: "<missing>".to_owned(),
            size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            tags: None,
        })
        .collect();
    items.reverse();
    if let Some(newest) = items.first_mut() {
        newest.id.clone_from(&image.id);
        newest.tags = (!image.tags.is_empty()).then(|| image.tags.iter().map(ToString::to_string).collect());
    }
    items
}

/// Shows what a delete or a prune did.
pub fn removals(done: &[Removal]) -> Vec<DeleteItem> {
    done.iter()
        .map(|removal| match removal {
            Removal::Untagged(tagged) => DeleteItem::Untagged(tagged.to_string()),
            Removal::DeletedImage(digest) | Removal::DeletedLayer(digest) => DeleteItem::Deleted(digest.to_string()),
        })
        .collect()
}

/// Shows a report of a load; `None` for those that a quiet client did not ask for.
pub fn message(report: &Report, quiet: bool) -> Option<Message> {
    Some(match report {
        Report::Layer { .. } if quiet => return None,
        Report::Layer { diff_id, current_bytes, total_bytes } => Message {
            status: Some("Loading layer".to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(*current_bytes), total: Some(*total_bytes) }),
            progress: Some(bar(*current_bytes, *total_bytes)),
            id: Some(diff_id.short()),
            ..Message::default()
        },
        Report::Renamed { tagged, previous } => Message::stream(format!(
            "The image {tagged} already exists, renaming the old one with ID {previous} to empty string\n"
        )),
        Report::Loaded(tagged) => Message::stream(format!("Loaded image: {tagged}\n")),
        Report::LoadedId(digest) => Message::stream(format!("Loaded image ID: {digest}\n")),
    })
}

/// Draws `[=====>     ]  1.2MB/3.4MB`.
fn bar(current: u64, total: u64) -> String {
    let filled = (current.saturating_mul(BAR) / total.max(1)).min(BAR) as usize;
    let (arrow, blanks) = if filled < BAR as usize { (">", BAR as usize - filled) } else { ("", 1) };
    let done = human_size(current);
    format!("[{}{arrow}{}] {done:>8}/{}", "=".repeat(filled), " ".repeat(blanks - 1), human_size(total))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_wide_as_dockers() {
        assert_eq!(bar(0, 1000), format!("[>{}]       0B/1kB", " ".repeat(49)));
        assert_eq!(bar(500, 1000), format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(24)));
        assert_eq!(bar(1000, 1000), format!("[{}]      1kB/1kB", "=".repeat(50)));
        assert_eq!(bar(7, 0).matches('=').count(), 50);
    }
}
