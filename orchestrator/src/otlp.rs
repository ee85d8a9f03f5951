//! Runs as OpenTelemetry sees them: a trace of each run with a span of each item, and a few gauges,
//! sent as OTLP over HTTP in its JSON form.
//!
//! By what the journal holds: a run that ended while nobody listened is sent later, and one that
//! was sent twice has the same ids.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::flow::{Flow, Region};
use crate::http::Http;
use crate::journal::{Event, Item, Journal, JournalError, Run};
use crate::state::{State, StateType};

/// The name under which the journal keeps how far was sent; no channel can be called so.
const CHANNEL: &str = "#otlp";

/// Sends what became of runs to a collector.
pub struct Otlp {
    url: String,
    http: Http,
}

impl Otlp {
    /// A collector at an address: its traces are taken at `/v1/traces`, its metrics at
    /// `/v1/metrics`.
    pub fn new(url: String, http: Http) -> Otlp {
        Otlp { url, http }
    }

    /// Sends the runs of a flow that ended since it was looked at last, and how old its recovery
    /// points are now. What is not taken is sent again next time.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub async fn look(
        &self,
        journal: &Journal,
        flow: &Flow,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        for region in &flow.regions {
            let before = journal.told(&flow.name, &region.name, CHANNEL, now).await?;
            let mut told = before.clone();
            for run in journal
                .ended_since(&flow.name, &region.name, told.until)
                .await?
            {
                let items = journal.items(run.id).await?;
                let events = journal.events(run.id).await?;
                // Each run alone: one that a collector finds too large holds up no other.
                let taken = self
                    .send("traces", traces(&of_run(&run, &items, &events)))
                    .await
                    & self.send("metrics", metrics(&measured(&run, &items))).await;
                if !taken {
                    break;
                }
                told.until = told.until.max(run.ended);
            }
            let ages = journal.newest_points(&flow.name, &region.name).await?;
            if let Some(age) = aged(flow, region, &ages, now) {
                self.send("metrics", metrics(&[age])).await;
            }
            if told != before {
                journal
                    .note_told(&flow.name, &region.name, CHANNEL, &told)
                    .await?;
            }
        }
        Ok(())
    }

    /// Whether it is done with: taken, or refused for good.
    async fn send(&self, what: &str, body: Value) -> bool {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/v1/{what}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()));
        let Ok(request) = request else { return false };
        match self.http.fetch(request).await {
            Ok(answer) if answer.status().is_success() => true,
            Ok(answer) => {
                let status = answer.status().as_u16();
                tracing::warn!(status, what, "the collector did not take it");
                matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 429)
            }
            Err(error) => {
                tracing::warn!(%error, what, "the collector cannot be reached");
                false
            }
        }
    }
}

/// The trace of a run: its id is the run's.
fn of_run(run: &Run, items: &[Item], events: &[Event]) -> Vec<Value> {
    let trace = run.id.simple().to_string();
    let root = short(&run.id);
    let began = run.started.unwrap_or(run.due);
    let ended = run.ended.unwrap_or(began).max(began);
    let attributes = [
        ("vaultgate.flow", run.flow.as_str()),
        ("vaultgate.region", &run.region),
        ("vaultgate.definition_digest", &run.digest),
        ("vaultgate.state", run.state.as_str()),
        ("vaultgate.reason", &run.reason),
    ];
    let name = format!("{} {}", run.flow, run.region);
    let mut spans = vec![span(
        &trace,
        &root,
        "",
        &name,
        (began, ended),
        &attributes,
        (run.state, &run.reason),
    )];
    for item in items {
        let of_item = events
            .iter()
            .filter(|event| event.item == item.item)
            .map(|event| event.at);
        let (first, last) = (
            of_item.clone().min().unwrap_or(began),
            of_item.max().unwrap_or(ended),
        );
        let attributes = [
            ("vaultgate.item", item.item.as_str()),
            ("vaultgate.vault", &item.vault),
            ("vaultgate.state", item.state.as_str()),
            ("vaultgate.reason", &item.reason),
            (
                "vaultgate.decision",
                item.decision.as_deref().unwrap_or_default(),
            ),
            ("vaultgate.job", item.job.as_deref().unwrap_or_default()),
        ];
        let id = short(&item.key);
        spans.push(span(
            &trace,
            &id,
            &root,
            &item.name,
            (first, last),
            &attributes,
            (item.state, &item.reason),
        ));
    }
    spans
}

fn span(
    trace: &str,
    id: &str,
    parent: &str,
    name: &str,
    (from, to): (Timestamp, Timestamp),
    given: &[(&str, &str)],
    (state, reason): (State, &str),
) -> Value {
    // `STATUS_CODE_OK` and `STATUS_CODE_ERROR`; what was cancelled is neither.
    let code = match state.state_type() {
        StateType::Completed => 1,
        StateType::Failed => 2,
        _ => 0,
    };
    let message = if code == 2 { reason } else { "" };
    json!({
        "traceId": trace, "spanId": id, "parentSpanId": parent, "name": name, "kind": 1,
        "startTimeUnixNano": nanos(from), "endTimeUnixNano": nanos(to),
        "attributes": attributes(given), "status": {"code": code, "message": message},
    })
}

/// What is measured of a run that ended: how long it took, and its items by state.
fn measured(run: &Run, items: &[Item]) -> Vec<(&'static str, &'static str, Value)> {
    let at = run.ended.unwrap_or(run.due);
    let own = [
        ("vaultgate.flow", run.flow.as_str()),
        ("vaultgate.region", &run.region),
    ];
    let took = run
        .started
        .map_or(0.0, |began| at.duration_since(began).as_secs_f64());
    let mut points = vec![("vaultgate.flow.run.duration", "s", point(at, took, &own))];
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for item in items {
        *counts.entry(item.state.as_str()).or_default() += 1.0;
    }
    for (state, count) in counts {
        let given = [own[0], own[1], ("vaultgate.state", state)];
        points.push(("vaultgate.flow.items", "{item}", point(at, count, &given)));
    }
    points
}

/// How old the oldest of the newest recovery points of a region is.
fn aged(
    flow: &Flow,
    region: &Region,
    points: &[(String, Option<Timestamp>)],
    now: Timestamp,
) -> Option<(&'static str, &'static str, Value)> {
    let oldest = points.iter().filter_map(|(_, at)| *at).min()?;
    let own = [
        ("vaultgate.flow", flow.name.as_str()),
        ("vaultgate.region", &region.name),
    ];
    let age = now.duration_since(oldest).as_secs_f64().max(0.0);
    Some((
        "vaultgate.flow.recovery_point.age",
        "s",
        point(now, age, &own),
    ))
}

fn point(at: Timestamp, value: f64, given: &[(&str, &str)]) -> Value {
    json!({"timeUnixNano": nanos(at), "asDouble": value, "attributes": attributes(given)})
}

fn traces(spans: &[Value]) -> Value {
    json!({"resourceSpans": [{"resource": resource(), "scopeSpans": [{"scope": scope(), "spans": spans}]}]})
}

fn metrics(points: &[(&'static str, &'static str, Value)]) -> Value {
    let mut by_name: BTreeMap<(&str, &str), Vec<&Value>> = BTreeMap::new();
    for (name, unit, point) in points {
        by_name.entry((name, unit)).or_default().push(point);
    }
    let each = by_name.into_iter().map(|((name, unit), points)| {
        json!({"name": name, "unit": unit, "gauge": {"dataPoints": points}})
    });
    let each: Vec<Value> = each.collect();
    json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"scope": scope(), "metrics": each}]}]})
}

fn resource() -> Value {
    json!({"attributes": attributes(&[("service.name", "vaultgate-orchestrator"), ("service.version", env!("CARGO_PKG_VERSION"))])})
}

fn scope() -> Value {
    json!({"name": "vaultgate.flows", "version": env!("CARGO_PKG_VERSION")})
}

fn attributes(given: &[(&str, &str)]) -> Vec<Value> {
    let some = given.iter().filter(|(_, value)| !value.is_empty());
    some.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
        .collect()
}

/// Nanoseconds, as text: JSON has no whole numbers of 64 bits.
fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

/// An id of a span: half of an id of ours.
fn short(id: &uuid::Uuid) -> String {
    id.simple().to_string().chars().take(16).collect()
}
