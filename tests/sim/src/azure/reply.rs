//! Answers as ARM gives them: bodies, errors, headers, pages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::request::ArmRequest;
use crate::digest::fresh_uuid;
use crate::document::text;
use crate::server::add;
use crate::wire::{self, Reply, full};
use crate::world::World;

/// An answer before it is put on the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Answer {
        Answer {
            status: 200,
            headers: Vec::new(),
            body: Some(body),
        }
    }

    pub(crate) fn empty(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    /// An error in ARM's shape.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Answer {
        let body = json!({"error": {"code": code, "message": message}});
        let mut answer = Answer {
            status,
            ..Answer::ok(body)
        };
        if matches!(status, 401 | 403 | 404 | 405) {
            answer
                .headers
                .push(("x-ms-failure-cause", "gateway".to_owned()));
        }
        answer
    }

    pub(crate) fn not_found(id: &str) -> Answer {
        Answer::error(
            404,
            "ResourceNotFound",
            &format!("The Resource '{id}' was not found."),
        )
    }

    pub(crate) fn method_not_allowed(method: &str) -> Answer {
        Answer::error(
            405,
            "MethodNotAllowed",
            &format!("The resource does not support http method '{method}'."),
        )
    }

    /// A document, with its ETag when it has one.
    pub(crate) fn document(status: u16, document: &Value) -> Answer {
        let mut answer = Answer {
            status,
            ..Answer::ok(document.clone())
        };
        if let Some(etag) = text(document, "/etag") {
            answer.headers.push(("etag", etag.to_owned()));
        }
        answer
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Puts the answer on the wire, with the headers that every ARM answer has.
    pub(crate) fn send(self, client_request_id: Option<&str>, correlation: Option<&str>) -> Reply {
        let mut reply = match &self.body {
            Some(body) => wire::json(self.status, body),
            None => {
                let mut reply = http::Response::new(full(""));
                *reply.status_mut() =
                    http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::OK);
                reply
            }
        };
        let request_id = fresh_uuid();
        let correlation = correlation.map_or_else(|| request_id.clone(), str::to_owned);
        let routing = format!("WESTEUROPE:20261123T000000Z:{request_id}");
        for (name, value) in [
            ("x-ms-request-id", request_id.as_str()),
            ("x-ms-correlation-request-id", &correlation),
            ("x-ms-routing-request-id", &routing),
            ("cache-control", "no-cache"),
            (
                "strict-transport-security",
                "max-age=31536000; includeSubDomains",
            ),
            ("x-content-type-options", "nosniff"),
        ] {
            add(&mut reply, name, value);
        }
        if let Some(id) = client_request_id {
            add(&mut reply, "x-ms-client-request-id", id);
        }
        for (name, value) in &self.headers {
            add(&mut reply, name, value);
        }
        reply
    }
}

/// A whole list.
pub(crate) fn list(values: Vec<Value>) -> Answer {
    Answer::ok(json!({"value": values}))
}

/// One page of a list. The token is opaque to callers: it holds the next place.
pub(crate) fn page(world: &World, ask: &ArmRequest, values: Vec<Value>, size: usize) -> Answer {
    let from = match ask
        .parameter("$skipToken")
        .filter(|token| !token.is_empty())
    {
        None => 0,
        Some(token) => match place(&token) {
            Some(place) => place,
            None => return Answer::error(400, "InvalidSkipToken", "The skip token is not valid."),
        },
    };
    let rest = values.len().saturating_sub(from + size);
    let values: Vec<Value> = values.into_iter().skip(from).take(size).collect();
    let mut body = json!({"value": values});
    if rest > 0 {
        crate::document::set(&mut body, "/nextLink", next_link(world, ask, from + size));
    }
    Answer::ok(body)
}

fn place(token: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    text.strip_prefix("place:")?.parse().ok()
}

fn next_link(world: &World, ask: &ArmRequest, place: usize) -> String {
    let kept: Vec<&str> = ask
        .raw_query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !name.is_empty()
                && !name.eq_ignore_ascii_case("$skiptoken")
                && !name.eq_ignore_ascii_case("%24skiptoken")
        })
        .collect();
    let token = STANDARD
        .encode(format!("place:{place:08}"))
        .replace('=', "%3D")
        .replace('+', "%2B");
    format!(
        "{}{}?{}&$skipToken={token}",
        world.origin,
        ask.raw_path,
        kept.join("&")
    )
}

/// Applies the `$filter`s that clients send: `name eq 'value'` joined by `and`.
/// A name that no row knows is ignored, as a service that grows new filters would be.
pub(crate) fn filtered(ask: &ArmRequest, values: Vec<Value>, known: &[(&str, &str)]) -> Vec<Value> {
    let Some(filter) = ask.parameter("$filter") else {
        return values;
    };
    let wanted = terms(&filter);
    let holds = |value: &Value| {
        wanted.iter().all(|(name, wanted)| {
            let row = known
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            row.is_none_or(|(_, pointer)| {
                text(value, pointer).is_some_and(|own| own.eq_ignore_ascii_case(wanted))
            })
        })
    };
    values.into_iter().filter(holds).collect()
}

/// The terms of a filter: names and the values that they are to have.
pub(crate) fn terms(filter: &str) -> Vec<(String, String)> {
    filter.split(" and ").filter_map(term).collect()
}

fn term(term: &str) -> Option<(String, String)> {
    let (name, value) = term.trim().split_once(" eq ")?;
    Some((
        name.trim().to_owned(),
        value.trim().trim_matches('\'').to_owned(),
    ))
}
