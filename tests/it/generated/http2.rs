//! HTTP/2 streams: header blocks and frames that could become another request where
//! they are read as HTTP/1.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::case::{Case, Expect, HOST, How, MARK, Stream, TOKEN};
use super::stage::Stage;
use crate::harness::VAULT;

use Expect::{Either, Hides, Passes, Refused};

const VERSION: &str = "api-version=2024-04-01";

/// Fields that come in addition. `true`: before the others.
#[rustfmt::skip]
const MORE: [(&str, &str, bool, Expect); 58] = [
    ("accept", "*/*", false, Passes), ("x-ordinary", "a, b", false, Passes), ("cookie", "a=b", false, Passes),
    ("x-empty", "", false, Passes), ("te", "trailers", false, Passes), ("host", "@HOST@", false, Passes),
    ("x-high", "\u{e9}", false, Either), ("x-tab", "a\tb", false, Either), ("priority", "u=1", false, Passes),
    ("transfer_encoding", "chunked", false, Passes), ("x-http-method-override", "DELETE", false, Passes),
    (":method", "DELETE", true, Refused), (":method", "DELETE", false, Refused),
    (":path", "/subscriptions", true, Refused), (":path", "/subscriptions", false, Refused),
    (":scheme", "https", false, Refused), (":authority", "@HOST@", false, Refused),
    (":authority", "evil.example", true, Refused), (":status", "200", true, Refused),
    (":status", "200", false, Refused), (":protocol", "websocket", true, Refused), (":unknown", "x", true, Refused),
    (":", "x", true, Refused), ("", "x", false, Refused), ("x-early", "y", true, Refused),
    ("Accept", "*/*", false, Refused), ("X-UPPER", "y", false, Refused), ("x y", "z", false, Refused),
    ("x\0", "y", false, Refused), ("x\r\ny", "z", false, Refused), ("x:y", "z", false, Refused),
    ("\u{e9}", "y", false, Refused), ("x(y)", "z", false, Refused),
    ("x-cr", "a\rb", false, Refused), ("x-lf", "a\nb", false, Refused), ("x-nul", "a\0b", false, Refused),
    ("x-split", "a\r\nauthorization: Bearer x", false, Refused),
    ("x-split", "a\r\n\r\nDELETE /subscriptions HTTP/1.1", false, Refused),
    ("connection", "close", false, Refused), ("connection", "keep-alive", false, Refused),
    ("keep-alive", "timeout=1", false, Refused), ("proxy-connection", "close", false, Refused),
    ("transfer-encoding", "chunked", false, Refused), ("transfer-encoding", "identity", false, Refused),
    ("upgrade", "h2c", false, Refused), ("te", "gzip", false, Refused), ("te", "trailers, chunked", false, Refused),
    ("host", "evil.example", false, Refused), ("host", "", false, Refused), ("host", "@HOST@, x", false, Refused),
    ("authorization", "Bearer @TOKEN@", false, Refused), ("authorization", "Bearer x", false, Refused),
    ("expect", "100-continue", false, Passes), ("expect", "200-ok", false, Refused),
    ("content-length", "7", false, Refused), ("content-length", "+2", false, Refused),
    ("content-length", "2, 2", false, Refused), ("content-length", "", false, Either),
];

/// Instead of a pseudo header's value; nothing leaves it out.
#[rustfmt::skip]
const INSTEAD: [(&str, Option<&str>, Expect); 34] = [
    (":authority", None, Refused), (":authority", Some(""), Refused), (":authority", Some("evil.example"), Refused),
    (":authority", Some("evil.example@@HOST@"), Refused), (":authority", Some("@HOST@@evil.example"), Refused),
    (":authority", Some("@HOST@/x"), Refused), (":authority", Some("@HOST@ x"), Refused),
    (":authority", Some("localhost:x"), Refused), (":authority", Some("@HOST@#x"), Refused),
    (":authority", Some("LOCALHOST:1"), Either),
    (":method", None, Refused), (":method", Some(""), Refused), (":method", Some("get"), Refused),
    (":method", Some("GET / HTTP/1.1"), Refused), (":method", Some("CONNECT"), Refused),
    (":method", Some("GET\0"), Refused), (":method", Some("HEAD"), Refused),
    (":scheme", None, Refused), (":scheme", Some(""), Either), (":scheme", Some("http"), Either),
    (":scheme", Some("ftp"), Either), (":scheme", Some("https://evil.example/?"), Refused),
    (":scheme", Some("https "), Refused),
    (":path", None, Refused), (":path", Some(""), Refused), (":path", Some("*"), Refused),
    (":path", Some("subscriptions"), Refused), (":path", Some("/sub scriptions"), Refused),
    (":path", Some("/subscriptions HTTP/1.1\r\nx: y"), Refused), (":path", Some("/subscriptions?api-version=2024-04-01\0"), Refused),
    (":path", Some("https://@HOST@/subscriptions?api-version=2024-04-01"), Either),
    (":path", Some("//@HOST@/subscriptions?api-version=2024-04-01"), Refused),
    (":path", Some("/subscriptions?api-version=2024-04-01#x"), Hides),
    (":path", Some("/subscriptions\u{e9}?api-version=2024-04-01"), Refused),
];

/// How the frames are laid out.
#[derive(Clone, Debug)]
enum Layout {
    Plain,
    /// The block goes on in a second frame.
    Split(Index),
    Padded,
    /// DATA in so many frames.
    Pieces(u8),
    /// Nothing but the end, in a frame of its own.
    EmptyEnd,
    /// Trailers. Who needs no body may have answered before they come.
    Trailers((&'static str, Expect)),
}

#[rustfmt::skip]
const TRAILERS: [(&str, Expect); 8] = [
    ("x-checksum", Either), ("authorization", Either), ("content-length", Either), ("host", Either),
    ("Upper", Either), (":path", Either), (":method", Either), ("x-ms-force", Either),
];

/// What a stream is made of.
#[derive(Clone, Debug)]
struct Parts {
    changes: bool,
    /// Pseudo headers in another order.
    order: Index,
    more: Vec<(&'static str, &'static str, bool, Expect)>,
    instead: Option<(&'static str, Option<&'static str>, Expect)>,
    layout: Layout,
    /// The announced length, when it is not the body's.
    length: Option<(u8, Expect)>,
    crumbs: bool,
}

pub(super) fn cases(_: &Arc<Stage>) -> BoxedStrategy<Case> {
    let layout = prop_oneof![
        4 => Just(Layout::Plain), 1 => any::<Index>().prop_map(Layout::Split), 1 => Just(Layout::Padded),
        1 => (1..5_u8).prop_map(Layout::Pieces), 1 => Just(Layout::EmptyEnd),
        1 => select(TRAILERS.to_vec()).prop_map(Layout::Trailers),
    ];
    // What is shorter or longer than announced is no whole request.
    let length = select(vec![
        (0_u8, Refused),
        (1, Refused),
        (3, Refused),
        (100, Refused),
        (255, Either),
    ]);
    let parts = (
        any::<bool>(),
        any::<Index>(),
        prop::collection::vec(select(MORE.to_vec()), 0..2),
        prop::option::weighted(0.35, select(INSTEAD.to_vec())),
        layout,
        prop::option::weighted(0.1, length),
        prop::bool::weighted(0.05),
    );
    parts
        .prop_map(|(changes, order, more, instead, layout, length, crumbs)| {
            Parts {
                changes,
                order,
                more,
                instead,
                layout,
                length,
                crumbs,
            }
            .case()
        })
        .boxed()
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Text as the bytes of its characters, each of which has one.
fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect()
}

impl Parts {
    fn case(&self) -> Case {
        let mut expect = Passes;
        let mut must = |own: Expect| expect = expect.max(own);
        let body: &[u8] = if self.changes { b"{}" } else { b"" };
        let mut fields = self.fields(body);
        if let Some((name, value, expected)) = self.instead {
            let at = fields.iter().position(|(own, _)| own == name.as_bytes());
            match (at, value) {
                (Some(at), Some(value)) => fields
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|field| field.1 = bytes(value)),
                (Some(at), None) => drop(fields.remove(at)),
                (None, _) => {}
            }
            // Another header may say it instead.
            let named = |more: &str| more == name || (name, more) == (":authority", "host");
            let named = self.more.iter().any(|(more, ..)| named(more));
            must(if named { Hides } else { expected });
        }
        for (name, value, first, expected) in &self.more {
            let at = if *first { 0 } else { fields.len() };
            fields.insert(at, (bytes(name), bytes(value)));
            // Two of a name may be what some names may not.
            must(*expected);
        }
        if self.crumbs {
            fields.extend((0..3).map(|n| (b"cookie".to_vec(), format!("c{n}=x").into_bytes())));
        }
        if self.instead.is_some_and(|(name, ..)| name == ":path") && self.changes {
            must(Either);
        }
        let mut stream = Stream {
            fields,
            split: None,
            padded: false,
            data: Vec::new(),
            trailers: None,
        };
        if !body.is_empty() {
            stream.data.push(body.to_vec());
        }
        self.lay_out(&mut stream, &mut must);
        if let Some((_, expected)) = self.length.filter(|_| self.changes) {
            must(expected);
        }
        // The HTTP/2 library forgets what is malformed in a frame whose end cuts a field;
        // the first of two pseudo headers then counts, and what is forbidden is dropped.
        // Whatever passes so must still be one thing to everybody.
        if stream.split.is_some() && expect == Refused {
            expect = Either;
        }
        Case {
            how: How::Stream(stream),
            expect,
        }
    }

    fn fields(&self, body: &[u8]) -> Fields {
        let (method, target) = if self.changes {
            (
                "POST",
                format!("{VAULT}/backupFabrics/Azure/refreshContainers?{VERSION}"),
            )
        } else {
            ("GET", format!("{VAULT}?{VERSION}"))
        };
        let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let mut fields = vec![
            field(":method", method),
            field(":scheme", "https"),
            field(":authority", HOST),
            field(":path", &target),
        ];
        fields.rotate_left(self.order.index(4));
        fields.push(field("user-agent", MARK));
        fields.push(field("authorization", &format!("Bearer {TOKEN}")));
        if !body.is_empty() {
            fields.push(field("content-type", "application/json"));
            let length = self
                .length
                .map_or(body.len(), |(length, _)| usize::from(length));
            if length < 255 {
                fields.push(field("content-length", &length.to_string()));
            }
        }
        fields
    }

    fn lay_out(&self, stream: &mut Stream, must: &mut dyn FnMut(Expect)) {
        match &self.layout {
            Layout::Plain => {}
            Layout::Split(at) => stream.split = Some(1 + at.index(200)),
            Layout::Padded => stream.padded = true,
            Layout::Pieces(count) => {
                let whole: Vec<u8> = stream.data.concat();
                stream.data = whole.iter().map(|byte| vec![*byte]).collect();
                (0..*count).for_each(|_| stream.data.push(Vec::new()));
            }
            Layout::EmptyEnd => stream.data.push(Vec::new()),
            Layout::Trailers((name, expected)) => {
                stream.trailers = Some(vec![(bytes(name), b"x".to_vec())]);
                must(*expected);
            }
        }
    }
}
