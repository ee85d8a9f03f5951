//! HTTP/1.1 framing: what two parsers could cut into different requests.
//!
//! Each case is a connection of its own: one request with something unusual about its
//! line, its headers or its length, then a plain request that asks for the end. What
//! hides in a body must never be answered as a request.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use super::case::{Case, Expect, HOST, How, MARK, TOKEN};
use super::stage::Stage;
use crate::harness::VAULT;

use Expect::{Either, Hides, Passes, Refused};

const VERSION: &str = "api-version=2024-04-01";

/// Before the request.
#[rustfmt::skip]
const LEADS: [(&str, Expect); 8] = [
    ("\r\n", Either), ("\n", Either), ("\r\n\r\n", Either), (" ", Refused), ("\0", Refused), ("\r", Refused),
    ("\u{feff}", Refused), ("X: y\r\n", Refused),
];

/// Request lines.
#[rustfmt::skip]
const LINES: [(&str, Expect); 28] = [
    ("{m} https://@HOST@{t} HTTP/1.1\r\n", Passes), ("{m} HTTPS://@HOST@{t} HTTP/1.1\r\n", Either),
    ("{m} http://@HOST@{t} HTTP/1.1\r\n", Either), ("{m} https://evil.example{t} HTTP/1.1\r\n", Refused),
    ("{m} https://@HOST@@evil.example{t} HTTP/1.1\r\n", Refused), ("{m} //@HOST@{t} HTTP/1.1\r\n", Refused),
    ("{m} @HOST@ HTTP/1.1\r\n", Refused), ("{m} * HTTP/1.1\r\n", Refused),
    ("CONNECT @HOST@ HTTP/1.1\r\n", Refused), ("{m} {t} HTTP/1.1\n", Either), ("{m} {t} HTTP/1.1\r", Refused),
    ("{m}  {t} HTTP/1.1\r\n", Refused), ("{m} {t}  HTTP/1.1\r\n", Refused), ("{m}\t{t}\tHTTP/1.1\r\n", Refused),
    ("{m} {t}\u{b}HTTP/1.1\r\n", Refused), ("{m} {t} HTTP/1.1 \r\n", Refused), ("{m} {t} HTTP/1.1x\r\n", Refused),
    ("{m} {t} HTTP/1.0\r\n", Refused), ("{m} {t} HTTP/0.9\r\n", Refused), ("{m} {t} HTTP/2.0\r\n", Refused),
    ("{m} {t} HTTP/1.2\r\n", Refused), ("{m} {t} HTTP/11\r\n", Refused), ("{m} {t} http/1.1\r\n", Refused),
    ("{m} {t} HTTP/1,1\r\n", Refused), ("{m} {t}\r\n", Refused), ("{m}\0 {t} HTTP/1.1\r\n", Refused),
    ("{m}(x) {t} HTTP/1.1\r\n", Refused), ("{m} {t} HTTP/1.1\r\n X: y\r\n", Refused),
];

/// Instead of the one `Host`.
#[rustfmt::skip]
const HOSTS: [(&str, Expect); 20] = [
    ("", Refused), ("Host: @HOST@\r\nHost: @HOST@\r\n", Refused),
    ("Host: @HOST@\r\nHost: evil.example\r\n", Refused), ("Host: evil.example\r\nHost: @HOST@\r\n", Refused),
    ("Host: evil.example\r\n", Refused), ("Host: @HOST@, evil.example\r\n", Refused),
    ("Host: evil.example@@HOST@\r\n", Refused), ("Host: @HOST@/evil\r\n", Refused),
    ("Host: @HOST@#x\r\n", Refused), ("Host: @HOST@ evil\r\n", Refused), ("Host:\r\n", Refused),
    ("Host: localhost:99999\r\n", Refused), ("Host: localhost:x\r\n", Refused), ("Host : @HOST@\r\n", Refused),
    ("Host:\r\n @HOST@\r\n", Refused), ("Host: @HOST@\0\r\n", Refused), ("X: y\n\rHost: @HOST@\r\n", Refused),
    ("HOST: @HOST@\r\n", Passes), ("Host:@HOST@\r\n", Passes), ("host:\t@HOST@ \t\r\n", Passes),
];

/// One more header, whatever the length.
#[rustfmt::skip]
const HEADERS: [(&str, Expect); 46] = [
    ("Accept: */*\r\n", Passes), ("X-Ordinary: a, b;c=\"d\"\r\n", Passes), ("X-Empty:\r\n", Passes),
    ("Connection: keep-alive\r\n", Passes), ("Connection: keep-alive, host, authorization\r\n", Passes),
    ("Connection: content-length\r\n", Passes), ("Connection: x-ms-client-request-id\r\n", Passes),
    ("Keep-Alive: timeout=1\r\n", Passes), ("Proxy-Connection: close\r\n", Passes),
    ("Proxy-Authorization: Basic eDp5\r\n", Passes), ("TE: trailers\r\n", Passes),
    ("Trailer: Authorization\r\n", Passes), ("Cookie: a=b\r\nCookie: c=d\r\n", Passes),
    ("Expect: 100-continue\r\n", Passes), ("Transfer_Encoding: chunked\r\n", Passes),
    ("X-Transfer-Encoding: chunked\r\n", Passes), ("Content_Length: 0\r\n", Passes),
    ("Content-Length_: 0\r\n", Passes), ("X-High: \u{e9}\r\n", Either), ("X-Del: \x7f\r\n", Either),
    ("X: y\nX2: z\r\n", Either), ("X: y\r\n\tfolded\r\n", Refused), ("X: y\r\n folded\r\n", Refused),
    ("X: a\0b\r\n", Refused), ("X: a\rb\r\n", Refused), ("X: a\x0bb\r\n", Refused), ("X : y\r\n", Refused),
    ("X\t: y\r\n", Refused), ("X Y: z\r\n", Refused), ("X\0: y\r\n", Refused), (": y\r\n", Refused),
    ("NoColon\r\n", Refused), ("\u{212a}: y\r\n", Refused), ("X(y): z\r\n", Refused),
    ("Upgrade: h2c\r\nConnection: upgrade\r\n", Refused), ("Upgrade: websocket\r\n", Refused),
    ("Upgrade: TLS/1.3\r\n", Refused), ("Expect: 200-ok\r\n", Refused),
    ("Expect: 100-continue, x\r\n", Refused), ("Expect:\r\n", Refused),
    ("Authorization: Bearer @TOKEN@\r\n", Refused), ("Authorization: Bearer x\r\n", Refused),
    ("HTTP2-Settings: AAMAAABkAAQAAP__\r\n", Either), ("Connection: close\r\n", Hides),
    ("Connection: x, close\r\n", Hides), ("Connection: Transfer-Encoding\r\n", Passes),
];

/// Ways to give the length `{n}` of a body.
#[rustfmt::skip]
const LENGTHS: [(&str, Expect); 44] = [
    ("Content-Length: {n}\r\n", Passes), ("content-length:{n}\r\n", Passes), ("CONTENT-LENGTH:\t {n} \t\r\n", Passes),
    ("Content-Length: 000{n}\r\n", Either), ("Content-Length: +{n}\r\n", Refused), ("Content-Length: -{n}\r\n", Refused),
    ("Content-Length: 0x{n}\r\n", Refused), ("Content-Length: {n}.0\r\n", Refused), ("Content-Length: {n}e0\r\n", Refused),
    ("Content-Length: {n};\r\n", Refused), ("Content-Length: ,{n}\r\n", Refused), ("Content-Length: {n},\r\n", Refused),
    ("Content-Length: {n} {n}\r\n", Refused), ("Content-Length: 0_{n}\r\n", Refused), ("Content-Length: \"{n}\"\r\n", Refused),
    ("Content-Length: \u{b}{n}\r\n", Refused), ("Content-Length: \u{a0}{n}\r\n", Refused),
    ("Content-Length:\r\n", Refused), ("Content-Length: {n}, {n}\r\n", Either), ("Content-Length: {n}, 0\r\n", Refused),
    ("Content-Length: {n}\r\nContent-Length: {n}\r\n", Either), ("Content-Length: {n}\r\nContent-Length: 0\r\n", Refused),
    ("Content-Length: 0\r\nContent-Length: {n}\r\n", Refused), ("Content-Length : {n}\r\n", Refused),
    ("Content-Length:\r\n {n}\r\n", Refused), ("Content-Length: 18446744073709551616\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n", Refused),
    ("Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: Chunked\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: identity\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding:\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: xchunked\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: chunked, identity\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: identity, chunked\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: \u{b}chunked\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: chunked\0\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding : chunked\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding:\r\n chunked\r\n", Refused),
    ("Content-Length: {n}\r\nX: y\nTransfer-Encoding: chunked\r\n", Refused),
    ("Content-Length: {n}\r\nX: y\rTransfer-Encoding: chunked\r\n", Refused),
    ("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Refused),
    ("Content-Length: {n}\r\n\0Transfer-Encoding: chunked\r\n", Refused),
    ("Transfer-Encoding: chunked\r\n", Refused), ("Transfer-Encoding: gzip, chunked\r\n", Refused),
];

/// What a request is made of.
#[derive(Clone, Debug)]
struct Parts {
    changes: bool,
    lead: Option<(&'static str, Expect)>,
    line: Option<(&'static str, Expect)>,
    host: Option<(&'static str, Expect)>,
    headers: Vec<(&'static str, Expect)>,
    length: Option<(&'static str, Expect)>,
    body: u8,
    /// So many bytes too many or too few are announced.
    off: i8,
    /// More headers, or larger ones, than the door takes.
    flood: Option<bool>,
}

pub(super) fn cases(_: &Arc<Stage>) -> BoxedStrategy<Case> {
    let some = |odds: f64, of: &[(&'static str, Expect)]| {
        prop::option::weighted(odds, select(of.to_vec()))
    };
    let headers = prop::collection::vec(select(HEADERS.to_vec()), 0..2);
    let off = prop_oneof![60 => Just(0_i8), 1 => -2..=-1_i8, 1 => 1..60_i8];
    let flood = prop::option::weighted(0.01, any::<bool>());
    let parts = (
        prop::bool::weighted(0.6),
        some(0.04, &LEADS),
        some(0.12, &LINES),
        some(0.12, &HOSTS),
        headers,
        some(0.6, &LENGTHS),
        0..4_u8,
        off,
        flood,
    );
    parts
        .prop_map(
            |(changes, lead, line, host, headers, length, body, off, flood)| {
                Parts {
                    changes,
                    lead,
                    line,
                    host,
                    headers,
                    length,
                    body,
                    off,
                    flood,
                }
                .case()
            },
        )
        .boxed()
}

impl Parts {
    fn case(&self) -> Case {
        let mut expect = Passes;
        let mut must = |own: Expect| expect = expect.max(own);
        let (method, target) = if self.changes {
            (
                "POST",
                format!("{VAULT}/backupFabrics/Azure/refreshContainers?{VERSION}"),
            )
        } else {
            ("GET", format!("{VAULT}?{VERSION}"))
        };
        let body = self.body();
        let announced = i64::try_from(body.len()).unwrap_or(0) + i64::from(self.off);
        let mut out = String::new();
        let mut part = |text: &str, own: Expect| {
            must(own);
            out.push_str(text);
        };
        let (lead, expected) = self.lead.unwrap_or(("", Passes));
        part(lead, expected);
        let (line, expected) = self.line.unwrap_or(("{m} {t} HTTP/1.1\r\n", Passes));
        part(
            &line.replace("{m}", method).replace("{t}", &target),
            expected,
        );
        let (host, expected) = self.host.unwrap_or(("Host: @HOST@\r\n", Passes));
        part(host, expected);
        part(
            &format!("User-Agent: {MARK}\r\nAuthorization: Bearer {TOKEN}\r\n"),
            Passes,
        );
        let mut again = false;
        for (header, expected) in &self.headers {
            part(header, *expected);
            again |= header.starts_with("Connection");
        }
        match self.flood {
            Some(true) => (0..120).for_each(|n| part(&format!("X-{n}: y\r\n"), Refused)),
            Some(false) => part(&format!("X-Long: {}\r\n", "y".repeat(70_000)), Refused),
            None => {}
        }
        if self.changes {
            part("Content-Type: application/json\r\n", Passes);
        }
        let chosen = self.length.filter(|_| !body.is_empty());
        let (length, expected) = chosen.unwrap_or(("Content-Length: {n}\r\n", Passes));
        if !body.is_empty() {
            part(&length.replace("{n}", &announced.to_string()), expected);
        }
        part("\r\n", if again { Either } else { Passes });
        part(
            &body,
            match (body.is_empty(), self.off, self.body) {
                (true, ..) | (_, 0, 1) => Passes,
                // It is no body that this operation takes, or its end is elsewhere.
                (_, 0, _) => Either,
                _ => Hides,
            },
        );
        let follows = format!(
            "GET {VAULT}?{VERSION} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {MARK}-v\r\n\
             Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        part(&follows, Passes);
        let bytes = out
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'));
        Case {
            how: How::Bytes(bytes.collect()),
            expect,
        }
    }

    /// A body; the last kinds hide a request where a reader of chunks sees one.
    fn body(&self) -> String {
        let hidden = format!(
            "GET {VAULT}/hidden?{VERSION} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {MARK}-s\r\n\
             Authorization: Bearer {TOKEN}\r\n\r\n"
        );
        match (self.changes, self.body) {
            (false, 0..2) | (true, 0) => String::new(),
            (_, 1) => "{}".to_owned(),
            (_, 2) => format!("0\r\n\r\n{hidden}"),
            _ => format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
        }
    }
}
