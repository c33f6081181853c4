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
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::DbError;
use super::address::{TlsMode, TlsWish, invalid};

/// The configuration that does what the address asks for; reads the file of root certificates.
pub(super) fn client_config(wish: &TlsWish) -> Result<ClientConfig, DbError> {
    let verifier = Verifier::new(wish)?;
    let builder = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(format!("DATABASE_URL: TLS can't be set up: {error}")))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn chain_verifier(roots: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, DbError> {
    let roots = match roots {
        Some(path) => roots_of(path)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| invalid(format!("DATABASE_URL: the root certificates can't be used: {error}")))
}

fn roots_of(path: &Path) -> Result<RootCertStore, DbError> {
    let unusable = |problem: String| {
        invalid(format!("DATABASE_URL: the file of root certificates `{}` {problem}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| unusable(format!("can't be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| unusable(format!("holds a bad certificate: {error}")))?;
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

impl Verifier {
    fn new(wish: &TlsWish) -> Result<Self, DbError> {
        let provider = Arc::new(ring::default_provider());
        let chain = match wish.mode {
            TlsMode::VerifyCa | TlsMode::VerifyFull => Some(chain_verifier(wish.roots.as_deref(), provider.clone())?),
            TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer | TlsMode::Require => None,
        };
        Ok(Verifier { chain, is_name_checked: wish.mode == TlsMode::VerifyFull, provider })
    }
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
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::base::error::Error;

    #[test]
    fn a_missing_file_of_roots_is_named() {
        let wish = TlsWish { mode: TlsMode::VerifyFull, roots: Some("/nowhere/ca.pem".into()) };
        let text = Error::from(client_config(&wish).expect_err("no such file")).to_string();
        assert!(
            text.starts_with("DATABASE_URL: the file of root certificates `/nowhere/ca.pem` can't be read"),
            "{text}"
        );
    }

    #[test]
    fn each_mode_verifies_what_it_says() {
        let folder = std::env::temp_dir().join(format!("tls-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("a folder");
        let ours = folder.join("ca.pem");
        std::fs::write(&ours, format!("-----BEGIN CERTIFICATE-----\n{ROOT}\n-----END CERTIFICATE-----\n"))
            .expect("a file");
        let verdict = |mode, roots: Option<&Path>, host: &'static str| {
            let verifier = Verifier::new(&TlsWish { mode, roots: roots.map(Path::to_owned) }).expect("good roots");
            let certificate = STANDARD.decode(CERTIFICATE).expect("base64").into();
            let name = ServerName::try_from(host).expect("a name");
            // 2030-01-01, within the life of both.
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));
            verifier.verify_server_cert(&certificate, &[], &name, &[], now).is_ok()
        };
        assert!(verdict(TlsMode::Require, None, "elsewhere.example.com"));
        assert!(verdict(TlsMode::VerifyCa, Some(&ours), "elsewhere.example.com"));
        assert!(!verdict(TlsMode::VerifyCa, None, "db.example.com"), "the web's roots don't know it");
        assert!(verdict(TlsMode::VerifyFull, Some(&ours), "db.example.com"));
        assert!(verdict(TlsMode::VerifyFull, Some(&ours), "127.0.0.1"));
        assert!(!verdict(TlsMode::VerifyFull, Some(&ours), "elsewhere.example.com"));
        assert!(!verdict(TlsMode::VerifyFull, None, "db.example.com"));
        std::fs::remove_dir_all(folder).expect("it goes");
    }

    /// A root, and a certificate signed by it for db.example.com, localhost and 127.0.0.1, both good for 100 years.
    const ROOT: &str = "MIIBkDCCATWgAwIBAgIUALyLE4Y+MjqR1E5gs2nOV9Xb/tAwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJdGVzdCByb290MCAXDTI2\
        MTEyMzAyNDkwMFoYDzIxMjYxMDMwMDI0OTAwWjAUMRIwEAYDVQQDDAl0ZXN0IHJvb3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\
        AATpJeGvJOHDrdPPuC/I0u0QO+sEpmjLDUYywAi4E4aZfdceiE1gMwYE8FcaPQqpAEjv94kyQvQiv+D+s8PZHMZqo2MwYTAdBgNV\
        HQ4EFgQUWUJXlzR+JUUGjMYC1kC3HAuSiiIwHwYDVR0jBBgwFoAUWUJXlzR+JUUGjMYC1kC3HAuSiiIwDwYDVR0TAQH/BAUwAwEB\
        /zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSQAwRgIhAMdjexEbt2jK88YvAq1OkMMmwXB+KCi850aXW8ZzvaBYAiEAxUu0\
        DCTWgJAKEOJ2/fvVwYzT31WFwl+lwFdWIpEGVQM=";
    const CERTIFICATE: &str = "MIIBwTCCAWegAwIBAgIUFRlU5mlZ2LBTb9AkdgUcclxeVXswCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJdGVzdCByb290MCAXDTI2\
        MTEyMzAyNDkwMFoYDzIxMjYxMDMwMDI0OTAwWjAZMRcwFQYDVQQDDA5kYi5leGFtcGxlLmNvbTBZMBMGByqGSM49AgEGCCqGSM49\
        AwEHA0IABIo24EEBHJjeuif1h4fWTKIFXRHbUW8IYJMPGa9hKo7x6cXy1oRnLm9qCqgs7n9P4k0FX/GmZIg2m3Bt53Zl5sijgY8w\
        gYwwKgYDVR0RBCMwIYIOZGIuZXhhbXBsZS5jb22CCWxvY2FsaG9zdIcEfwAAATATBgNVHSUEDDAKBggrBgEFBQcDATAJBgNVHRME\
        AjAAMB0GA1UdDgQWBBRchNRax4YbkklfuNOEKxkYToX0/zAfBgNVHSMEGDAWgBRZQleXNH4lRQaMxgLWQLccC5KKIjAKBggqhkjO\
        PQQDAgNIADBFAiEA0SHb3W5MnD6WBbOmX0mqdcev113hUPq2nSlJd2rS4+oCICb7DidHeaJx7pklrnw4feAmPID3T2U8A8OvQupv\
        ywc7";
}
