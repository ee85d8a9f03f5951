//! Starting and stopping the emulator, and the handle that tests hold.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::faults::FaultRule;
use crate::idp::{Idp, Issuer, TokenRequest};
use crate::journal::{Entry, Identity, Journal};
use crate::state::State;
use crate::tls::{self, DevCa, dev_ca};

/// Where the server's certificate comes from.
#[derive(Clone, Debug)]
pub enum Tls {
    /// A development authority in this folder, made when it is not there.
    Dev(PathBuf),
    /// A certificate chain and key in PEM files.
    Pem {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// How to start.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Address of the HTTPS origin; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the plain-HTTP listener (instance metadata and control).
    pub http_listen: SocketAddr,
    /// Certificates; without it a development authority in a fresh temporary folder.
    pub tls: Option<Tls>,
    /// How fast Azure's jobs run; at 1 an operation takes half a second, a job two.
    pub time_scale: f64,
    /// A file that repeats the journal, one JSON line an entry, synced before any effect.
    pub journal: Option<PathBuf>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SimOptions {
            listen: any,
            http_listen: any,
            tls: None,
            time_scale: 1.0,
            journal: None,
            http2: true,
        }
    }
}

/// The emulator.
#[derive(Debug)]
pub struct Sim;

impl Sim {
    /// Binds both listeners and serves until the handle is shut down or dropped.
    ///
    /// # Errors
    /// When an address cannot be bound or a certificate cannot be read.
    pub async fn start(options: SimOptions) -> Result<SimHandle> {
        // A second call finds the provider installed; it is the same one.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let (tls, dev) = certificates(&options)?;
        let https = bind(options.listen).await?;
        let plain = bind(options.http_listen).await?;
        let origin = format!("https://localhost:{}", https.local_addr()?.port());
        let journal =
            Journal::open(options.journal.as_deref()).context("cannot open the journal file")?;
        let state = Arc::new(State::new(
            origin.clone(),
            journal,
            Idp::new(&origin)?,
            options.time_scale,
        ));
        let (stop, stopped) = watch::channel(false);
        let plain_url = format!("http://{}", plain.local_addr()?);
        let servers = vec![
            tokio::spawn(crate::server::serve(
                https,
                Some(TlsAcceptor::from(tls)),
                Arc::clone(&state),
                stopped.clone(),
            )),
            tokio::spawn(crate::server::serve(
                plain,
                None,
                Arc::clone(&state),
                stopped,
            )),
        ];
        let issuer = |which| state.idp().issuer(which);
        Ok(SimHandle {
            idp_issuer_entra: issuer(Issuer::Entra),
            idp_issuer_oidc: issuer(Issuer::Oidc),
            azure_url: origin.clone(),
            keyvault_url: origin,
            imds_url: plain_url.clone(),
            control_url: plain_url,
            dev_ca: dev,
            state,
            stop,
            servers,
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on `{address}`"))
}

fn certificates(options: &SimOptions) -> Result<(Arc<rustls::ServerConfig>, Option<DevCa>)> {
    let dir = match &options.tls {
        Some(Tls::Pem { cert, key }) => {
            return Ok((tls::server_config(cert, key, options.http2)?, None));
        }
        Some(Tls::Dev(dir)) => dir.clone(),
        None => std::env::temp_dir().join(format!("vaultgate-sim-{}", crate::digest::fresh_uuid())),
    };
    let dev = dev_ca(&dir)?;
    Ok((
        tls::server_config(&dev.cert, &dev.key, options.http2)?,
        Some(dev),
    ))
}

/// A running emulator. Dropping it stops it.
pub struct SimHandle {
    /// Where ARM is: `https://localhost:<port>`.
    pub azure_url: String,
    /// `iss` of the Entra-like issuer.
    pub idp_issuer_entra: String,
    /// `iss` of the generic issuer.
    pub idp_issuer_oidc: String,
    /// Where instance metadata is: `http://127.0.0.1:<port>`.
    pub imds_url: String,
    /// Where Key Vault is: the same origin as ARM.
    pub keyvault_url: String,
    /// Where `/_sim/…` is without TLS.
    pub control_url: String,
    /// The development authority, when there is one.
    pub dev_ca: Option<DevCa>,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl SimHandle {
    /// Every request that reached the emulator so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.state.journal.entries()
    }

    /// Waits until `count` entries satisfy `wanted`, however long it takes; the caller
    /// sets the limit.
    pub async fn journaled(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut watch = self.state.journal.watch();
        loop {
            let found: Vec<Entry> = self.journal().into_iter().filter(&wanted).collect();
            if found.len() >= count || watch.changed().await.is_err() {
                return found;
            }
        }
    }

    /// Switches a fault on.
    pub fn fault(&self, rule: FaultRule) {
        self.state.faults.add(rule);
    }

    /// How long jobs take that begin from now on, milliseconds at scale 1; as usual for none.
    pub fn jobs_last(&self, ms: Option<u64>) {
        self.state.world().job_plan.lasts_ms = ms;
    }

    /// Lets held answers go.
    pub fn thaw(&self) {
        self.state.faults.thaw();
    }

    /// Mints a caller's token.
    ///
    /// # Errors
    /// When the persona or the key does not exist.
    pub fn token(&self, request: &TokenRequest) -> Result<String> {
        self.state.idp().mint(request)
    }

    /// Mints a token of one of the gateway's own Azure identities.
    #[must_use]
    pub fn azure_token(&self, identity: Identity) -> String {
        self.state.tokens().mint(identity)
    }

    /// Winds Azure's clock forward, so that what is due ends now.
    pub fn advance(&self, by: std::time::Duration) {
        let mut world = self.state.world();
        world.clock.advance(by);
        world.settle();
    }

    /// A fresh world and an empty journal.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// The certificate that clients must trust, when the emulator made it.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&Path> {
        self.dev_ca.as_ref().map(|dev| dev.ca.as_path())
    }

    /// Stops both listeners and drops every connection.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for server in self.servers.drain(..) {
            // A listener that failed has stopped as well.
            let _ = server.await;
        }
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl std::fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimHandle")
            .field("azure_url", &self.azure_url)
            .finish_non_exhaustive()
    }
}
