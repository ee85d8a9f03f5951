//! Requests at the console that take their time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use http::Method;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vaultgate_sim::{CONSOLE_AUDIENCE, Issuer, TokenRequest};

use crate::harness::people::{at_console, second_reviewer};
use crate::harness::{Setup, World};

/// A request whose head goes now and whose body later.
async fn begun(world: &World, token: &str, path: &str, length: usize) -> impl AsyncStream + use<> {
    let origin = world.gateway.console.as_ref().unwrap();
    let host = origin.strip_prefix("https://").unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_file_iter(&world.dev.ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(host).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

trait AsyncStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncStream for T {}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_begun_in_time_is_not_kept_for_later() {
    let world = World::with(Setup::default().with_console()).await;
    let token = world.sim.token(&TokenRequest {
        audience: Some(CONSOLE_AUDIENCE.into()),
        ..TokenRequest::new("soc", Issuer::Oidc)
    });
    let token = token.unwrap();
    let body = json!({"reason": "a drill"}).to_string();
    let path = "/_vaultgate/v1/incident/freeze";
    let mut stream = begun(&world, &token, path, body.len()).await;
    let (first, rest) = body.split_at(1);
    stream.write_all(first.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    // Its head was taken: another request on another connection is answered behind it.
    let looked = at_console(&world, "soc");
    let looked = looked.send(Method::GET, "/_vaultgate/v1/incident", None, &[]);
    assert_eq!(looked.await.status, 200);
    let stop = json!({"reason": "stolen", "target": {"kind": "subject",
        "issuer": world.sim.idp_issuer_oidc, "value": "soc"}});
    let path = "/_vaultgate/v1/quarantine";
    let stopped = second_reviewer(&world);
    let stopped = stopped.send(Method::POST, path, Some(&stop), &[]).await;
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("quarantined"),
        "{answer}"
    );
    let record = world.records().into_iter().any(|r| r["kind"] == "incident");
    assert!(!record, "what was begun before took effect");
}
