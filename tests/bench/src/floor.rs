//! The floor: a raw hyper pass-through from TLS to TLS, without a single check.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

type Upstream = Client<HttpsConnector<HttpConnector>, Incoming>;

pub(crate) async fn serve(
    listen: SocketAddr,
    cert: &Path,
    key: &Path,
    ca: &Path,
    upstream: String,
) -> anyhow::Result<()> {
    let acceptor = crate::tls::acceptor(cert, key)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(crate::tls::client(ca)?)
        .https_only()
        .enable_http1()
        .wrap_connector(http);
    let client: Upstream = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .build(connector);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, client, upstream) = (acceptor.clone(), client.clone(), upstream.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service =
                service_fn(move |request| pass(client.clone(), upstream.clone(), request));
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    client: Upstream,
    upstream: String,
    mut request: Request<Incoming>,
) -> anyhow::Result<Response<BoxBody<Bytes, hyper::Error>>> {
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    *request.uri_mut() = format!("https://{upstream}{target}").parse::<Uri>()?;
    request.headers_mut().remove(http::header::HOST);
    match client.request(request).await {
        Ok(answer) => Ok(answer.map(|body| body.boxed())),
        Err(_) => {
            let empty = Empty::new().map_err(|never| match never {}).boxed();
            let mut answer = Response::new(empty);
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            Ok(answer)
        }
    }
}
