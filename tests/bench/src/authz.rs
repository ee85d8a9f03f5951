//! The external authorizer beside Envoy: verifies the token (cached), evaluates the
//! shipped Rego, answers 200, 401 or 403. It writes no record and gathers no facts,
//! so it is a lower bound for a real policy sidecar.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::layers::Layers;

pub(crate) async fn serve(listen: SocketAddr, layers: Arc<Layers>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let layers = Arc::clone(&layers);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| answer(Arc::clone(&layers), request));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    layers: Arc<Layers>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let _ = body.collect().await;
    let judged = layers
        .judge(&parts.method, &parts.uri, &parts.headers)
        .await;
    let mut answer = Response::new(Empty::new());
    if let Err(status) = judged {
        *answer.status_mut() = status;
    }
    Ok(answer)
}
