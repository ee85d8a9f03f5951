//! A certificate authority for development, and the server's TLS settings.
//!
//! Nothing here may be trusted outside a test: the keys lie unprotected in a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Names that the development server certificate is good for.
pub const DEV_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "gateway.local"];

/// Where the files of a development certificate authority lie.
#[derive(Clone, Debug)]
pub struct DevCa {
    /// The authority's certificate: what a client must trust.
    pub ca: PathBuf,
    /// A server certificate for [`DEV_NAMES`].
    pub cert: PathBuf,
    /// The key of `cert`.
    pub key: PathBuf,
    /// A client certificate, for mutual TLS.
    pub client_cert: PathBuf,
    /// The key of `client_cert`.
    pub client_key: PathBuf,
}

/// The development authority in `dir`; made there when one of its files is missing.
///
/// # Errors
/// When the folder cannot be written.
pub fn dev_ca(dir: &Path) -> Result<DevCa> {
    let files = DevCa {
        ca: dir.join("ca.pem"),
        cert: dir.join("localhost.pem"),
        key: dir.join("localhost.key"),
        client_cert: dir.join("client.pem"),
        client_key: dir.join("client.key"),
    };
    let all = [
        &files.ca,
        &files.cert,
        &files.key,
        &files.client_cert,
        &files.client_key,
    ];
    if !all.iter().all(|path| path.is_file()) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        make(&files)?;
    }
    Ok(files)
}

fn make(files: &DevCa) -> Result<()> {
    let mut authority = params(&[], "Vaultgate development CA, never trust it")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    write(&files.ca, &authority.pem())?;

    let mut server = params(&DEV_NAMES, "localhost")?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf(server, &authority, &files.cert, &files.key)?;

    let mut client = params(&["vaultgate-client"], "vaultgate-client")?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    leaf(client, &authority, &files.client_cert, &files.client_key)
}

fn params(names: &[&str], common_name: &str) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let year = i32::from(
        jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .year(),
    );
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 2, 1, 1);
    Ok(params)
}

fn leaf(
    mut params: CertificateParams,
    authority: &CertifiedIssuer<'_, KeyPair>,
    cert: &Path,
    key: &Path,
) -> Result<()> {
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let pair = KeyPair::generate()?;
    let signed = params.signed_by(&pair, authority)?;
    write(cert, &signed.pem())?;
    write(key, &pair.serialize_pem())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// TLS settings for a certificate chain and key in PEM files.
pub(crate) fn server_config(cert: &Path, key: &Path, http2: bool) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificate `{}`", cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the key `{}`", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    #[test]
    fn a_second_call_keeps_the_authority_that_clients_already_trust() {
        let dir = tempfile::tempdir().unwrap();
        let first = std::fs::read(super::dev_ca(dir.path()).unwrap().ca).unwrap();
        let again = super::dev_ca(dir.path()).unwrap();
        assert_eq!(first, std::fs::read(&again.ca).unwrap());
        assert!(super::server_config(&again.cert, &again.key, true).is_ok());
    }
}
