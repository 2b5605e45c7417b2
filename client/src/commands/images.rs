//! `pinnace images`.

use pinnace_client::{
    Client,
    api::{container::filters, image::Summary},
    units,
};

use super::tag;
use crate::{
    failure::Outcome,
    listing::{self, Row, row},
    output, time,
};

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output, as in "dangling=true"
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "table", "json", or a template
    #[arg(long)]
    format: Option<String>,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

const NONE: &str = "<none>";

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let mut given = self.filter.clone();
        given.extend(self.reference.iter().map(|reference| format!("reference={reference}")));
        let images = client.list_images(self.all, filters(&given).as_deref()).await?;
        let id = |image: &Summary| {
            if self.no_trunc { image.id.clone() } else { output::short_id(&image.id).to_owned() }
        };
        if self.quiet {
            // An image with several names is still one image for each of its names, as in the table.
            for image in &images {
                for _ in 0..self.names(image).len() {
                    output::line(&id(image))?;
                }
            }
            return Ok(0);
        }
        let mut columns = vec![("Repository", "REPOSITORY"), ("Tag", "TAG")];
        if self.digests {
            columns.push(("Digest", "DIGEST"));
        }
        columns.extend([("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("Size", "SIZE")]);
        let rows: Vec<Row> = images
            .iter()
            .flat_map(|image| self.names(image).into_iter().map(move |name| (image, name)))
            .map(|(image, [repository, tag, digest])| {
                row([
                    ("Repository", repository),
                    ("Tag", tag),
                    ("Digest", digest),
                    ("ID", id(image)),
                    ("CreatedSince", time::since(image.created) + " ago"),
                    ("CreatedAt", time::created_at(image.created)),
                    ("Size", units::human_size(image.size)),
                    ("Containers", if image.containers < 0 { "N/A".to_owned() } else { image.containers.to_string() }),
                ])
            })
            .collect();
        listing::print(&rows, &columns, self.format.as_deref())?;
        Ok(0)
    }

    /// Returns repository, tag and digest of every line that shows `image`.
    fn names(&self, image: &Summary) -> Vec<[String; 3]> {
        let named = |name: &&String| !name.starts_with(NONE);
        let digest_of = |repository: &str| {
            let found = image.repo_digests.iter().filter_map(|name| name.split_once('@'));
            found.filter(|(name, _)| *name == repository).map(|(_, digest)| digest).next().unwrap_or(NONE)
        };
        let mut names: Vec<_> = image.repo_tags.iter().filter(named).map(|name| tag::split(name)).collect();
        if names.is_empty() {
            let only_digests = image.repo_digests.iter().filter(named).filter_map(|name| name.split_once('@'));
            names = only_digests.map(|(repository, _)| (repository, NONE)).collect();
            names.dedup();
        }
        if names.is_empty() {
            names.push((NONE, NONE));
        }
        names.into_iter().map(|(repository, tag)| [repository, tag, digest_of(repository)].map(str::to_owned)).collect()
    }
}
