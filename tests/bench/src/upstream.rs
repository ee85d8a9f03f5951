//! A fixed upstream: the same kilobyte of JSON for every request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) async fn serve(
    listen: SocketAddr,
    plain: Option<SocketAddr>,
    cert: &Path,
    key: &Path,
) -> anyhow::Result<()> {
    let acceptor = crate::tls::acceptor(cert, key)?;
    let body = Bytes::from(serde_json::json!({ "value": "x".repeat(1000) }).to_string());
    if let Some(plain) = plain {
        let listener = TcpListener::bind(plain).await?;
        tokio::spawn(accept(listener, None, body.clone()));
    }
    accept(TcpListener::bind(listen).await?, Some(acceptor), body).await
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    body: Bytes,
) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (tls, body) = (tls.clone(), body.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        answer(stream, body).await;
                    }
                }
                None => answer(stream, body).await,
            }
        });
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, body: Bytes) {
    let service = service_fn(move |request: Request<Incoming>| {
        let body = body.clone();
        async move {
            let _ = request.into_body().collect().await;
            let mut answer = Response::new(Full::new(body));
            answer.headers_mut().insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/json"),
            );
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
