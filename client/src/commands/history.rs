//! `pinnace history`.

use pinnace_client::{Client, units};

use crate::{
    failure::Outcome,
    listing::{self, row},
    output, time,
};

/// Show the history of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print sizes and dates in human readable format (=false: exact)
    #[arg(
        short = 'H',
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = true,
        action = clap::ArgAction::Set,
    )]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// "table", "json", or a template
    #[arg(long)]
    format: Option<String>,
    image: String,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let mut rows = Vec::new();
        for item in client.image_history(&self.image).await? {
            let id = if self.no_trunc { item.id.as_str() } else { output::short_id(&item.id) };
            if self.quiet {
                output::line(id)?;
                continue;
            }
            let created_by = item.created_by.replace('\t', " ");
            rows.push(row([
                ("ID", id.to_owned()),
                ("CreatedSince", time::since(item.created) + " ago"),
                ("CreatedAt", time::rfc3339(item.created)),
                ("CreatedBy", if self.no_trunc { created_by } else { output::ellipsis(&created_by, 45) }),
                ("Size", if self.human { units::human_size(item.size) } else { item.size.to_string() }),
                ("Comment", item.comment),
            ]));
        }
        if !self.quiet {
            let created = if self.human { ("CreatedSince", "CREATED") } else { ("CreatedAt", "CREATED AT") };
            let columns =
                [("ID", "IMAGE"), created, ("CreatedBy", "CREATED BY"), ("Size", "SIZE"), ("Comment", "COMMENT")];
            listing::print(&rows, &columns, self.format.as_deref())?;
        }
        Ok(0)
    }
}
