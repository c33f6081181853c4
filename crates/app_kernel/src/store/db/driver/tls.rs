//! TLS towards a database server, by rustls with ring. No process-wide provider is installed or needed: a library that
//! installs one breaks the programs that choose their own.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};

use super::DbError;
use super::address::{TlsMode, TlsWish, invalid};

/// The configuration that does what the address asks for; reads the file of root certificates.
pub(super) fn client_config(wish: &TlsWish) -> Result<ClientConfig, DbError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(format!("DATABASE_URL: TLS can't be set up: {error}")))?;
    let chain = match wish.mode {
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            Some(chain_verifier(wish.roots.as_deref(), provider.clone())?)
        }
        TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer | TlsMode::Require => None,
    };
    let verifier = Verifier {
        chain,
        is_name_checked: wish.mode == TlsMode::VerifyFull,
        provider,
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn chain_verifier(
    roots: Option<&Path>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, DbError> {
    let roots = match roots {
        Some(path) => roots_of(path)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| {
            invalid(format!(
                "DATABASE_URL: the root certificates can't be used: {error}"
            ))
        })
}

fn roots_of(path: &Path) -> Result<RootCertStore, DbError> {
    let unusable = |problem: String| {
        invalid(format!(
            "DATABASE_URL: the file of root certificates `{}` {problem}",
            path.display()
        ))
    };
    let pem = std::fs::read(path).map_err(|error| unusable(format!("can't be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(format!("is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(format!("holds a bad certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate in PEM".to_owned()));
    }
    Ok(roots)
}

/// Verifies as much as the mode asks for. The handshake's signature is always verified.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    is_name_checked: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is looked at last, so the chain is good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.is_name_checked => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error;

    #[test]
    fn a_missing_file_of_roots_is_named() {
        let wish = TlsWish {
            mode: TlsMode::VerifyFull,
            roots: Some("/nowhere/ca.pem".into()),
        };
        let text = Error::from(client_config(&wish).expect_err("no such file")).to_string();
        assert!(
            text.starts_with(
                "DATABASE_URL: the file of root certificates `/nowhere/ca.pem` can't be read"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_roots_of_the_web_need_no_file() {
        let wish = TlsWish {
            mode: TlsMode::VerifyFull,
            roots: None,
        };
        assert!(
            client_config(&wish)
                .expect("the roots of the web")
                .alpn_protocols
                .is_empty()
        );
    }
}
