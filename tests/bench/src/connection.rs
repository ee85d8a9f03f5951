//! One keep-alive connection of the load generator: HTTP/1.1 by hand, over TLS or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, ensure};
use http::Uri;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Longest answer that is read.
const LONGEST: usize = 1 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to one address.
pub(crate) struct Dialer {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    /// The next loopback address to come from, if each connection has its own.
    source: Option<AtomicU16>,
}

/// An open connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// An answer that was read whole.
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// Whether the connection can be used again.
    pub(crate) open: bool,
}

impl Dialer {
    /// With `sources`, each connection comes from a loopback address of its own, as if
    /// from another machine: gateways bound what one address may cost them.
    pub(crate) fn new(url: &Uri, ca: &Path, sources: bool) -> anyhow::Result<Dialer> {
        let secure = url.scheme_str() == Some("https");
        let tls = secure.then(|| crate::tls::client(ca)).transpose()?;
        Ok(Dialer {
            host: url.host().context("a host")?.to_owned(),
            port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
            source: sources.then(|| AtomicU16::new(1)),
        })
    }

    pub(crate) async fn dial(&self) -> anyhow::Result<Connection> {
        let stream = match &self.source {
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
            Some(source) => {
                let [high, low] = source.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)))?;
                socket
                    .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
                    .await?
            }
        };
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())?;
                Box::new(tls.connect(name, stream).await?)
            }
            None => Box::new(stream),
        };
        Ok(Connection {
            stream,
            buffer: Vec::new(),
        })
    }
}

impl Connection {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answered> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let head = loop {
            self.more().await?;
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let text = std::str::from_utf8(self.buffer.get(..head).context("a head")?)?;
        let status = text.get(9..12).context("a status line")?.parse()?;
        let (mut length, mut chunked, mut open) = (None, false, true);
        for line in text.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse::<usize>()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                open = !value.eq_ignore_ascii_case("close");
            }
        }
        if chunked {
            while !self.buffer.ends_with(b"0\r\n\r\n") {
                self.more().await?;
            }
        } else {
            let end = head + length.unwrap_or(0);
            ensure!(end <= LONGEST, "an answer of {end} bytes");
            while self.buffer.len() < end {
                self.more().await?;
            }
        }
        Ok(Answered { status, open })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(4096);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection was closed");
        ensure!(self.buffer.len() <= LONGEST, "the answer does not end");
        Ok(())
    }
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|at| at == pattern)
}
