//! One generated case: what goes over the wire, and what must become of it.

use std::fmt::Write as _;

use super::wire::{END_STREAM, HEADERS, literals};

/// What must become of a case. Of several quirks the strongest word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expect {
    /// Understood, allowed and forwarded once: a control.
    Passes,
    /// Refused, or understood as what the emulator reads in it.
    Either,
    /// Refused: it never reaches Azure.
    Refused,
    /// It may hide what else is wrong: nothing is expected but that all agree.
    Hides,
}

/// Stands for the case's own mark, which the record keeps as the caller's user agent.
pub(super) const MARK: &str = "@MARK@";
/// Stands for a good token.
pub(super) const TOKEN: &str = "@TOKEN@";
/// Stands for the gateway's `host:port`.
pub(super) const HOST: &str = "@HOST@";

/// A generated case.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) how: How,
    pub(super) expect: Expect,
}

/// How it is sent.
#[derive(Clone)]
pub(super) enum How {
    /// One request, framed as it should be.
    Ask(Ask),
    /// A connection of its own, byte by byte. It ends with a request that asks for the
    /// connection's end, marked `MARK-v`; what must not be taken for a request is
    /// marked `MARK-s`.
    Bytes(Vec<u8>),
    /// One stream of HTTP/2, field by field.
    Stream(Stream),
}

/// One request. Host, mark and a good token are added where it is written.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) http2: bool,
    pub(super) method: String,
    pub(super) target: Vec<u8>,
    /// Instead of a good token.
    pub(super) credentials: Option<Vec<(String, Vec<u8>)>>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Option<Vec<u8>>,
}

/// One stream of HTTP/2.
#[derive(Clone)]
pub(super) struct Stream {
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the header block goes on in a further frame.
    pub(super) split: Option<usize>,
    pub(super) padded: bool,
    /// DATA frames; none ends the stream with its headers.
    pub(super) data: Vec<Vec<u8>>,
    pub(super) trailers: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// A frame of a stream: kind, flags, payload.
type Frame = (u8, u8, Vec<u8>);

const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const CONTINUATION: u8 = 9;

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told())
    }
}

impl Case {
    /// Whether other requests may follow at once: whoever closes a connection with
    /// requests unread takes answers with it that were on their way.
    pub(super) fn pipelines(&self) -> bool {
        let plain = |ask: &Ask| !ask.http2 && ask.method != "HEAD";
        self.expect == Expect::Passes && matches!(&self.how, How::Ask(ask) if plain(ask))
    }

    /// Shown to people: what is sent, with escapes.
    pub(super) fn told(&self) -> String {
        let mut told = format!("must be: {:?}\n", self.expect);
        let shown = match &self.how {
            How::Ask(ask) if ask.http2 => {
                for (name, value) in ask.fields() {
                    let _ = writeln!(told, "{}: {}", name.escape_ascii(), value.escape_ascii());
                }
                ask.body
                    .clone()
                    .unwrap_or_default()
                    .escape_ascii()
                    .to_string()
            }
            How::Ask(ask) => ask.written().escape_ascii().to_string(),
            How::Bytes(bytes) => bytes.escape_ascii().to_string(),
            How::Stream(stream) => {
                for (name, value) in &stream.fields {
                    let _ = writeln!(told, "{}: {}", name.escape_ascii(), value.escape_ascii());
                }
                let data: Vec<String> = stream
                    .data
                    .iter()
                    .map(|data| data.escape_ascii().to_string())
                    .collect();
                let Stream {
                    split,
                    padded,
                    trailers,
                    ..
                } = stream;
                format!("split {split:?}, padded {padded}, data {data:?}, trailers {trailers:?}")
            }
        };
        told + &shown
    }
}

impl Ask {
    /// A plain request.
    pub(super) fn new(http2: bool, method: &str, target: impl Into<Vec<u8>>) -> Ask {
        Ask {
            http2,
            method: method.to_owned(),
            target: target.into(),
            credentials: None,
            headers: Vec::new(),
            body: None,
        }
    }

    fn credentials(&self) -> Vec<(String, Vec<u8>)> {
        let good = || {
            vec![(
                "authorization".to_owned(),
                format!("Bearer {TOKEN}").into_bytes(),
            )]
        };
        self.credentials.clone().unwrap_or_else(good)
    }

    /// As HTTP/1.1.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut out = self.method.clone().into_bytes();
        out.push(b' ');
        out.extend(&self.target);
        out.extend(format!(" HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {MARK}\r\n").bytes());
        for (name, value) in self.credentials().iter().chain(&self.headers) {
            out.extend(name.bytes());
            out.extend(b": ");
            out.extend(value);
            out.extend(b"\r\n");
        }
        if let Some(body) = &self.body {
            out.extend(format!("content-length: {}\r\n", body.len()).bytes());
        }
        out.extend(b"\r\n");
        out.extend(self.body.iter().flatten());
        out
    }

    /// As HTTP/2.
    fn fields(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = vec![
            (b":method".into(), self.method.clone().into()),
            (b":scheme".into(), b"https".into()),
            (b":authority".into(), HOST.into()),
            (b":path".into(), self.target.clone()),
            (b"user-agent".into(), MARK.into()),
        ];
        let headers = self.credentials().into_iter().chain(self.headers.clone());
        fields.extend(headers.map(|(name, value)| (name.to_ascii_lowercase().into(), value)));
        if let Some(body) = &self.body {
            fields.push((b"content-length".into(), body.len().to_string().into()));
        }
        fields
    }

    pub(super) fn stream(&self) -> Stream {
        let body = self.body.clone().filter(|body| !body.is_empty());
        Stream {
            fields: self.fields(),
            split: None,
            padded: false,
            // No frame is larger than what every server takes.
            data: body.map_or_else(Vec::new, |body| {
                body.chunks(16 << 10).map(<[u8]>::to_vec).collect()
            }),
            trailers: None,
        }
    }
}

impl Stream {
    /// The frames, with `put` filling in what stands for something else.
    pub(super) fn frames(&self, put: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<Frame> {
        let filled = |fields: &[(Vec<u8>, Vec<u8>)]| -> Vec<_> {
            fields
                .iter()
                .map(|(name, value)| (name.clone(), put(value)))
                .collect()
        };
        let block = literals(&filled(&self.fields));
        let ends = |last: bool| if last { END_STREAM } else { 0 };
        let mut frames = Vec::new();
        let at = self.split.unwrap_or(block.len()).min(block.len());
        let (first, rest) = block.split_at(at);
        let end = ends(self.data.is_empty() && self.trailers.is_none());
        let whole = if rest.is_empty() { END_HEADERS } else { 0 };
        if self.padded {
            let mut padded = vec![5];
            padded.extend(first);
            padded.extend([0; 5]);
            frames.push((HEADERS, end | whole | PADDED, padded));
        } else {
            frames.push((HEADERS, end | whole, first.to_vec()));
        }
        if !rest.is_empty() {
            frames.push((CONTINUATION, END_HEADERS, rest.to_vec()));
        }
        for (place, data) in self.data.iter().enumerate() {
            let last = place + 1 == self.data.len() && self.trailers.is_none();
            frames.push((0, ends(last), data.clone()));
        }
        if let Some(trailers) = &self.trailers {
            frames.push((
                HEADERS,
                END_HEADERS | END_STREAM,
                literals(&filled(trailers)),
            ));
        }
        frames
    }
}
