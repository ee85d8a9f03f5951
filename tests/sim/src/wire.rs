//! Answers on the wire: the body type, and the tap that lets a fault put bytes of its
//! own on an HTTP/1.1 connection where hyper would refuse to write them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The emulator's answer as hyper sends it.
pub(crate) type Reply = Response<BoxBody<Bytes, io::Error>>;

/// A body of known bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Reply {
    let mut reply = Response::new(full(body.to_string()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    reply
}

/// A body of `bytes` spaces, sent piece by piece so that it is never held in memory.
pub(crate) fn endless(bytes: u64) -> BoxBody<Bytes, io::Error> {
    const PIECE: usize = 64 << 10;
    let piece = Bytes::from(vec![b' '; PIECE]);
    let count = bytes.div_ceil(PIECE as u64);
    let frames = (0..count).map(move |_| Ok::<_, io::Error>(Frame::data(piece.clone())));
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// Bytes to put on the wire in place of what hyper writes next.
pub(crate) type Instead = Arc<Mutex<Option<Vec<u8>>>>;

/// A connection whose next write can be replaced.
pub(crate) struct Tap<S> {
    inner: S,
    instead: Instead,
}

impl<S> Tap<S> {
    pub(crate) fn new(inner: S) -> (Tap<S>, Instead) {
        let instead = Instead::default();
        (
            Tap {
                inner,
                instead: Arc::clone(&instead),
            },
            instead,
        )
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let instead = {
            let mut slot = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
            slot.take()
        };
        let Some(bytes) = instead else {
            return Pin::new(&mut self.inner).poll_write(context, from);
        };
        match Pin::new(&mut self.inner).poll_write(context, &bytes) {
            Poll::Ready(Ok(written)) => {
                let rest = bytes.get(written..).unwrap_or_default().to_vec();
                if rest.is_empty() {
                    return Poll::Ready(Ok(from.len()));
                }
                self.put_back(rest);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => {
                self.put_back(bytes);
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S> Tap<S> {
    fn put_back(&self, bytes: Vec<u8>) {
        *self.instead.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}
