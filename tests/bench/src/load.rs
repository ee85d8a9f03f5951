//! A load generator: keep-alive connections, GETs, latencies as measured.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Latencies of one connection, and how many answers were no success.
type Measured = (Vec<u32>, u64);

pub(crate) async fn run(
    url: &str,
    ca: &Path,
    token: &Path,
    connections: usize,
    seconds: f64,
    rate: Option<f64>,
) -> anyhow::Result<()> {
    let uri: Uri = url.parse()?;
    let token = std::fs::read_to_string(token)?.trim().to_owned();
    let connector = TlsConnector::from(Arc::new(crate::tls::client(ca)?));
    let pause = rate.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let connection = one(uri.clone(), connector.clone(), token.clone(), until, pause);
        tasks.push(tokio::spawn(connection));
    }
    let (mut latencies, mut bad) = (Vec::new(), 0);
    for task in tasks {
        let (measured, refused) = task.await??;
        latencies.extend(measured);
        bad += refused;
    }
    let took = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index =
            ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or_default()
    };
    let result = serde_json::json!({
        "requests": latencies.len(), "bad": bad, "seconds": took,
        "rps": latencies.len() as f64 / took,
        "p50_us": at(0.50), "p90_us": at(0.90), "p99_us": at(0.99),
    });
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

async fn one(
    uri: Uri,
    connector: TlsConnector,
    token: String,
    until: Instant,
    pause: Option<Duration>,
) -> anyhow::Result<Measured> {
    let host = uri.host().context("a host")?.to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.clone())?;
    let stream = connector.connect(name, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |t| t.as_str()).to_owned();
    let (mut latencies, mut bad) = (Vec::new(), 0);
    while Instant::now() < until {
        let request = Request::get(&target)
            .header("host", format!("{host}:{port}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<Bytes>::new())?;
        let sent = Instant::now();
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        bad += u64::from(!answer.status().is_success());
        answer.into_body().collect().await?;
        let took = sent.elapsed();
        latencies.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        if let Some(pause) = pause {
            tokio::time::sleep(pause.saturating_sub(took)).await;
        }
    }
    Ok((latencies, bad))
}
