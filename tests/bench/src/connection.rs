//! One keep-alive connection of the load generator: HTTP/1.1 by hand, over TLS or not.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http::Uri;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
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
    pub(crate) fn new(url: &Uri, ca: &Path) -> anyhow::Result<Dialer> {
        let secure = url.scheme_str() == Some("https");
        let tls = secure.then(|| crate::tls::client(ca)).transpose()?;
        Ok(Dialer {
            host: url.host().context("a host")?.to_owned(),
            port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
        })
    }

    pub(crate) async fn dial(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
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
