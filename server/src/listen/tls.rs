//! TLS 1.3, by rustls.

use std::{path::Path, sync::Arc};

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};

use crate::Failure;

/// Reads the certificate chain and its key, both PEM.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let of = |file: &Path, problem: String| {
        Failure::new(
            format!("{}: {problem}", file.display()),
            "name PEM files: --tls-cert CHAIN --tls-key KEY",
        )
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| of(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(of(certificate, "there is no certificate in it".into()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, error.to_string()))?;
    // Named here: rustls would otherwise look for a provider that the whole process has chosen.
    let unfit = |error: rustls::Error| of(key, error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(unfit)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key_der).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
