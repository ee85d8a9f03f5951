//! Bundles from a service, as OPA fetches them: asked again and again, by ETag, waiting where the
//! service lets us wait.
//!
//! What comes is verified, tried and activated like a folder; what is good is kept, so that
//! a start needs no service. A service that is down, slow or hostile changes nothing: the
//! bundle that decides stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::{HeaderValue, Request, StatusCode};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use crate::config::BundleService as Settings;
use crate::outbound::{FetchLimits, Outbound};
use crate::policy_source::PolicySource;
use crate::recorder::Recorder;

/// Shortest wait after a failure; each further one waits twice as long.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// Media type by which OPA's bundle services say that they let a client wait.
const LONG_POLLED: &str = "application/vnd.openpolicyagent.bundles";
/// Longest download, beyond the time that the service may keep us waiting.
const DOWNLOAD: Duration = Duration::from_secs(60);

/// Why no bundle came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The service did not answer as it should.
    #[error("the bundle service: {0}")]
    Answer(String),
    /// What came could not be kept.
    #[error("the bundle could not be kept as `{path}`: {error}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Fetches bundles.
pub(crate) struct BundleService {
    settings: Settings,
    outbound: Outbound,
    etag: Option<HeaderValue>,
    /// Digest of what came last: a service without ETags sends it again and again.
    last: Option<[u8; 32]>,
    /// Whether the service keeps us waiting for a change, as it was asked to.
    waits: bool,
}

impl BundleService {
    /// A client of the service.
    pub(crate) fn new(settings: &Settings, outbound: Outbound) -> BundleService {
        BundleService {
            settings: settings.clone(),
            outbound,
            etag: None,
            last: None,
            waits: false,
        }
    }

    /// The bundle to start with: the one that was kept, or else the first that comes. It is
    /// kept by [`BundleService::took`], once it was found good.
    pub(crate) async fn first(&mut self) -> Result<PathBuf, ServiceError> {
        let kept = self.settings.kept();
        if kept.is_file() {
            return Ok(kept);
        }
        match self.fetch().await? {
            Some(bytes) => {
                let next = kept.with_extension("next");
                keep(&next, &bytes)?;
                Ok(next)
            }
            None => Err(ServiceError::Answer(
                "it says that nothing changed, at first".into(),
            )),
        }
    }

    /// Keeps a bundle that is the active one now, for the next start.
    pub(crate) fn took(&self, path: &Path) -> Result<(), ServiceError> {
        let kept = self.settings.kept();
        if path == kept {
            return Ok(());
        }
        std::fs::rename(path, &kept).map_err(|error| ServiceError::Keep { path: kept, error })
    }

    /// Fetches until `stop` turns true.
    pub(crate) async fn run(
        mut self,
        policies: Arc<PolicySource>,
        recorder: Recorder,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let pause = match self.step(&policies, &recorder).await {
                Ok(()) => {
                    failures = 0;
                    // Who was kept waiting has waited already.
                    match self.waits {
                        true => self.settings.every.saturating_sub(began.elapsed()),
                        false => self.settings.every,
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no bundle from the service; the active one stays");
                    // As OPA does: what was known may be what is wrong.
                    self.etag = None;
                    failures = failures.saturating_add(1);
                    let doubled = 1_u32.checked_shl(failures.min(16) - 1).unwrap_or(u32::MAX);
                    BACKOFF.saturating_mul(doubled).min(MAX_BACKOFF)
                }
            };
            // Many gateways are not to ask at the same instant.
            let jitter = pause.mul_f64(f64::from(rand_share()) / 4.0);
            tokio::select! {
                () = tokio::time::sleep(pause.max(Duration::from_millis(50)) + jitter) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn step(
        &mut self,
        policies: &PolicySource,
        recorder: &Recorder,
    ) -> Result<(), ServiceError> {
        let Some(bytes) = self.fetch().await? else {
            return Ok(());
        };
        let digest = crate::digest::sha256_raw(&bytes);
        if self.last.replace(digest) == Some(digest) {
            return Ok(());
        }
        let next = self.settings.kept().with_extension("next");
        keep(&next, &bytes)?;
        if policies.take(&next, recorder).await {
            self.took(&next)?;
        }
        Ok(())
    }

    /// The bundle, if it is another than the last that came.
    async fn fetch(&mut self) -> Result<Option<Bytes>, ServiceError> {
        let failed = |error: &dyn std::fmt::Display| ServiceError::Answer(error.to_string());
        let wait = self.settings.long_poll.unwrap_or_default();
        let mut request = Request::get(&self.settings.url)
            .body(Bytes::new())
            .map_err(|error| failed(&error))?;
        let headers = request.headers_mut();
        let mut prefer = "modes=snapshot".to_owned();
        if !wait.is_zero() {
            prefer.push_str(&format!(";wait={}", wait.as_secs()));
        }
        headers.insert(
            HeaderName::from_static("prefer"),
            HeaderValue::try_from(prefer).map_err(|error| failed(&error))?,
        );
        if let Some(etag) = &self.etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(token) = &self.settings.token {
            let value = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::try_from(value).map_err(|error| failed(&error))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let limits = FetchLimits {
            total: DOWNLOAD + wait,
            max_body: self.settings.max_bytes,
        };
        let answer = self
            .outbound
            .fetch(request, limits)
            .await
            .map_err(|error| failed(&error))?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => Ok(None),
            StatusCode::OK => {
                self.etag = answer.headers().get(ETAG).cloned();
                // A service that knows of waiting says so by the type of what it sends.
                let kind = answer.headers().get(CONTENT_TYPE);
                self.waits = !wait.is_zero() && kind.is_some_and(|kind| kind == LONG_POLLED);
                Ok(Some(answer.into_body()))
            }
            status => Err(ServiceError::Answer(format!("it answered {status}"))),
        }
    }
}

/// Writes a file so that it is there whole or not at all.
fn keep(path: &Path, bytes: &[u8]) -> Result<(), ServiceError> {
    let failed = |error| ServiceError::Keep {
        path: path.to_owned(),
        error,
    };
    let part = path.with_extension("part");
    std::fs::write(&part, bytes).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}

/// A share of one, from what is random enough for a pause.
fn rand_share() -> f32 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    f32::from(bytes[0]) / 256.0
}
