//! A small HTTPS client, and one emulator for each test.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use vaultgate_sim::{Identity, PROD, Sim, SimHandle, SimOptions};

pub(crate) const VERSION: &str = "api-version=2026-08-01";
pub(crate) const ITEM: &str = "backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;rg1;vm1/protectedItems/VM;iaasvmcontainerv2;rg1;vm1";

pub(crate) fn vault(name: &str) -> String {
    format!(
        "/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/{name}"
    )
}

pub(crate) fn backup_vault() -> String {
    format!(
        "/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.DataProtection/backupVaults/bv1"
    )
}

/// The operator's `name`-th virtual machine in `vault`.
pub(crate) fn machine(vault: &str, name: &str) -> String {
    format!("{vault}/{}", ITEM.replace("vm1", name))
}

pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Fails unless the status is as expected.
    pub(crate) fn is(self, status: u16) -> Got {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

pub(crate) struct Caller {
    pub(crate) sim: SimHandle,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(crate) operator: String,
    pub(crate) reader: String,
    _dir: tempfile::TempDir,
}

impl Caller {
    /// An emulator whose jobs end when the test winds the clock.
    pub(crate) async fn start() -> Caller {
        Caller::with(SimOptions {
            time_scale: 0.01,
            ..SimOptions::default()
        })
        .await
    }

    pub(crate) async fn with(options: SimOptions) -> Caller {
        let dir = tempfile::tempdir().unwrap();
        let tls = Some(vaultgate_sim::Tls::Dev(dir.path().to_owned()));
        let sim = Sim::start(SimOptions { tls, ..options }).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(sim.ca_pem().unwrap()).unwrap())
            .unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let (operator, reader) = (
            sim.azure_token(Identity::Operator),
            sim.azure_token(Identity::Reader),
        );
        Caller {
            sim,
            http,
            operator,
            reader,
            _dir: dir,
        }
    }

    /// Ends every operation and job that is under way.
    pub(crate) fn finish(&self) {
        self.sim.advance(std::time::Duration::from_secs(300));
    }

    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Got, String> {
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok(Got {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        self.try_send(request).await.unwrap()
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        token: &str,
        body: Option<Value>,
    ) -> Request<Full<Bytes>> {
        let uri = if target.starts_with('/') {
            format!("{}{target}", self.sim.azure_url)
        } else {
            target.to_owned()
        };
        let builder = Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        builder
            .body(Full::from(
                body.map(|body| body.to_string()).unwrap_or_default(),
            ))
            .unwrap()
    }

    /// As the operator, with the api-version when the target has no query.
    pub(crate) async fn call(&self, method: &str, target: &str, body: Option<Value>) -> Got {
        let target = if target.contains('?') {
            target.to_owned()
        } else {
            format!("{target}?{VERSION}")
        };
        self.send(self.request(method, &target, &self.operator, body))
            .await
    }

    pub(crate) async fn read(&self, target: &str) -> Value {
        self.call("GET", target, None).await.is(200).json()
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: Value) -> Got {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_sim/{path}", self.sim.control_url))
            .body(Full::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn form(&self, url: &str, form: &str) -> Got {
        let request = Request::builder()
            .method("POST")
            .uri(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form.to_owned()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn get(&self, url: &str) -> Got {
        self.send(Request::builder().uri(url).body(Full::default()).unwrap())
            .await
    }
}
