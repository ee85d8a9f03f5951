//! Bytes on the wire: TLS connections that write what they are told and read what
//! comes back. No HTTP library stands between a case and the gateway: it would mend
//! what a case means to break.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::runtime::Handle;

/// Longest time that an answer may take; beyond it the request hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
pub(super) const END_STREAM: u8 = 1;

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The stable reason, when the gateway itself refused.
    pub(super) reason: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum Got {
    Reply(Reply),
    /// The connection or the stream ended without an answer.
    Ended,
    /// Nothing came in time.
    Silent,
}

/// The gateway's door.
#[derive(Clone)]
pub(super) struct Door {
    address: SocketAddr,
    /// `host:port`, as requests name it.
    pub(super) authority: String,
    tls: [Arc<ClientConfig>; 2],
    handle: Handle,
}

impl Door {
    pub(super) fn new(url: &str, ca: &std::path::Path) -> Door {
        let authority = url.trim_start_matches("https://").to_owned();
        let port = authority.rsplit(':').next().unwrap().parse().unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let tls = ["http/1.1", "h2"].map(|protocol| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.into()];
            Arc::new(config)
        });
        Door {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            authority,
            tls,
            handle: Handle::current(),
        }
    }

    /// A connection from an address of its own, so that what is counted by address is
    /// counted apart.
    fn connect(&self, http2: bool, from: Ipv4Addr) -> StreamOwned<ClientConnection, TcpStream> {
        let connected = self.handle.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((IpAddr::V4(from), 0).into()).unwrap();
            socket.connect(self.address).await.unwrap().into_std()
        });
        let stream = connected.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        let tls = Arc::clone(&self.tls[usize::from(http2)]);
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(tls, name).unwrap(), stream)
    }

    pub(super) fn http1(&self, from: Ipv4Addr) -> Http1 {
        Http1(Bytes::of(self.connect(false, from)))
    }

    pub(super) fn http2(&self, from: Ipv4Addr) -> Http2 {
        let mut bytes = Bytes::of(self.connect(true, from));
        let mut hello = PREFACE.to_vec();
        // No dynamic table, and windows that no answer fills.
        let settings = [0, 1, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
        hello.extend(frame(SETTINGS, 0, 0, &settings));
        hello.extend(frame(WINDOW, 0, 0, &0x7f00_0000_u32.to_be_bytes()));
        bytes.write(&hello);
        Http2 { bytes, next: 1 }
    }
}

/// A connection and what was read from it too early.
struct Bytes {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Bytes {
    fn of(stream: StreamOwned<ClientConnection, TcpStream>) -> Bytes {
        Bytes {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Whoever is refused early may find the door closed while still writing.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// Reads on; what is wrong is how it ends.
    fn more(&mut self, until: Instant) -> Result<(), Got> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Got::Silent);
        }
        self.stream.sock.set_read_timeout(Some(left)).unwrap();
        let mut some = [0; 16 << 10];
        match self.stream.read(&mut some) {
            Ok(0) => Err(Got::Ended),
            Ok(n) => {
                self.buffer.extend(&some[..n]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Got::Silent)
            }
            Err(_) => Err(Got::Ended),
        }
    }
}

/// An HTTP/1.1 connection.
pub(super) struct Http1(Bytes);

impl Http1 {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The next answer. `bodiless` for answers to HEAD.
    pub(super) fn reply(&mut self, bodiless: bool) -> (Got, bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some((reply, closes)) = self.whole(bodiless) {
                // 1xx answers precede the real one.
                if reply.status >= 200 {
                    return (Got::Reply(reply), closes);
                }
                continue;
            }
            if let Err(got) = self.0.more(until) {
                return (got, true);
            }
        }
    }

    /// Takes a whole answer off the buffer, if there is one.
    fn whole(&mut self, bodiless: bool) -> Option<(Reply, bool)> {
        let buffer = &self.0.buffer;
        let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let header = |name: &str| {
            let mut lines = text.split("\r\n");
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let status = text.split(' ').nth(1)?.parse().unwrap();
        let length = header("content-length:").map_or(0, |length| length.parse().unwrap());
        let length = if bodiless || status < 200 { 0 } else { length };
        let body = buffer.get(head..head + length)?;
        let reply = Reply {
            status,
            reason: reason(body),
        };
        let closes = header("connection:") == Some("close");
        self.0.buffer.drain(..head + length);
        Some((reply, closes))
    }
}

/// An HTTP/2 connection.
pub(super) struct Http2 {
    bytes: Bytes,
    next: u32,
}

impl Http2 {
    /// Sends one stream's frames, each with its kind and flags, and reads its answer;
    /// tells whether the connection can go on.
    pub(super) fn ask(&mut self, frames: &[(u8, u8, Vec<u8>)]) -> (Got, bool) {
        let stream = self.next;
        self.next += 2;
        let mut bytes = Vec::new();
        for (kind, flags, payload) in frames {
            bytes.extend(frame(*kind, *flags, stream, payload));
        }
        self.bytes.write(&bytes);
        let until = Instant::now() + PATIENCE;
        let mut answer = Answering::default();
        loop {
            while let Some((kind, flags, own, payload)) = self.frame() {
                if let Some(over) = self.take(&mut answer, kind, flags, own == stream, &payload) {
                    return over;
                }
            }
            if let Err(got) = self.bytes.more(until) {
                return (got, false);
            }
        }
    }

    fn take(
        &mut self,
        answer: &mut Answering,
        kind: u8,
        flags: u8,
        own: bool,
        payload: &[u8],
    ) -> Option<(Got, bool)> {
        match kind {
            SETTINGS if flags & 1 == 0 => self.bytes.write(&frame(SETTINGS, 1, 0, &[])),
            PING if flags & 1 == 0 => self.bytes.write(&frame(PING, 1, 0, payload)),
            HEADERS if own => answer.status = status(payload),
            DATA if own => answer.body.extend(payload),
            RESET if own => {
                // A whole answer may be followed by a reset: the rest is not read.
                return Some((answer.clone().over().unwrap_or(Got::Ended), true));
            }
            GOAWAY => return Some((answer.clone().over().unwrap_or(Got::Ended), false)),
            _ => {}
        }
        let over = own && flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA);
        over.then(|| (answer.clone().over().unwrap_or(Got::Ended), true))
    }

    fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let buffer = &mut self.bytes.buffer;
        let head: [u8; 9] = buffer.get(..9)?.try_into().unwrap();
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        let payload = buffer.get(9..9 + length)?.to_vec();
        buffer.drain(..9 + length);
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

/// An answer on its way.
#[derive(Clone, Default)]
struct Answering {
    status: Option<u16>,
    body: Vec<u8>,
}

impl Answering {
    fn over(self) -> Option<Got> {
        Some(Got::Reply(Reply {
            status: self.status?,
            reason: reason(&self.body),
        }))
    }
}

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Header fields as HPACK literals without indexing or Huffman coding.
pub(super) fn literals(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(text.len(), &mut out);
            out.extend(text);
        }
    }
    out
}

fn length(mut length: usize, out: &mut Vec<u8>) {
    if length < 127 {
        return out.push(u8::try_from(length).unwrap());
    }
    out.push(127);
    length -= 127;
    while length >= 128 {
        out.push(u8::try_from(length % 128).unwrap() + 128);
        length /= 128;
    }
    out.push(u8::try_from(length).unwrap());
}

/// The status of an answer's header block: `:status` stands first, and of Huffman's
/// code only the digits are needed.
fn status(block: &[u8]) -> Option<u16> {
    let mut block = block;
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest; // the size of the dynamic table, which is 0
    }
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [first, ..] if first & 0x80 != 0 => known
            .get(usize::from(first & 0x7f).checked_sub(8)?)
            .copied(),
        // The name is the table's `:status`; the value stands here.
        [0x48 | 0x08 | 0x18, length, text @ ..] => {
            let text = text.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 {
                return std::str::from_utf8(text).ok()?.parse().ok();
            }
            digits(text)
        }
        _ => None,
    }
}

/// Three digits in Huffman's code: `0` to `2` have five bits, the others six.
fn digits(text: &[u8]) -> Option<u16> {
    let bits: Vec<u16> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| u16::from(byte >> n & 1)))
        .collect();
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let take = |n| {
            Some(
                bits.get(at..at + n)?
                    .iter()
                    .fold(0, |sum, bit| sum * 2 + bit),
            )
        };
        let five = take(5)?;
        let (digit, length) = if five < 3 {
            (five, 5)
        } else {
            (take(6)?.checked_sub(22)?, 6)
        };
        at += length;
        status = status * 10 + digit;
    }
    Some(status)
}

/// The reason in a refusal of the gateway's own.
fn reason(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let info = body.pointer("/error/additionalInfo/0")?;
    let own = info.get("type").and_then(Value::as_str) == Some("VaultgateDecision");
    let reason = info.pointer("/info/reason").and_then(Value::as_str);
    reason.filter(|_| own).map(str::to_owned)
}

#[test]
fn a_status_is_read_from_its_block() {
    // 011010 00000 011001 and 011010 00010 00001, as Huffman writes them.
    assert_eq!(digits(&[0b0110_1000, 0b0000_1100, 0b1111_1111]), Some(403));
    assert_eq!(digits(&[0b0110_1000, 0b0100_0001]), Some(421));
    assert_eq!(status(&[0x20, 0x88]), Some(200));
    assert_eq!(status(&[0x48, 3, b'4', b'1', b'1']), Some(411));
}
