//! TLS: negotiated in the clear, then as everywhere.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::error::PgError;
use crate::server::{Credentials, SslMode};

/// Asks the server for TLS and makes it prove who it is, as far as the profile wants.
pub(super) fn negotiate(
    mut stream: TcpStream,
    name: &str,
    credentials: &Credentials,
) -> Result<StreamOwned<ClientConnection, TcpStream>, PgError> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).map_err(PgError::Broken)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(PgError::Broken)?;
    if answer != *b"S" {
        let mend = "turn `ssl` on at the server, or set `ssl_mode = \"disable\"` in the credential profile";
        return Err(PgError::Tls { problem: format!("the server has no TLS; {mend}") });
    }
    let bad_name = |_| PgError::Tls { problem: format!("`{name}` is no name a certificate could have") };
    let server_name = ServerName::try_from(name.to_owned()).map_err(bad_name)?;
    let config = config(credentials)?;
    let client = ClientConnection::new(Arc::new(config), server_name).map_err(refused)?;
    let mut stream = StreamOwned::new(client, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(inner) => refused(inner.clone()),
                None => PgError::Broken(error),
            }
        })?;
    }
    Ok(stream)
}

fn refused(error: Error) -> PgError {
    PgError::Tls {
        problem: format!(
            "{error}; look at the server's certificate, and at `root_certificate` in the credential profile"
        ),
    }
}

fn config(credentials: &Credentials) -> Result<ClientConfig, PgError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(refused)?;
    let mut trust = Trust { provider, authorities: None, named: Vec::new(), checks_name: false };
    if matches!(credentials.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull) {
        if let Some(path) = &credentials.root_certificate {
            trust.named = from_file(path)?;
        }
        let mut roots = RootCertStore::empty();
        if trust.named.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            for certificate in &trust.named {
                roots.add(certificate.clone()).map_err(refused)?;
            }
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), trust.provider.clone());
        trust.authorities = Some(authorities.build().map_err(|error| PgError::Tls { problem: error.to_string() })?);
        trust.checks_name = credentials.ssl_mode == SslMode::VerifyFull;
    }
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(trust)).with_no_client_auth())
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, PgError> {
    let problem = |e: &dyn std::fmt::Display| PgError::Tls {
        problem: format!("`root_certificate` `{}` cannot be read: {e}", path.display()),
    };
    let pem = std::fs::read(path).map_err(|e: io::Error| problem(&e))?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| problem(&e))
}

/// What a server's certificate is held to: `require`, `verify-ca` and `verify-full` of libpq.
#[derive(Debug)]
struct Trust {
    provider: Arc<CryptoProvider>,
    /// None where anybody may be the server.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of the profile's file. One of them may be the server's own: PostgreSQL's manual makes such.
    named: Vec<CertificateDer<'static>>,
    /// Whether it must be made out to the host's name.
    checks_name: bool,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        if self.named.iter().any(|named| **named == **end_entity) {
            if self.checks_name {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
