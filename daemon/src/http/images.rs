//! `/images/…`: one function an endpoint. Names of images contain slashes, so that the last segment of a path says what
//! is wanted and everything before it is the name.

mod load;

use std::collections::HashMap;
use std::sync::Arc;

use api_schema::ApiVersion;
use api_schema::image::PruneResponse;
use api_schema::progress::Message;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::error::{json, page_not_found};
use super::extract::Query;
use super::{ApiError, Shared, lines};
use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::image::digest::Digest;
use crate::image::reference::{ReferenceError, Tagged};
use crate::image::{ImageUser, ImportRequest, ListRequest, RemoveRequest, view};

type Answer = Result<Response, ApiError>;

/// Content type of answers that are written while the work goes on.
const PROGRESS: &str = "application/json";

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/images/json", get(list))
        .route("/images/create", post(create))
        .route("/images/load", post(load::load))
        .route("/images/prune", post(prune))
        .route("/images/{*rest}", get(read).post(write).delete(remove))
}

/// What a path asks of which image: `/images/library/busybox/json` or `/images/library%2Fbusybox/json`.
fn split(uri: &Uri) -> Option<(String, &str)> {
    let (name, verb) = uri.path().strip_prefix("/images/")?.rsplit_once('/')?;
    Some((decode(name)?, verb))
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

async fn read(State(engine): Shared, Extension(version): Extension<ApiVersion>, uri: Uri) -> Answer {
    match split(&uri) {
        Some((name, "json")) => {
            let image = engine.images.resolve(&name)?;
            Ok(json(StatusCode::OK, &view::inspect(&engine.images, &image, version)))
        }
        Some((name, "history")) => {
            let image = engine.images.resolve(&name)?;
            Ok(json(StatusCode::OK, &view::history(&image)))
        }
        Some((_, "get")) => save().await,
        _ => Err(page_not_found().await),
    }
}

async fn write(State(engine): Shared, uri: Uri, query: Query) -> Answer {
    match split(&uri) {
        Some((name, "tag")) => {
            let tagged = tagged(&query)?.ok_or(ApiError::invalid("the parameter repo is missing"))?;
            engine.images.tag(&name, tagged).await?;
            Ok(StatusCode::CREATED.into_response())
        }
        Some((_, "push")) => Err(not_served("pushing images")),
        _ => Err(page_not_found().await),
    }
}

async fn remove(State(engine): Shared, uri: Uri, query: Query) -> Answer {
    let name = uri.path().strip_prefix("/images/").and_then(decode);
    let Some(name) = name else { return Err(page_not_found().await) };
    let request = RemoveRequest { name, force: query.bool("force") };
    let done = engine.images.remove(request, users(&engine)).await?;
    Ok(json(StatusCode::OK, &view::removals(&done)))
}

async fn list(State(engine): Shared, Extension(version): Extension<ApiVersion>, query: Query) -> Answer {
    let filters = query.filters(&["before", "dangling", "label", "reference", "since", "until"])?;
    let single = |key: &str| match filters.get(key) {
        [] => Ok(None),
        [value] => Ok(Some(value.clone())),
        // dockerd takes the one that its map gives first.
        _ => Err(ApiError::invalid(format!("invalid filter '{key}': only one value is possible"))),
    };
    let dangling = match filters.contains("dangling") {
        true => Some(filters.get_bool("dangling", false).map_err(|error| ApiError::invalid(error.0))?),
        false => None,
    };
    let mut references = filters.get("reference").to_vec();
    // What clients before API version 1.25 sent.
    references.extend(query.get("filter").filter(|filter| !filter.is_empty()).map(str::to_owned));
    let selection = engine.images.selection(ListRequest {
        dangling,
        labels: filters.get("label").to_vec(),
        without_labels: Vec::new(),
        before: single("before")?,
        since: single("since")?,
        references,
        until: single("until")?,
    })?;
    let mut containers: HashMap<String, usize> = HashMap::new();
    for container in engine.containers.registry().all() {
        *containers.entry(container.image_id.clone()).or_default() += 1;
    }
    let shared_size = query.bool("shared-size");
    let listed = engine.images.list(&selection);
    let count = |id: &String| containers.get(id).copied().unwrap_or(0);
    let summaries: Vec<_> =
        listed.iter().map(|one| view::summary(one, count(&one.image.id), shared_size, version)).collect();
    Ok(json(StatusCode::OK, &summaries))
}

/// Imports a file system. Pulling has the same path and is not served.
async fn create(State(engine): Shared, query: Query, body: Body) -> Answer {
    if !query.text("fromImage").is_empty() {
        return Err(not_served(&format!("pulling {:?} from a registry", query.text("fromImage"))));
    }
    match query.text("fromSrc") {
        "-" => {}
        "" => return Err(ApiError::invalid("one of the parameters fromImage and fromSrc is required")),
        url => return Err(not_served(&format!("importing from {url:?}"))),
    }
    let mut platform = query.text("platform").split('/');
    let os = platform.next().unwrap_or_default();
    if !matches!(os, "" | "linux") {
        return Err(ApiError::invalid(format!("operating system {os:?} is not supported")));
    }
    let tagged = match query.text("repo") {
        "" => None,
        _ => tagged(&query)?,
    };
    let message = match query.text("message") {
        "" => "Imported from -",
        message => message,
    };
    let request = ImportRequest {
        tagged,
        message: message.to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
        architecture: platform.next().map(str::to_owned),
        variant: platform.next().unwrap_or_default().to_owned(),
    };
    let (input, rest) = load::reader(body);
    let image = match engine.images.import(input, request).await {
        Ok(image) => image,
        Err(error) => {
            rest.drain().await;
            return Err(error.into());
        }
    };
    let mut response = Response::new(Body::from(lines::line(&Message::status(&image.id))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROGRESS));
    Ok(response)
}

async fn prune(State(engine): Shared, query: Query) -> Answer {
    let filters = query.filters(&["dangling", "label", "label!", "until"])?;
    let dangling = filters.get_bool("dangling", true).map_err(|error| ApiError::invalid(error.0))?;
    let selection = engine.images.selection(ListRequest {
        dangling: dangling.then_some(true),
        labels: filters.get("label").to_vec(),
        without_labels: filters.get("label!").to_vec(),
        until: filters.get("until").first().cloned(),
        ..ListRequest::default()
    })?;
    let wanted = move |image: &crate::image::Image| selection.matches(image).is_some();
    let (done, space_reclaimed) = engine.images.prune(wanted, users(&engine)).await?;
    let images_deleted = (!done.is_empty()).then(|| view::removals(&done));
    Ok(json(StatusCode::OK, &PruneResponse { images_deleted, space_reclaimed }))
}

async fn save() -> Answer {
    Err(not_served("saving images"))
}

fn not_served(what: &str) -> ApiError {
    ApiError::new(
        ErrorKind::NotImplemented,
        format!("{what} is not supported by this version of Pinnace; images come by docker load and docker import"),
    )
}

fn tagged(query: &Query) -> Result<Option<Tagged>, ApiError> {
    Tagged::from_parameters(query.text("repo"), query.text("tag"))
        .map_err(|error: ReferenceError| ApiError::invalid(error.to_string()))
}

/// Tells which containers were made from an image.
fn users(engine: &Arc<Engine>) -> impl Fn(&Digest) -> Vec<ImageUser> + Send + Sync + 'static {
    let engine = Arc::clone(engine);
    move |digest| {
        let id = digest.to_string();
        let containers = engine.containers.registry().all();
        let made_from = containers.iter().filter(|container| container.image_id == id);
        made_from
            .map(|container| ImageUser {
                container_id: container.id.to_string(),
                running: container.lifecycle().process().is_some(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_is_the_verb_and_the_rest_the_name() {
        for (path, name, verb) in [
            ("/images/busybox/json", "busybox", "json"),
            ("/images/library/busybox:1.0/json", "library/busybox:1.0", "json"),
            ("/images/library%2Fbusybox/tag", "library/busybox", "tag"),
            ("/images/host:5000/a/b@sha256:00/history", "host:5000/a/b@sha256:00", "history"),
            ("/images/json%2Fjson/json", "json/json", "json"),
        ] {
            assert_eq!(split(&path.parse().unwrap()), Some((name.to_owned(), verb)), "{path}");
        }
        assert_eq!(split(&"/images/busybox".parse().unwrap()), None);
        assert_eq!(split(&"/images/%ff/json".parse().unwrap()), None);
    }
}
