//! TLS on the main listener: a certificate chain with its key, exchanged while connections run. Versions 1.2 and 1.3, by
//! rustls with the cryptography of aws-lc-rs; HTTP/2 or HTTP/1.1 as the client chooses by ALPN. Refuses to hold: files (PEM
//! text is given), client certificates, and anything without TLS: a peer that speaks plain HTTP gets an alert and is closed.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::host::Name;

/// ALPN's names.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why PEM text is no certificate to serve with. It says what to do, and never what is in a key.
#[derive(thiserror::Error, Debug)]
pub enum TlsError {
    /// No block of the kind.
    #[error(
        "there is no certificate in the certificate file; it must have a block 'BEGIN CERTIFICATE', the server's own first"
    )]
    NoCertificate,
    /// No private key that is understood.
    #[error(
        "there is no private key in the key file; it must have a block 'BEGIN PRIVATE KEY' (or 'RSA' or 'EC PRIVATE KEY'), without a password"
    )]
    NoKey,
    /// Text that is no PEM.
    #[error("the {what} file is no PEM text: {cause}")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// What is wrong.
        cause: pem::Error,
    },
    /// The two do not belong together.
    #[error(
        "the key is not that of the first certificate; name the two files of one pair, the server's own certificate first"
    )]
    Mismatch,
    /// Whatever else the library refuses.
    #[error("the certificate and its key cannot be used: {0}")]
    Refused(#[from] rustls::Error),
}

/// The certificate of a listener. Cloning it shares it.
#[derive(Clone)]
pub struct Tls {
    terms: Arc<RwLock<Terms>>,
}

/// How handshakes are made with one certificate.
#[derive(Clone)]
struct Terms {
    /// With both protocols.
    open: Arc<ServerConfig>,
    /// With HTTP/1.1 alone, in which a full server says so.
    full: Arc<ServerConfig>,
    /// The server's own certificate.
    leaf: Arc<CertificateDer<'static>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Serves with a chain (the server's own certificate first) and its key, both PEM.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Tls, TlsError> {
        Ok(Tls { terms: Arc::new(RwLock::new(Terms::new(certificate, key)?)) })
    }

    /// Serves later connections with another pair. One that cannot be used changes nothing; connections go on as they are.
    pub fn exchange(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let terms = Terms::new(certificate, key)?;
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
        Ok(())
    }

    /// Whether the certificate that is served now is for a host, as clients judge it: a pattern stands for one label.
    pub(crate) fn names(&self, name: &Name<'_>) -> bool {
        let leaf = self.terms().leaf;
        let Ok(parsed) = ParsedCertificate::try_from(&*leaf) else { return false };
        let name = match name {
            Name::Address(address) => ServerName::from(*address),
            Name::Dns(name) => match DnsName::try_from(&**name) {
                Ok(name) => ServerName::DnsName(name),
                Err(_) => return false,
            },
        };
        verify_server_name(&parsed, &name).is_ok()
    }

    /// The handshake of a connection that will be served.
    pub(crate) async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
        within: Duration,
    ) -> Result<Secured<T>, HandshakeFailure> {
        shake_hands(self.terms().open, stream, within).await
    }

    /// The handshake of a connection that is only told that there is no room.
    pub(crate) async fn accept_to_refuse<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
        within: Duration,
    ) -> Result<Secured<T>, HandshakeFailure> {
        shake_hands(self.terms().full, stream, within).await
    }

    fn terms(&self) -> Terms {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Terms {
    fn new(certificate: &[u8], key: &[u8]) -> Result<Terms, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|cause| TlsError::Pem { what: "certificate", cause })?;
        let leaf = Arc::new(chain.first().ok_or(TlsError::NoCertificate)?.clone());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|cause| match cause {
            pem::Error::NoItemsFound => TlsError::NoKey,
            cause => TlsError::Pem { what: "key", cause },
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch,
                error => TlsError::Refused(error),
            })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        let full = Arc::new(config.clone());
        config.alpn_protocols.insert(0, H2.to_vec());
        Ok(Terms { open: Arc::new(config), full, leaf })
    }
}

/// A stream after its handshake.
pub(crate) struct Secured<T> {
    pub(crate) stream: TlsStream<T>,
    /// The client chose HTTP/2.
    pub(crate) is_http2: bool,
}

async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ServerConfig>,
    stream: T,
    within: Duration,
) -> Result<Secured<T>, HandshakeFailure> {
    let shaking = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(within, shaking).await {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
            Ok(Secured { stream, is_http2 })
        }
        Ok(Err(error)) => Err(HandshakeFailure::of(&error)),
        Err(_) => Err(HandshakeFailure::TooSlow),
    }
}

/// Why a handshake came to nothing, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HandshakeFailure {
    /// Something else than TLS: mostly `http://` where `https://` is spoken.
    NotTls,
    /// Only versions or ciphers that are not offered here.
    Incompatible,
    /// ALPN without `h2` and `http/1.1`.
    NoCommonProtocol,
    /// The client sent an alert: mostly, it does not trust the certificate.
    RefusedByClient,
    /// It took too long.
    TooSlow,
    /// The peer went away, or anything else.
    Broken,
}

impl HandshakeFailure {
    fn of(error: &io::Error) -> HandshakeFailure {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_)) => HandshakeFailure::NotTls,
            Some(rustls::Error::PeerIncompatible(_)) => HandshakeFailure::Incompatible,
            Some(rustls::Error::NoApplicationProtocol) => HandshakeFailure::NoCommonProtocol,
            Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::RefusedByClient,
            _ => HandshakeFailure::Broken,
        }
    }

    /// The metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            HandshakeFailure::NotTls => "not_tls",
            HandshakeFailure::Incompatible => "incompatible",
            HandshakeFailure::NoCommonProtocol => "no_common_protocol",
            HandshakeFailure::RefusedByClient => "refused_by_client",
            HandshakeFailure::TooSlow => "too_slow",
            HandshakeFailure::Broken => "broken",
        }
    }
}
