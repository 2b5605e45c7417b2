//! `pinnace ps`.

use pinnace_client::{
    Client,
    api::container::{List, Port, Summary, filters},
    units,
};

use crate::{
    failure::Outcome,
    listing::{self, Row, row},
    output, time,
};

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output, as in "status=exited"
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "table", "json", or a template
    #[arg(long)]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u32>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

impl Args {
    pub(crate) async fn run(&self, client: &Client) -> Outcome {
        let list = List {
            all: self.all,
            limit: if self.latest { Some(1) } else { self.last },
            size: self.size,
            filters: filters(&self.filter),
        };
        let containers = client.list_containers(&list).await?;
        if self.quiet {
            for container in &containers {
                output::line(self.shown_id(&container.id))?;
            }
            return Ok(0);
        }
        let rows: Vec<Row> = containers.iter().map(|container| self.row(container)).collect();
        let mut columns = vec![
            ("ID", "CONTAINER ID"),
            ("Image", "IMAGE"),
            ("Command", "COMMAND"),
            ("RunningFor", "CREATED"),
            ("Status", "STATUS"),
            ("Ports", "PORTS"),
            ("Names", "NAMES"),
        ];
        if self.size {
            columns.push(("Size", "SIZE"));
        }
        listing::print(&rows, &columns, self.format.as_deref())?;
        Ok(0)
    }

    fn shown_id<'a>(&self, id: &'a str) -> &'a str {
        if self.no_trunc { id } else { output::short_id(id) }
    }

    fn row(&self, container: &Summary) -> Row {
        let join = |words: Vec<String>| words.join(",");
        let command = if self.no_trunc { container.command.clone() } else { output::ellipsis(&container.command, 20) };
        let mut size = units::human_size(container.size_rw);
        if container.size_root_fs > 0 {
            size = format!("{size} (virtual {})", units::human_size(container.size_root_fs));
        }
        row([
            ("ID", self.shown_id(&container.id).to_owned()),
            ("Image", self.image(container)),
            ("Command", format!("{command:?}")),
            ("CreatedAt", time::created_at(container.created)),
            ("RunningFor", time::since(container.created) + " ago"),
            ("State", container.state.clone()),
            ("Status", container.status.clone()),
            ("Ports", ports(&container.ports)),
            ("Names", join(container.names.iter().map(|name| name.trim_start_matches('/').to_owned()).collect())),
            ("Labels", join(container.labels.iter().map(|(name, value)| format!("{name}={value}")).collect())),
            (
                "Mounts",
                join(
                    container
                        .mounts
                        .iter()
                        .map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name })
                        .map(|name| if self.no_trunc { name.clone() } else { output::ellipsis(name, 15) })
                        .collect(),
                ),
            ),
            ("LocalVolumes", container.mounts.iter().filter(|mount| mount.driver == "local").count().to_string()),
            ("Networks", join(container.network_settings.networks.keys().cloned().collect())),
            ("Size", size),
        ])
    }

    /// Shows the image by its name, or by a short id where it has none.
    fn image(&self, container: &Summary) -> String {
        let (image, id) = (container.image.as_str(), container.image_id.as_str());
        if image.is_empty() {
            return "<no image>".to_owned();
        }
        if self.no_trunc {
            return image.to_owned();
        }
        if image.starts_with("sha256:") || output::short_id(id) == output::short_id(image) {
            return output::short_id(image).to_owned();
        }
        image.split_once('@').map_or(image, |(name, _)| name).to_owned()
    }
}

/// Shows ports as Docker does: published ones with where they lead, one range for ports in a row.
fn ports(ports: &[Port]) -> String {
    let mut sorted: Vec<_> = ports.iter().collect();
    sorted.sort_by_key(|port| (&port.protocol, &port.ip, port.public_port.is_some(), port.private_port));
    let mut ranges: Vec<(&Port, u16)> = Vec::new();
    for port in sorted {
        if let Some((first, length)) = ranges.last_mut()
            && (&first.protocol, &first.ip) == (&port.protocol, &port.ip)
            && first.private_port + *length == port.private_port
            && first.public_port.map(|public| public + *length) == port.public_port
        {
            *length += 1;
        } else {
            ranges.push((port, 1));
        }
    }
    let range = |first: u16, length: u16| match length {
        1 => first.to_string(),
        _ => format!("{first}-{}", first + (length - 1)),
    };
    let shown = ranges.iter().map(|&(port, length)| {
        let inside = format!("{}/{}", range(port.private_port, length), port.protocol);
        match port.public_port {
            None => inside,
            Some(public) if port.ip.contains(':') => format!("[{}]:{}->{inside}", port.ip, range(public, length)),
            Some(public) => format!("{}:{}->{inside}", port.ip, range(public, length)),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_one_range() {
        let port = |ip: &str, private_port, public_port| Port {
            ip: ip.to_owned(),
            private_port,
            public_port,
            protocol: "tcp".to_owned(),
        };
        let given = [
            port("", 9000, None),
            port("0.0.0.0", 80, Some(8080)),
            port("::", 80, Some(8080)),
            port("0.0.0.0", 81, Some(8081)),
        ];
        assert_eq!(ports(&given), "9000/tcp, 0.0.0.0:8080-8081->80-81/tcp, [::]:8080->80/tcp");
        assert_eq!(ports(&[]), "");
    }
}
