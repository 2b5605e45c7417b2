//! `pinnace rmi`.

use pinnace_client::{Client, api::image::Removal};

use crate::failure::Outcome;

/// Remove one or more images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let act = async |name: &str| {
            let removals = client.remove_image(name, self.force, self.no_prune).await?;
            let lines: Vec<_> = removals
                .into_iter()
                .map(|removal| match removal {
                    Removal::Untagged(name) => format!("Untagged: {name}"),
                    Removal::Deleted(id) => format!("Deleted: {id}"),
                })
                .collect();
            Ok(lines.join("\n"))
        };
        super::each(&self.images, act).await
    }
}
