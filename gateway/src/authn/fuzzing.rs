//! What the fuzz target of tokens reaches: the whole way from headers to a principal,
//! with keys that are given instead of fetched. `tests/fuzz` builds with
//! `--cfg fuzzing`, and nothing else does.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};
use vaultgate_pdp::Principal;

use super::fetch::Egress;
use super::{Authenticator, Presented};
use crate::clock::Clock;

/// A door with its issuers, at one moment that does not pass.
pub struct Door {
    authenticator: Authenticator,
    runtime: Runtime,
    origin: &'static str,
    /// Each request comes from an address of its own: a few thousand meet no limit.
    source: AtomicU32,
}

impl Door {
    /// A door for the issuers of a configuration whose keys are all of `jwks`.
    pub fn new(
        configuration: &str,
        origin: &'static str,
        jwks: &str,
        now: i64,
    ) -> std::io::Result<Door> {
        super::install_crypto();
        let issuers = crate::config::fuzzing::issuers(configuration);
        let clock = Clock::manual(Timestamp::from_second(now).unwrap_or_default());
        let egress = Egress::Given(Bytes::copy_from_slice(jwks.as_bytes()));
        Ok(Door {
            runtime: Builder::new_current_thread().enable_all().build()?,
            authenticator: Authenticator::with(&issuers, egress, clock),
            origin,
            source: AtomicU32::new(0),
        })
    }

    /// Says who a POST of `path` with these headers is from, or the refusal's code.
    pub fn ask(
        &self,
        path: &str,
        headers: &[(&'static str, &[u8])],
    ) -> Result<Principal, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value).map_err(|_| "no-header")?;
            map.append(*name, value);
        }
        let source = Ipv4Addr::from(self.source.fetch_add(1, Ordering::Relaxed));
        let presented = Presented {
            method: &Method::POST,
            origin: self.origin,
            path,
            headers: &map,
            client_certificate_sha256: None,
            source: IpAddr::V4(source),
        };
        let asked = self.authenticator.authenticate(presented);
        let caller = self.runtime.block_on(asked).map_err(|error| error.code())?;
        Ok((*caller.principal).clone())
    }
}

/// The object that a token's part is read as.
pub fn object(bytes: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    super::strict_json::object(bytes)
}
