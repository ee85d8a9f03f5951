//! Who is at the other end of a connection, as far as the connection tells.

use std::net::SocketAddr;

use rustls::{ProtocolVersion, ServerConnection};

/// The other end of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Address of the client, or the one a trusted proxy reported.
    pub(crate) source: SocketAddr,
    /// TLS version: `1.3` or `1.2`.
    pub(crate) tls: &'static str,
    /// SHA-256 of the verified client certificate, if one was shown.
    pub(crate) certificate_sha256: Option<[u8; 32]>,
}

impl Peer {
    /// Reads what a finished handshake tells.
    pub(crate) fn of(source: SocketAddr, connection: &ServerConnection) -> Peer {
        let tls = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        Peer {
            source,
            tls,
            certificate_sha256: certificate.map(|der| crate::digest::sha256_raw(der)),
        }
    }
}
