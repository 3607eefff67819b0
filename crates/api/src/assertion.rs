//! Assertions: how an application proves with the key of a certificate who it is (RFC 7523). Reads the certificate that an
//! operator adds, and every check of an assertion but whether it was used before. Refuses to hold: where certificates are
//! kept, used assertions (tickets), and private keys.
//!
//! Seen in the wild: `x5t` with padding, `exp` and `nbf` as floats, PS256 with `x5t#S256`.

use aws_lc_rs::digest;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sighting::{Application, ApplicationId, Certificate, Second};
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

use crate::secret::sha256;

/// What `client_assertion_type` must be.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far the clock of whoever made an assertion may be from ours.
const LEEWAY_S: u64 = 300;
/// No assertion is good for longer than this from now on.
const LIFETIME_MAX_S: u64 = 3_600;
/// A longer one is not looked at, nor a longer id.
const ASSERTION_BYTES_MAX: usize = 16 * 1_024;
const ID_BYTES_MAX: usize = 256;
/// Smaller keys are worth nothing.
const KEY_BITS_MIN: usize = 2_048;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE_ANY: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, ANY_PADDING);
const STANDARD_ANY: GeneralPurpose = GeneralPurpose::new(&STANDARD, ANY_PADDING);

/// Why a certificate cannot be an application's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none in the text.
    #[error("there is no certificate in it (a block 'BEGIN CERTIFICATE')")]
    Missing,
    /// It cannot be read.
    #[error("its certificate cannot be read")]
    Unreadable,
    /// Its key is of another kind, or small.
    #[error("its key is not RSA of at least {KEY_BITS_MIN} bits")]
    Key,
    /// It has expired.
    #[error("it has expired ({0})")]
    Expired(Second),
}

/// What is kept of the first certificate of a PEM text.
pub fn read_certificate(pem: &[u8], now: Second) -> Result<Certificate, CertificateError> {
    let mut blocks = Pem::iter_from_buffer(pem).filter_map(Result::ok);
    let block = blocks.find(|block| block.label == "CERTIFICATE").ok_or(CertificateError::Missing)?;
    let parsed = block.parse_x509().map_err(|_| CertificateError::Unreadable)?;
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() >= KEY_BITS_MIN => {}
        _ => return Err(CertificateError::Key),
    }
    let not_after = second(parsed.validity().not_after.timestamp());
    if not_after < now {
        return Err(CertificateError::Expired(not_after));
    }
    let mut sha1 = [0; 20];
    let legacy = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &block.contents);
    sha1.copy_from_slice(legacy.as_ref());
    Ok(Certificate {
        sha256: sha256(&block.contents),
        sha1,
        public_key: parsed.public_key().subject_public_key.data.to_vec(),
        not_before: second(parsed.validity().not_before.timestamp()),
        not_after,
        created_at: now,
    })
}

/// What certificates say beyond 2106 or before 1970 is as good as the end of our time.
fn second(unix: i64) -> Second {
    Second::new(u32::try_from(unix.max(0)).unwrap_or(u32::MAX))
}

/// Why an assertion proves nothing. Callers are told that much: it is their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssertionRefusal {
    /// It is no JWT with the right claims.
    Malformed,
    /// It is signed by another algorithm than RS256 or PS256, or wants to bring its own key.
    Header,
    /// Its thumbprint is none of the application's certificates.
    UnknownCertificate,
    /// The certificate is not good now.
    ExpiredCertificate,
    /// It is not signed by the certificate's key.
    Signature,
    /// It does not speak for the application.
    Subject,
    /// It is meant for somebody else.
    Audience,
    /// It has expired, or lives for too long.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It was used before.
    Replayed,
}

impl AssertionRefusal {
    /// What is wrong, as part of a sentence.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            AssertionRefusal::Malformed => "it is no JWT with iss, sub, aud, exp and jti",
            AssertionRefusal::Header => "its header must have alg RS256 or PS256 and x5t or x5t#S256",
            AssertionRefusal::UnknownCertificate => "its thumbprint is no certificate of the application",
            AssertionRefusal::ExpiredCertificate => "its certificate is not valid now",
            AssertionRefusal::Signature => "its signature is not that of the certificate's key",
            AssertionRefusal::Subject => "its iss and sub must be the client id",
            AssertionRefusal::Audience => "its aud must be this token endpoint",
            AssertionRefusal::Expired => "it has expired, or is valid for more than an hour",
            AssertionRefusal::NotYetValid => "it is not valid yet",
            AssertionRefusal::Replayed => "it was used before; make a new one for each request",
        }
    }
}

/// A sound assertion.
#[derive(Debug)]
pub(crate) struct Proven {
    /// The certificate whose key signed it, by SHA-256.
    pub(crate) certificate: [u8; 32],
    /// By which a second use is known.
    pub(crate) use_id: [u8; 32],
    /// Until when that must be remembered.
    pub(crate) expires_at: Second,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5t: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
}

/// An audience may be a list; a time may be a float.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The client that an assertion names, before anything of it is believed: by it the application is found.
pub(crate) fn named_client(assertion: &str) -> Option<String> {
    let claims: Claims = decode(assertion.split('.').nth(1)?)?;
    Some(claims.sub)
}

/// Every check of an assertion but its reuse; `is_for_us` judges an audience.
pub(crate) fn verify(
    assertion: &str,
    application: &Application,
    is_for_us: impl Fn(&str) -> bool,
    now: Second,
) -> Result<Proven, AssertionRefusal> {
    if assertion.len() > ASSERTION_BYTES_MAX {
        return Err(AssertionRefusal::Malformed);
    }
    let (message, signature) = assertion.rsplit_once('.').ok_or(AssertionRefusal::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(AssertionRefusal::Malformed)?;
    let header: Header = decode(header).ok_or(AssertionRefusal::Malformed)?;
    let algorithm = algorithm(&header)?;
    let certificate = certificate(&header, application)?;
    if now < certificate.not_before || certificate.not_after < now {
        return Err(AssertionRefusal::ExpiredCertificate);
    }
    let key = DecodingKey::from_rsa_der(&certificate.public_key);
    let is_signed = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm);
    if !is_signed.unwrap_or(false) {
        return Err(AssertionRefusal::Signature);
    }
    let claims: Claims = decode(claims).ok_or(AssertionRefusal::Malformed)?;
    check_claims(&claims, application.id, is_for_us, now)?;
    let use_id = sha256(&[application.id.0.as_bytes(), claims.jti.as_bytes()].concat());
    let expires_at = seconds(claims.exp).plus(LEEWAY_S);
    Ok(Proven { certificate: certificate.sha256, use_id, expires_at })
}

fn algorithm(header: &Header) -> Result<Algorithm, AssertionRefusal> {
    let own_key = [&header.jku, &header.jwk, &header.x5u, &header.crit].iter().any(|field| field.is_some());
    match header.alg.as_str() {
        _ if own_key => Err(AssertionRefusal::Header),
        "RS256" => Ok(Algorithm::RS256),
        "PS256" => Ok(Algorithm::PS256),
        _ => Err(AssertionRefusal::Header),
    }
}

/// The application's certificate that the header names; where it names one twice, both names must be its.
fn certificate<'a>(
    header: &Header,
    application: &'a Application,
) -> Result<&'a Certificate, AssertionRefusal> {
    if header.x5t.is_none() && header.x5t_s256.is_none() {
        return Err(AssertionRefusal::Header);
    }
    let is = |named: &Option<String>, thumbprint: &[u8]| {
        named.as_ref().is_none_or(|named| thumbprint_of(named).as_deref() == Some(thumbprint))
    };
    let mut certificates = application.certificates.iter();
    certificates
        .find(|kept| is(&header.x5t, &kept.sha1) && is(&header.x5t_s256, &kept.sha256))
        .ok_or(AssertionRefusal::UnknownCertificate)
}

/// Base64 in either alphabet, padded or not.
fn thumbprint_of(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_ANY.decode(text).or_else(|_| STANDARD_ANY.decode(text)).ok()
}

fn check_claims(
    claims: &Claims,
    id: ApplicationId,
    is_for_us: impl Fn(&str) -> bool,
    now: Second,
) -> Result<(), AssertionRefusal> {
    let id = id.to_string();
    if !claims.iss.eq_ignore_ascii_case(&id) || !claims.sub.eq_ignore_ascii_case(&id) {
        return Err(AssertionRefusal::Subject);
    }
    let is_meant = match &claims.aud {
        Audience::One(audience) => is_for_us(audience),
        Audience::Several(audiences) => audiences.iter().any(|audience| is_for_us(audience)),
    };
    if !is_meant {
        return Err(AssertionRefusal::Audience);
    }
    let now_s = f64::from(now.unix());
    let (leeway, life) = (LEEWAY_S as f64, LIFETIME_MAX_S as f64);
    if !(now_s - leeway..=now_s + life + leeway).contains(&claims.exp) {
        return Err(AssertionRefusal::Expired);
    }
    let begins = [claims.nbf, claims.iat];
    if begins.iter().flatten().any(|begin| begin.is_nan() || *begin > now_s + leeway) {
        return Err(AssertionRefusal::NotYetValid);
    }
    if claims.jti.is_empty() || claims.jti.len() > ID_BYTES_MAX {
        return Err(AssertionRefusal::Malformed);
    }
    Ok(())
}

/// A moment as a JWT writes it, cut to whole seconds.
fn seconds(moment: f64) -> Second {
    // A cast of a float saturates.
    Second::new(moment as u32)
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_ANY.decode(part).ok()?).ok()
}
