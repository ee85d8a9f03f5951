//! Azure: where the gateway's own credential is born and where it stays.
//!
//! Two identities, and a third for resource guards. The operator is reached only with a
//! permit; the reader through a type that can form nothing but GET; the guard's with a permit
//! that can form nothing but an `unlockDelete` that people approved. Answers leave with listed headers only.
//! Writes are never sent twice; this module never knows a caller.

mod assertion;
mod credential;
mod headers;
mod issued;
mod transport;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::upstream::Upstream as Settings;
use crate::outbound::{FetchError, FetchLimits, Outbound};
use crate::permit::{Permit, UnlockPermit, UpstreamRequest};

use credential::Credential;
pub(crate) use credential::CredentialError;
pub(crate) use headers::to_upstream;
use issued::Issued;

/// Tries of a read that got no answer, or one that says "later".
const READ_TRIES: u32 = 3;
/// Longest wait between two tries of a read.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Azure's answer, with listed headers only.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamAnswer {
    /// Status.
    pub(crate) status: StatusCode,
    /// Headers from the allow-list.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Bytes,
}

/// How forwarding ended.
#[derive(Debug)]
pub(crate) enum ForwardResult {
    /// Azure answered.
    Answered(UpstreamAnswer),
    /// Azure did not accept the gateway's credential.
    Unauthorized(UpstreamAnswer),
    /// The request surely did not leave.
    NotSent(String),
    /// The request may or may not have been done.
    Unknown(String),
}

/// A path and query that the gateway reads for itself.
#[derive(Clone, Debug)]
pub(crate) struct ReadTarget(String);

impl ReadTarget {
    /// A target from a path and query.
    pub(crate) fn new(path_and_query: String) -> ReadTarget {
        ReadTarget(path_and_query)
    }
}

/// Azure's answer to one of the gateway's own reads.
#[derive(Clone, Debug)]
pub(crate) struct ReadAnswer {
    /// Status.
    pub(crate) status: StatusCode,
    /// Body.
    pub(crate) body: Bytes,
    /// ETag, if ARM gave one.
    pub(crate) etag: Option<String>,
    /// When ARM says to come back, if it does.
    pub(crate) retry_after: Option<Duration>,
}

/// Why one of the gateway's own reads got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No token for the reader identity.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The target is none.
    #[error("`{0}` is not a target")]
    Target(String),
    /// Azure did not accept the reader's credential.
    #[error("Azure refused the reader identity: {0}")]
    Unauthorized(StatusCode),
}

/// Reads Azure with the reader identity; forms nothing but GET.
#[derive(Clone)]
pub(crate) struct Reader {
    outbound: Outbound,
    credential: Credential,
    origin: String,
    limits: FetchLimits,
    clock: Clock,
    issued: Issued,
}

/// Forwards with the operator identity.
pub(crate) struct Upstream {
    outbound: Outbound,
    operator: Credential,
    /// The identity with rights on the resource guards, where there is one.
    guard: Option<Credential>,
    reader: Reader,
    origin: String,
    host: String,
    limits: FetchLimits,
    read_limits: FetchLimits,
}

impl Upstream {
    /// Sets up both identities. Tokens are fetched when first needed.
    pub(crate) fn new(
        settings: &Settings,
        outbound: Outbound,
        clock: &Clock,
    ) -> Result<Upstream, CredentialError> {
        let issued = Issued::default();
        let credential = |identity| {
            let (outbound, clock) = (outbound.clone(), clock.clone());
            Credential::new(identity, settings, outbound, clock, issued.clone())
        };
        let limits = |total| FetchLimits {
            total,
            max_body: settings.max_answer,
        };
        let reader = Reader {
            outbound: outbound.clone(),
            credential: credential(&settings.reader)?,
            origin: settings.resource_manager.clone(),
            limits: limits(settings.read_timeout),
            clock: clock.clone(),
            issued: issued.clone(),
        };
        Ok(Upstream {
            operator: credential(&settings.operator)?,
            guard: settings.guard.as_ref().map(credential).transpose()?,
            reader,
            origin: settings.resource_manager.clone(),
            host: settings.host().to_owned(),
            limits: limits(settings.change_timeout),
            read_limits: limits(settings.read_timeout),
            outbound,
        })
    }

    /// The reader identity.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Whether the operator identity gets a token. Asks the token's issuer, not ARM.
    pub(crate) async fn operator_signs_in(&self) -> Result<(), CredentialError> {
        self.operator.token().await.map(drop)
    }

    /// Authority that answers' URLs must have to be followed.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Keeps both identities' tokens fresh until the process ends.
    pub(crate) fn keep_fresh(&self) {
        tokio::spawn(self.operator.clone().keep_fresh());
        tokio::spawn(self.reader.credential.clone().keep_fresh());
    }

    /// Sends one permitted request. A read that surely had no effect may be tried
    /// again; a change is sent once, whatever happens.
    pub(crate) async fn forward(&self, permit: Permit) -> ForwardResult {
        let (decision, request) = permit.into_parts();
        let tries = if request.method == Method::GET {
            READ_TRIES
        } else {
            1
        };
        let mut tried = 0;
        loop {
            tried += 1;
            let result = self.send(&self.operator, decision, &request).await;
            let wait = match &result {
                ForwardResult::Answered(answer) => again_after(answer.status, &answer.headers),
                ForwardResult::NotSent(_) | ForwardResult::Unknown(_) => Some(backoff(tried)),
                ForwardResult::Unauthorized(_) => None,
            };
            match wait {
                Some(wait) if tried < tries => tokio::time::sleep(wait).await,
                _ => return result,
            }
        }
    }

    /// Whether there is an identity with rights on the resource guards.
    pub(crate) fn unlocks(&self) -> bool {
        self.guard.is_some()
    }

    /// Unlocks one resource for its deletion, once.
    pub(crate) async fn unlock(&self, permit: UnlockPermit) -> ForwardResult {
        let (decision, request) = permit.into_parts();
        match &self.guard {
            Some(guard) => self.send(guard, decision, &request).await,
            None => ForwardResult::NotSent("there is no identity for resource guards".into()),
        }
    }

    async fn send(
        &self,
        identity: &Credential,
        decision: Uuid,
        request: &UpstreamRequest,
    ) -> ForwardResult {
        let token = match identity.token().await {
            Ok(token) => token,
            Err(error) => return ForwardResult::NotSent(error.to_string()),
        };
        let mut headers = request.headers.clone();
        // Ours comes last: nothing that a caller sent can replace it.
        headers.insert(AUTHORIZATION, token.header());
        if request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let method = request.method.clone();
        let body = request.body.clone();
        let built = build(
            &self.origin,
            method,
            &request.path_and_query,
            headers,
            decision,
            body,
        );
        let Some(built) = built else {
            return ForwardResult::NotSent("the request cannot be written as HTTP".into());
        };
        let limits = if request.method == Method::GET {
            self.read_limits
        } else {
            self.limits
        };
        match self.outbound.fetch(built, limits).await {
            Ok(answer) => {
                let (mut parts, body) = answer.into_parts();
                let body = self.reader.issued.taken_out(&mut parts.headers, body);
                compare_clocks(&self.reader.clock, &parts.headers);
                let answer = UpstreamAnswer {
                    status: parts.status,
                    headers: headers::to_caller(&parts.headers),
                    body,
                };
                match answer.status {
                    StatusCode::UNAUTHORIZED => {
                        identity.forget().await;
                        ForwardResult::Unauthorized(answer)
                    }
                    _ => ForwardResult::Answered(answer),
                }
            }
            Err(error) if error.not_sent() => ForwardResult::NotSent(error.to_string()),
            Err(error) => ForwardResult::Unknown(error.to_string()),
        }
    }
}

impl Reader {
    /// One GET, tried again when nobody answers.
    pub(crate) async fn get(
        &self,
        observation: Uuid,
        target: &ReadTarget,
        decision: Option<Uuid>,
    ) -> Result<ReadAnswer, ReadError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let result = self.once(observation, target, decision).await;
            let wait = match &result {
                Ok((answer, headers)) => again_after(answer.status, headers),
                Err(ReadError::Fetch(_)) => Some(backoff(tried)),
                Err(_) => None,
            };
            match wait {
                Some(wait) if tried < READ_TRIES => tokio::time::sleep(wait).await,
                _ => return result.map(|(answer, _)| answer),
            }
        }
    }

    async fn once(
        &self,
        observation: Uuid,
        target: &ReadTarget,
        decision: Option<Uuid>,
    ) -> Result<(ReadAnswer, HeaderMap), ReadError> {
        let token = self.credential.token().await?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.header());
        if let Some(decision) = decision
            && let Ok(value) = HeaderValue::try_from(decision.to_string())
        {
            headers.insert("x-ms-correlation-request-id", value);
        }
        let built = build(
            &self.origin,
            Method::GET,
            &target.0,
            headers,
            observation,
            None,
        );
        let built = built.ok_or_else(|| ReadError::Target(target.0.clone()))?;
        let (mut parts, body) = self.outbound.fetch(built, self.limits).await?.into_parts();
        let body = self.issued.taken_out(&mut parts.headers, body);
        compare_clocks(&self.clock, &parts.headers);
        if parts.status == StatusCode::UNAUTHORIZED {
            self.credential.forget().await;
            return Err(ReadError::Unauthorized(parts.status));
        }
        let etag = parts.headers.get(http::header::ETAG);
        let answer = ReadAnswer {
            status: parts.status,
            etag: etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned),
            retry_after: retry_after(&parts.headers),
            body,
        };
        Ok((answer, parts.headers))
    }
}

fn build(
    origin: &str,
    method: Method,
    path_and_query: &str,
    mut headers: HeaderMap,
    id: Uuid,
    body: Option<Bytes>,
) -> Option<Request<Bytes>> {
    let id = HeaderValue::try_from(id.to_string()).ok()?;
    headers.insert("x-ms-client-request-id", id.clone());
    headers.entry("x-ms-correlation-request-id").or_insert(id);
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("application/json"));
    let uri = at(origin, path_and_query)?;
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .body(body.unwrap_or_default())
        .ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// An address of the origin: no path makes it another's. `@evil.example/` behind a host is a
/// host of its own, and the token goes wherever the address says.
fn at(origin: &str, path_and_query: &str) -> Option<Uri> {
    let uri: Uri = format!("{origin}{path_and_query}").parse().ok()?;
    let own: Uri = origin.parse().ok()?;
    let same = uri.authority() == own.authority() && uri.scheme() == own.scheme();
    (same && path_and_query.starts_with('/')).then_some(uri)
}

fn compare_clocks(clock: &Clock, headers: &HeaderMap) {
    if let Some(date) = headers
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok())
    {
        clock.compare(date);
    }
}

/// When a read may be tried again after this answer, if at all.
fn again_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let later = matches!(status.as_u16(), 500 | 502 | 503 | 504);
    if !later {
        return None;
    }
    let wait = retry_after(headers).unwrap_or(Duration::from_millis(200));
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// `Retry-After` in whole seconds, as ARM gives it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let after = headers.get(RETRY_AFTER)?.to_str().ok()?;
    after.parse().ok().map(Duration::from_secs)
}

fn backoff(tried: u32) -> Duration {
    Duration::from_millis(100).saturating_mul(1 << tried.min(5))
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn no_path_leads_to_another_host() {
        let origin = "https://management.example.com";
        assert!(at(origin, "/subscriptions/s?api-version=1").is_some());
        assert!(
            at(origin, "//evil.example/x")
                .is_some_and(|uri| uri.host() == Some("management.example.com"))
        );
        for hostile in [
            "@evil.example/x",
            ":x@evil.example/x",
            ".evil.example/x",
            ":444/x",
            "",
            "x",
            "?x",
            "\\x",
        ] {
            assert!(at(origin, hostile).is_none(), "{hostile}");
        }
        assert!(at("https://localhost:8443", "0/x").is_none());
    }
}
