//! PROXY protocol v2, read only from peers that the configuration lists.
//!
//! Anybody else's bytes go to TLS as they are: a stranger cannot claim a source.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Fixed part of a version 2 header.
const HEAD: usize = 16;
/// Longest variable part that is read: addresses and a few small extensions.
const MAX_REST: usize = 1024;

/// Reads the header; `None` for a health check of the proxy itself (`LOCAL`).
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let [.., high, low] = head;
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > MAX_REST {
        return Err(invalid());
    }
    let mut header = head.to_vec();
    header.resize(HEAD + rest, 0);
    let tail = header.get_mut(HEAD..).ok_or_else(invalid)?;
    stream.read_exact(tail).await?;
    let parsed = ppp::v2::Header::try_from(header.as_slice()).map_err(|_| invalid())?;
    if parsed.command == ppp::v2::Command::Local {
        return Ok(None);
    }
    match parsed.addresses {
        ppp::v2::Addresses::IPv4(v4) => Ok(Some((v4.source_address, v4.source_port).into())),
        ppp::v2::Addresses::IPv6(v6) => Ok(Some((v6.source_address, v6.source_port).into())),
        _ => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a PROXY protocol v2 header")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::read;

    const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[tokio::test]
    async fn a_listed_proxy_reports_the_client() {
        let rest = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let bytes = header(0x21, 0x11, &rest);
        let source = read(&mut bytes.as_slice()).await.unwrap();
        assert_eq!(source, Some("192.0.2.7:12345".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_health_check_has_no_client() {
        let bytes = header(0x20, 0x00, &[]);
        assert_eq!(read(&mut bytes.as_slice()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let hostile: [&[u8]; 4] = [
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00",
            &header(0x21, 0x11, &[1, 2, 3]),
            &header(0x21, 0x31, &[0; 216]),
        ];
        for bytes in hostile {
            assert!(read(&mut &*bytes).await.is_err());
        }
    }
}
