//! The doors: sockets, TLS and connections. It picks a door and nothing else.
//!
//! Owns every limit that holds before a caller is known: handshake, first byte,
//! header and body times, connections per source and in all. Work done here for
//! a stranger is bounded in memory and never touches the disk.

mod frames;
mod patience;
pub(crate) mod peer;
pub(crate) mod proxy_protocol;
pub(crate) mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::admit::ConnectionCaps;
use crate::config::Listener as Settings;
use crate::telemetry::Metrics;

use frames::Metered;
use patience::{Patience, Spent};
pub(crate) use peer::Peer;
pub(crate) use tls::Tls;

/// What a door answers with: the whole body at once, already bounded.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Largest header block, bytes, for either protocol version.
pub(crate) const MAX_HEADER_BYTES: usize = 32 << 10;
/// Most headers of one request.
const MAX_HEADERS: usize = 100;
/// Most requests in flight on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Most streams that the gateway has to reset on one HTTP/2 connection: an honest client
/// makes no such mistakes, and each costs memory until the connection ends (CVE-2025-8671).
const MAX_RESETS: usize = 128;

/// Serves the data door until `stop` turns true, then lets requests in flight end.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    door: H,
    tls: Tls,
    settings: Arc<Settings>,
    caps: ConnectionCaps,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    // Every connection holds one end: when all are gone the other end is told.
    let (open, mut gone) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: waiting lets others close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = Connection {
            door: door.clone(),
            tls: tls.clone(),
            settings: Arc::clone(&settings),
            caps: caps.clone(),
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
            _open: open.clone(),
        };
        tokio::spawn(connection.run(stream, address));
    }
    drop(listener);
    drop(open);
    if timeout(settings.drain_timeout, gone.recv()).await.is_err() {
        tracing::warn!("requests were still in flight when the drain time ended");
    }
}

/// Serves plain HTTP for metrics and health, which say nothing secret.
pub(crate) async fn serve_plain<H, F>(
    listener: TcpListener,
    door: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let door = door.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = door(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .keep_alive(false);
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// One accepted connection and what it needs.
struct Connection<H> {
    door: H,
    tls: Tls,
    settings: Arc<Settings>,
    caps: ConnectionCaps,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    _open: mpsc::Sender<Infallible>,
}

impl<H, F> Connection<H>
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    async fn run(self, mut stream: TcpStream, address: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let trusted = self.settings.proxy_protocol_from.contains(&address.ip());
        let source = if trusted {
            let header = proxy_protocol::read(&mut stream);
            match timeout(self.settings.handshake_timeout, header).await {
                Ok(Ok(source)) => source.unwrap_or(address),
                _ => return self.metrics.connection_refused("proxy-protocol"),
            }
        } else {
            address
        };
        // Held until the connection ends: one source cannot take every slot.
        let Some(_slot) = self.caps.try_acquire(source.ip()) else {
            return self.metrics.connection_refused("connection-cap");
        };
        let handshake = self.tls.acceptor().accept(stream);
        let Ok(Ok(mut stream)) = timeout(self.settings.handshake_timeout, handshake).await else {
            return self.metrics.connection_refused("handshake");
        };
        // hyper's header timeout starts with the first byte: a client that
        // finishes TLS and then says nothing would be kept forever.
        let first = timeout(self.settings.header_timeout, stream.fill_buf()).await;
        if !matches!(first, Ok(Ok([_, ..]))) {
            return self.metrics.connection_refused("silent");
        }
        self.talk(stream, source).await;
    }

    /// Serves requests until the client or the gateway is done.
    async fn talk(&self, stream: TlsStream<TcpStream>, source: SocketAddr) {
        let tls = stream.get_ref().1;
        let peer = Peer::of(source, tls);
        // Agreed in the handshake and not guessed from the first bytes: whoever does not
        // name HTTP/2 there speaks HTTP/1.1.
        let http2 = tls.alpn_protocol() == Some(b"h2".as_slice());
        let stream = Metered::new(stream, http2, Arc::clone(&self.metrics));
        let patience = Patience::new(self.settings.header_timeout, self.settings.answer_timeout);
        let door = self.door.clone();
        let asked = Arc::clone(&patience);
        let service = service_fn(move |request| {
            let exchange = asked.asked();
            let answer = door(peer.clone(), request);
            async move { Ok::<_, Infallible>(answer.await.map(|body| exchange.answered(body))) }
        });
        let http = protocol(&self.settings, http2);
        let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut stop = self.stop.clone();
        let mut leaving = false;
        loop {
            let spent = tokio::select! {
                _ = served.as_mut() => return,
                _ = stop.wait_for(|stop| *stop), if !leaving => Spent::Idle,
                spent = patience.spent() => spent,
            };
            match spent {
                Spent::Unread => return self.metrics.connection_refused("unread"),
                Spent::Silent | Spent::Idle if leaving => return,
                Spent::Silent => self.metrics.connection_refused("silent"),
                Spent::Idle => {}
            }
            // Requests in flight end; a client that has none is told to go.
            served.as_mut().graceful_shutdown();
            patience.leave();
            leaving = true;
        }
    }
}

/// HTTP/1.1 or HTTP/2 with every limit on. The limit on streams that the client resets
/// stays at its default, which is on: rapid reset costs the client its connection.
fn protocol(settings: &Settings, http2: bool) -> auto::Builder<TokioExecutor> {
    let http = auto::Builder::new(TokioExecutor::new());
    let mut http = if http2 {
        http.http2_only()
    } else {
        http.http1_only()
    };
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(2 * MAX_HEADER_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}
