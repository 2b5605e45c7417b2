//! `GET /containers/json`.

use std::sync::Arc;

use api_schema::Filters;
use axum::extract::State;
use http::StatusCode;
use regex::Regex;

use super::{Answer, now, sizes};
use crate::container::handle::Container;
use crate::container::lifecycle::Lifecycle;
use crate::container::view;
use crate::engine::Engine;
use crate::http::error::json;
use crate::http::extract::Query;
use crate::http::{ApiError, Shared};

const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "label!", "name", "network",
    "publish", "since", "status",
];

const STATES: [&str; 7] = ["created", "dead", "exited", "paused", "removing", "restarting", "running"];

pub(crate) async fn list(State(engine): Shared, query: Query) -> Answer {
    let mut known = FILTERS.to_vec();
    known.push("volume");
    let filters = query.filters(&known)?;
    let limit = query.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let all = query.bool("all") || limit.is_some() || filters.contains("status");
    let matcher = Matcher::new(&engine, &filters)?;
    let now = now();
    let chosen: Vec<Arc<Container>> = engine
        .containers
        .registry()
        .all()
        .into_iter()
        .filter(|container| all || matches!(container.lifecycle(), Lifecycle::Running(_) | Lifecycle::Paused(_)))
        .filter(|container| matcher.matches(container))
        .take(limit.unwrap_or(usize::MAX))
        .collect();
    let mut answers = Vec::with_capacity(chosen.len());
    for container in &chosen {
        let mut summary = view::summary(container, now);
        if query.bool("size") {
            (summary.size_rw, summary.size_root_fs) = sizes(&engine, container).await;
        }
        answers.push(summary);
    }
    Ok(json(StatusCode::OK, &answers))
}

struct Matcher<'a> {
    filters: &'a Filters,
    names: Vec<Regex>,
    ids: Vec<Regex>,
    exited: Vec<i32>,
    /// Image ids that `ancestor` means.
    ancestors: Vec<String>,
    before: Option<Arc<Container>>,
    since: Option<Arc<Container>>,
}

impl<'a> Matcher<'a> {
    fn new(engine: &Engine, filters: &'a Filters) -> Result<Self, ApiError> {
        let regexes = |key: &str| {
            filters
                .get(key)
                .iter()
                .map(|text| Regex::new(text).or_else(|_no_regex| Regex::new(&regex::escape(text))))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| ApiError::invalid(format!("invalid filter '{key}': {error}")))
        };
        if let Some(state) = filters.get("status").iter().find(|state| !STATES.contains(&state.as_str())) {
            return Err(ApiError::invalid(format!("invalid filter 'status={state}'")));
        }
        let exited = filters
            .get("exited")
            .iter()
            .map(|code| code.parse().map_err(|_no_number| ApiError::invalid(format!("invalid filter 'exited={code}'"))))
            .collect::<Result<_, _>>()?;
        filters.get_bool("is-task", false).map_err(|error| ApiError::invalid(error.0))?;
        let other = |key: &str| match filters.get(key) {
            [] => Ok(None),
            [text] => engine.containers.find(text).map(Some),
            _ => engine.containers.find(&filters.get(key).join(",")).map(Some),
        };
        Ok(Self {
            names: regexes("name")?,
            ids: regexes("id")?,
            exited,
            ancestors: filters
                .get("ancestor")
                .iter()
                .filter_map(|reference| engine.images.resolve(reference).ok())
                .map(|image| image.id.clone())
                .collect(),
            before: other("before")?,
            since: other("since")?,
            filters,
        })
    }

    fn matches(&self, container: &Container) -> bool {
        let lifecycle = container.lifecycle();
        let name = container.name();
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            !self.filters.contains(key) || self.filters.get(key).iter().any(|value| test(value))
        };
        let named = |regex: &Regex| regex.is_match(&name) || regex.is_match(&format!("/{name}"));
        (self.names.is_empty() || self.names.iter().any(named))
            && (self.ids.is_empty() || self.ids.iter().any(|regex| regex.is_match(container.id.as_str())))
            && self.filters.match_labels(&container.spec.labels)
            && any("status", &|state| state == lifecycle.status())
            && (self.exited.is_empty()
                || matches!(&lifecycle, Lifecycle::Exited(exit) if self.exited.contains(&exit.code)))
            && (!self.filters.contains("ancestor") || self.ancestors.contains(&container.image_id))
            && self.before.as_ref().is_none_or(|other| container.created < other.created)
            && self.since.as_ref().is_none_or(|other| container.created > other.created)
            && any("network", &|network| network == container.spec.network.network_name())
            && any("volume", &|volume| {
                container
                    .spec
                    .binds
                    .iter()
                    .any(|bind| bind.destination == volume || bind.source == std::path::Path::new(volume))
            })
            && any("health", &|health| health == "none")
            && any("expose", &|port| exposes(&container.spec.exposed_ports, port))
            && any("publish", &|_published| false)
            && any("is-task", &|wanted| matches!(wanted, "0" | "false"))
    }
}

fn exposes(ports: &[String], wanted: &str) -> bool {
    let (range, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
    (first..=last).any(|port| ports.contains(&format!("{port}/{protocol}")))
}
