//! `GET /events`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api_schema::Filters;
use api_schema::event::{Actor, EventMessage};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::extract::Query;
use super::{ApiError, Shared, lines};
use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::events::Event;
use crate::units;

const FILTERS: [&str; 16] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "label!",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
    "reference",
];

pub(super) async fn stream(State(engine): Shared, query: Query) -> Result<Response, ApiError> {
    let filters = query.filters(&FILTERS)?;
    let time = |name: &str| {
        units::parse_unix_time(query.text(name))
            .map_err(|error| ApiError::invalid(format!("invalid value for {name:?}: {error}")))
    };
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(ApiError::invalid("`since` time cannot be after `until` time"));
    }
    // Without `since` only what comes from now on is wanted, also if `until` is past.
    let now = engine.events.last();
    let stop = engine.stop.clone();
    let cursor = Cursor {
        news: engine.events.follow(),
        seen: if since.is_some() { 0 } else { now },
        engine,
        since,
        until,
        filters,
        ready: VecDeque::new(),
    };
    let body = stream::unfold(cursor, |mut cursor| async move {
        let line = cursor.next().await?;
        Some((Ok::<Bytes, io::Error>(line), cursor))
    });
    Ok(lines::until_stopped("application/json", body, &stop))
}

struct Cursor {
    engine: Arc<Engine>,
    news: watch::Receiver<u64>,
    /// Number of the last event that was looked at.
    seen: u64,
    since: Option<i64>,
    until: Option<i64>,
    filters: Filters,
    ready: VecDeque<Arc<Event>>,
}

impl Cursor {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if self.until.is_some_and(|until| event.time.0 > until) {
                    return None;
                }
                if self.since.is_none_or(|since| event.time.0 >= since) && matches(&self.filters, &event) {
                    return Some(lines::line(&message(&event)));
                }
            }
            self.news.mark_unchanged();
            self.ready.extend(self.engine.events.after(self.seen));
            if let Some(last) = self.ready.back() {
                self.seen = last.seq;
                continue;
            }
            let left = self.until.map(|until| until.saturating_sub(Timestamp::now().0));
            let deadline = match left {
                Some(left) if left <= 0 => return None,
                Some(left) => Some(Instant::now() + Duration::from_nanos(left.unsigned_abs())),
                None => None,
            };
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }
}

fn matches(filters: &Filters, event: &Event) -> bool {
    let any = |key: &str, test: &dyn Fn(&str) -> bool| {
        !filters.contains(key) || filters.get(key).iter().any(|value| test(value))
    };
    // An object is meant by its id, the beginning of it, or its name.
    let object = |kind: &str| {
        !filters.contains(kind)
            || event.kind == kind
                && filters.get(kind).iter().any(|value| {
                    event.actor == *value
                        || event.attributes.get("name").is_some_and(|name| name == value)
                        || (!value.is_empty() && event.actor.starts_with(value.as_str()))
                })
    };
    let image = |value: &str| {
        let name = if event.kind == "image" { event.attributes.get("name") } else { event.attributes.get("image") };
        let without_tag = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
        event.kind == "image" && event.actor == value
            || name.is_some_and(|name| name == value || without_tag(name) == value)
    };
    any("event", &|action| {
        event.action == action || event.action.strip_prefix(action).is_some_and(|rest| rest.starts_with(':'))
    }) && any("type", &|kind| event.kind == kind)
        && any("scope", &|scope| scope == "local")
        && any("image", &image)
        && object("container")
        && object("network")
        && object("volume")
        && object("daemon")
        && filters.match_labels(&event.attributes)
        // There is nothing of these kinds.
        && ["config", "node", "plugin", "secret", "service", "reference"].iter().all(|key| !filters.contains(key))
}

fn message(event: &Event) -> EventMessage {
    // The old fields, which clients up to API 1.51 expect beside the new ones.
    let legacy = matches!(event.kind.as_str(), "container" | "image");
    EventMessage {
        status: legacy.then(|| event.action.clone()),
        id: legacy.then(|| event.actor.clone()),
        from: event.attributes.get("image").filter(|_| event.kind == "container").cloned(),
        kind: event.kind.clone(),
        action: event.action.clone(),
        actor: Actor { id: event.actor.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.time.seconds(),
        time_nano: event.time.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn event(action: &str) -> Event {
        Event {
            seq: 1,
            time: Timestamp(1_500_000_000),
            kind: "container".to_owned(),
            action: action.to_owned(),
            actor: "abc123".to_owned(),
            attributes: BTreeMap::from([
                ("name".to_owned(), "web".to_owned()),
                ("image".to_owned(), "busybox:1".to_owned()),
                ("tier".to_owned(), "front".to_owned()),
            ]),
        }
    }

    #[test]
    fn events_are_chosen_by_every_kind_of_filter() {
        for (filter, expected) in [
            ("", true),
            (r#"{"type":["container"]}"#, true),
            (r#"{"type":["image"]}"#, false),
            (r#"{"event":["exec_start"]}"#, true),
            (r#"{"event":["exec"]}"#, false),
            (r#"{"container":["web"]}"#, true),
            (r#"{"container":["abc"]}"#, true),
            (r#"{"container":["other"]}"#, false),
            (r#"{"image":["busybox"]}"#, true),
            (r#"{"image":["busybox:2"]}"#, false),
            (r#"{"label":["tier=front"]}"#, true),
            (r#"{"label":["tier=back"]}"#, false),
            (r#"{"network":["web"]}"#, false),
            (r#"{"service":["x"]}"#, false),
        ] {
            assert_eq!(matches(&Filters::parse(filter).unwrap(), &event("exec_start: sh")), expected, "{filter}");
        }
    }

    #[test]
    fn a_message_has_the_old_fields_too() {
        let message = message(&event("die"));
        assert_eq!((message.status.as_deref(), message.id.as_deref()), (Some("die"), Some("abc123")));
        assert_eq!((message.time, message.time_nano), (1, 1_500_000_000));
    }
}
