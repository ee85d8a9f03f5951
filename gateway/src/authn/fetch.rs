//! What may be fetched to verify a token: an issuer's own documents, nothing else.
//!
//! Each request is held to the issuer's origin, or to the one pinned address,
//! before it is made: a discovery document cannot send the gateway elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use url::Url;

use crate::outbound::{FetchLimits, Outbound};

/// Longest time for one attempt: discovery and key set together.
pub(super) const TOTAL: Duration = Duration::from_secs(5);
/// Largest document, bytes.
pub(super) const MAX_BODY: usize = 256 << 10;

/// Why a document was not fetched, or not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("`{0}` is not an address of this issuer")]
    Elsewhere(String),
    #[error("`{0}` answers with a redirect")]
    Redirect(String),
    #[error("the document is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("{0}")]
    Outbound(String),
}

/// The way out.
#[derive(Clone)]
#[cfg_attr(
    test,
    expect(
        clippy::large_enum_variant,
        reason = "the small one is the tests' only"
    )
)]
pub(super) enum Egress {
    Outbound(Outbound),
    #[cfg(test)]
    Scripted(std::sync::Arc<super::tests::provider::Provider>),
    #[cfg(fuzzing)]
    Given(Bytes),
}

impl Egress {
    async fn fetch(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchFault> {
        let limits = FetchLimits {
            total: TOTAL,
            max_body: MAX_BODY,
        };
        match self {
            Egress::Outbound(outbound) => {
                let fetched = outbound.fetch(request, limits).await;
                fetched.map_err(|error| FetchFault::Outbound(error.to_string()))
            }
            #[cfg(test)]
            Egress::Scripted(provider) => provider.answer(request).await,
            #[cfg(fuzzing)]
            Egress::Given(answer) => {
                let mut response = Response::new(answer.clone());
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert("content-type", json);
                Ok(response)
            }
        }
    }
}

/// Where requests may go.
#[derive(Clone, Debug)]
pub(super) enum Permitted {
    /// To the issuer's origin.
    Origin(Url),
    /// To one address.
    Only(Url),
}

impl Permitted {
    fn allows(&self, url: &Url) -> bool {
        match self {
            Permitted::Origin(own) => own.origin() == url.origin(),
            Permitted::Only(pinned) => pinned == url,
        }
    }
}

/// The client that `openidconnect` fetches with.
pub(super) struct KeyClient {
    egress: Egress,
    permitted: Permitted,
}

impl KeyClient {
    pub(super) fn new(egress: Egress, permitted: Permitted) -> KeyClient {
        KeyClient { egress, permitted }
    }

    async fn get(&self, request: HttpRequest) -> Result<HttpResponse, FetchFault> {
        let target = request.uri().to_string();
        match Url::parse(&target) {
            Ok(url) if self.permitted.allows(&url) => {}
            _ => return Err(FetchFault::Elsewhere(target)),
        }
        let response = self.egress.fetch(request.map(Bytes::from)).await?;
        if response.status().is_redirection() {
            return Err(FetchFault::Redirect(target));
        }
        if response.body().len() > MAX_BODY {
            return Err(FetchFault::TooLarge);
        }
        Ok(response.map(|body| body.to_vec()))
    }
}

impl<'c> AsyncHttpClient<'c> for KeyClient {
    type Error = FetchFault;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchFault>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.get(request))
    }
}
