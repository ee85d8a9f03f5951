//! The floor: a raw hyper pass-through from TLS to TLS, without a single check.
//! Layers can be switched on, to measure each; it is a measure and no gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
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

use crate::layers::{Layers, Named};

type Upstream = Client<HttpsConnector<HttpConnector>, Incoming>;

/// The floor, as the command line tells it.
#[derive(clap::Args)]
pub(crate) struct Floor {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    ca: PathBuf,
    /// Origin of the upstream, such as `https://localhost:9001`
    #[arg(long)]
    upstream: String,
    #[command(flatten)]
    layers: Named,
}

/// What every request needs.
struct Pass {
    client: Upstream,
    upstream: String,
    layers: Arc<Layers>,
}

impl Floor {
    pub(crate) async fn serve(self) -> anyhow::Result<()> {
        let acceptor = crate::tls::acceptor(&self.cert, &self.key)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(crate::tls::client(&self.ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client: Upstream = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        let pass = Arc::new(Pass {
            client,
            upstream: self.upstream,
            layers: self.layers.build()?,
        });
        let listener = TcpListener::bind(self.listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, pass) = (acceptor.clone(), Arc::clone(&pass));
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let pass = Arc::clone(&pass);
                    async move { pass.on(request).await }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

impl Pass {
    async fn on(
        &self,
        mut request: Request<Incoming>,
    ) -> anyhow::Result<Response<BoxBody<Bytes, hyper::Error>>> {
        let judged = self
            .layers
            .judge(request.method(), request.uri(), request.headers());
        if let Err(status) = judged.await {
            return Ok(empty(status));
        }
        let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
        *request.uri_mut() = format!("{}{target}", self.upstream).parse::<Uri>()?;
        request.headers_mut().remove(http::header::HOST);
        match self.client.request(request).await {
            Ok(answer) => Ok(answer.map(|body| body.boxed())),
            Err(_) => Ok(empty(StatusCode::BAD_GATEWAY)),
        }
    }
}

fn empty(status: StatusCode) -> Response<BoxBody<Bytes, hyper::Error>> {
    let body = Empty::new().map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
