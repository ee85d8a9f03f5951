//! Sockets: the HTTPS origin and the plain-HTTP listener, and the path of one request
//! through journal, fault and answer.
//!
//! The order is the point: journal first, then the fault, then the effect, then the
//! answer. Nothing may answer or take effect before the entry is written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::faults::{Fault, FaultKind};
use crate::journal::{Arrival, Identity};
use crate::state::State;
use crate::wire::{self, Instead, Reply, Tap, full};
use crate::{azure, control, idp, imds, key_vault};

/// No request of any client is larger.
const LARGEST_BODY: usize = 16 << 20;

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// ARM, identity provider, Key Vault, control.
    Https,
    /// Instance metadata and control.
    Plain,
}

/// A request with its body read.
pub(crate) struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub identity: Identity,
}

impl Asked {
    /// The value of a header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Accepts until told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        let Ok((tcp, _)) = accepted else { continue };
        let _ = tcp.set_nodelay(true);
        let (state, acceptor, mut stop) = (Arc::clone(&state), acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            let connection = async {
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(tls) = acceptor.accept(tcp).await {
                            connection(tls, Door::Https, state).await;
                        }
                    }
                    None => connection(tcp, Door::Plain, state).await,
                }
            };
            tokio::select! {
                () = connection => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        });
    }
}

async fn connection<S>(stream: S, door: Door, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (tap, instead) = Tap::new(stream);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| {
        let (state, instead) = (Arc::clone(&state), Arc::clone(&instead));
        async move { one(&state, door, &instead, request).await }
    });
    // An error here is a client that went away, or a fault that dropped it.
    let _ = builder.serve_connection(TokioIo::new(tap), service).await;
}

/// The story of one request.
async fn one(
    state: &Arc<State>,
    door: Door,
    instead: &Instead,
    request: Request<Incoming>,
) -> io::Result<Reply> {
    let mut asked = read(request).await?;
    if asked.path.starts_with("/_sim/") {
        return Ok(control::answer(state, &asked).await);
    }
    asked.identity = state.identity_of(asked.header("authorization"));
    let surface = surface(door, &asked.path);
    state.journal.append(&Arrival {
        surface,
        method: &asked.method,
        path: &asked.path,
        query: &asked.query,
        identity: asked.identity,
        headers: &asked.headers,
        body: &asked.body,
        reading: (surface == "arm").then(|| azure::reading(&asked)).flatten(),
    })?;
    let fault = state
        .faults
        .take(surface, &asked.method, &asked.path, asked.identity);
    let mut reply = match fault {
        None => dispatch(state, surface, &asked).await,
        Some(fault) => faulty(state, surface, instead, &asked, fault).await?,
    };
    if let Some(date) = state.skewed_date() {
        reply.headers_mut().insert(http::header::DATE, date);
    }
    Ok(reply)
}

async fn read(request: Request<Incoming>) -> io::Result<Asked> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY)
        .collect()
        .await
        .map_err(io::Error::other)?;
    Ok(Asked {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.to_bytes(),
        identity: Identity::None,
    })
}

fn surface(door: Door, path: &str) -> &'static str {
    let lower = path.to_ascii_lowercase();
    if door == Door::Plain {
        "imds"
    } else if lower.starts_with("/metadata/") {
        "metadata"
    } else if lower.starts_with("/secrets/") {
        "keyvault"
    } else if idp::owns(path) {
        "idp"
    } else {
        "arm"
    }
}

async fn dispatch(state: &Arc<State>, surface: &str, asked: &Asked) -> Reply {
    match surface {
        "imds" => imds::answer(state, asked),
        "metadata" => azure::metadata(state),
        "keyvault" => key_vault::answer(state, asked),
        "idp" => idp::answer(state, asked).await,
        _ => azure::answer(state, asked),
    }
}

async fn faulty(
    state: &Arc<State>,
    surface: &str,
    instead: &Instead,
    asked: &Asked,
    fault: Fault,
) -> io::Result<Reply> {
    let usual = if fault.takes_effect() && fault.kind != FaultKind::Slow {
        Some(dispatch(state, surface, asked).await)
    } else {
        None
    };
    match fault.kind {
        FaultKind::Slow => {
            tokio::time::sleep(Duration::from_millis(fault.ms.unwrap_or(1_000))).await;
            Ok(dispatch(state, surface, asked).await)
        }
        FaultKind::Stall => {
            tokio::time::sleep(Duration::from_millis(fault.ms.unwrap_or(3_600_000))).await;
            Err(dropped())
        }
        FaultKind::Reset => Err(dropped()),
        FaultKind::Status => Ok(status(&fault)),
        FaultKind::WrongBody => Ok(wrong_body(usual, &fault)),
        FaultKind::Redirect => Ok(redirect(&fault)),
        FaultKind::ReflectHeaders => Ok(reflect(asked)),
        FaultKind::HugeBody => Ok(Response::new(wire::endless(
            fault.bytes.unwrap_or(64 << 20),
        ))),
        FaultKind::SplitHeader | FaultKind::Raw => Ok(raw(instead, &fault)),
        FaultKind::Freeze => {
            if let Some(command) = fault.command.clone() {
                run(command).await;
            }
            state.faults.hold().await;
            Ok(usual.unwrap_or_else(|| status(&fault)))
        }
    }
}

fn dropped() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "a fault dropped the connection",
    )
}

/// Runs a program to its end; its failure is the test's to see, not ours.
async fn run(command: Vec<String>) {
    let mut words = command.into_iter();
    let Some(program) = words.next() else { return };
    let task = tokio::task::spawn_blocking(move || {
        std::process::Command::new(program).args(words).status()
    });
    let _ = task.await;
}

fn status(fault: &Fault) -> Reply {
    let status = fault.status.unwrap_or(500);
    let code = fault.code.clone().unwrap_or_else(|| {
        match status {
            429 => "OperationNotAllowed",
            401 => "ExpiredAuthenticationToken",
            403 => "AuthorizationFailed",
            503 => "ServerBusy",
            _ => "InternalServerError",
        }
        .to_owned()
    });
    let body = json!({"error": {"code": code, "message": "The emulator was told to fail."}});
    let mut reply = wire::json(status, &body);
    if let Some(after) = &fault.retry_after {
        let text = after
            .as_str()
            .map_or_else(|| after.to_string(), str::to_owned);
        add(&mut reply, "retry-after", &text);
    }
    if status == 429 {
        add(
            &mut reply,
            "x-ms-ratelimit-remaining-subscription-writes",
            "0",
        );
    }
    extra(&mut reply, fault);
    reply
}

fn wrong_body(usual: Option<Reply>, fault: &Fault) -> Reply {
    let body = fault
        .body
        .clone()
        .unwrap_or_else(|| "<html><body>It works!</body></html>".to_owned());
    let mut reply = usual.unwrap_or_else(|| Response::new(full(Bytes::new())));
    reply.headers_mut().remove(http::header::CONTENT_TYPE);
    add(
        &mut reply,
        "content-type",
        fault.content_type.as_deref().unwrap_or("text/html"),
    );
    *reply.body_mut() = full(body);
    if let Some(status) = fault
        .status
        .and_then(|code| StatusCode::from_u16(code).ok())
    {
        *reply.status_mut() = status;
    }
    extra(&mut reply, fault);
    reply
}

fn redirect(fault: &Fault) -> Reply {
    let mut reply = wire::json(fault.status.unwrap_or(307), &json!({}));
    add(
        &mut reply,
        "location",
        fault
            .location
            .as_deref()
            .unwrap_or("https://127.0.0.1:1/elsewhere"),
    );
    reply
}

fn reflect(asked: &Asked) -> Reply {
    let lines: Vec<_> = asked
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let mut reply = wire::json(200, &json!({"headers": lines}));
    for (name, value) in &asked.headers {
        if let Ok(name) = HeaderName::from_bytes(format!("x-reflected-{name}").as_bytes()) {
            reply.headers_mut().append(name, value.clone());
        }
        if name == http::header::AUTHORIZATION {
            reply
                .headers_mut()
                .insert(http::header::AUTHORIZATION, value.clone());
        }
    }
    reply
}

/// A folded line, two lengths, and a header that pretends to be the gateway's own.
const SPLIT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-ms-request-id: a\r\n \
    x-vaultgate-decision: allow\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

fn raw(instead: &Instead, fault: &Fault) -> Reply {
    let bytes = fault
        .body
        .clone()
        .unwrap_or_else(|| SPLIT.to_owned())
        .into_bytes();
    *instead
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(bytes);
    let mut reply = Response::new(full(Bytes::new()));
    add(&mut reply, "connection", "close");
    reply
}

fn extra(reply: &mut Reply, fault: &Fault) {
    for (name, value) in &fault.headers {
        add(reply, name, value);
    }
}

/// Adds a header line; one that HTTP cannot carry is left out.
pub(crate) fn add(reply: &mut Reply, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(value),
    ) {
        reply.headers_mut().append(name, value);
    }
}
