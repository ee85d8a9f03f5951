//! `/metrics`, `/healthz` and `/readyz`, on an address of their own: a health
//! check must not be a way round authentication on the data door.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use vaultgate_decision_log::Space;

use crate::listener::Answer;
use crate::pipeline::Pipeline;

/// Answers one request of the admin address.
pub(super) fn answer(pipeline: &Arc<Pipeline>, request: &Request<Incoming>) -> Answer {
    match (request.method().as_str(), request.uri().path()) {
        ("GET", "/metrics") => metrics(pipeline),
        // Alive: the process answers. Nothing else may restart a gateway whose
        // disk is full, since that would lose what it still can do.
        ("GET", "/healthz") => text(StatusCode::OK, "ok\n".into()),
        ("GET", "/readyz") => ready(pipeline),
        _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
    }
}

fn metrics(pipeline: &Pipeline) -> Answer {
    let log = pipeline.recorder.log();
    let poisoned = log.poisoned().is_some();
    let policy = pipeline.policies.current();
    let machine = policy.policy.machine().ok();
    let page = pipeline.metrics.render(
        log.size(),
        poisoned,
        machine.as_ref(),
        pipeline.shadow.counts(),
        pipeline.policies.changes(),
    );
    let mut answer = text(StatusCode::OK, page);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Ready: changes can be judged, recorded and forwarded; says what is missing.
fn ready(pipeline: &Pipeline) -> Answer {
    let mut missing = Vec::new();
    let log = pipeline.recorder.log().state();
    if let Some(why) = log.poisoned {
        missing.push(format!("the decision log is closed: {why}"));
    }
    if log.space != Space::Ample {
        let why = log.space_error.unwrap_or_default();
        missing.push(format!("the disk of the decision log is short: {why}"));
    }
    if let Some(trouble) = pipeline.store.trouble() {
        missing.push(format!("the store is unavailable: {trouble}"));
    }
    if missing.is_empty() {
        text(StatusCode::OK, "ready\n".into())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
