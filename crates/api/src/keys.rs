//! Signing keys: how one is made, and the ring of ready-to-use keys that follows the book. Refuses to hold: where keys
//! are kept, when a new one is due, keys of other issuers, and what is in a token.

use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Serialize;
use sighting::{Book, PrivateKey, Second, SigningKey};
use utoipa::ToSchema;

use crate::seal::{self, SealingKey};
use crate::secret::sha256;

/// Why a signing key could not be made or used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cryptographic library made none.
    #[error("no RSA key could be made")]
    NotMade,
    /// The bytes of a kept key are not an RSA private key of 2,048 bits or more in PKCS#8.
    #[error("signing key '{0}' is not an RSA private key in PKCS#8")]
    NotRsa(String),
    /// The key is encrypted, and nobody said under which key.
    #[error("signing key '{0}' is encrypted: give the file of the key that it was encrypted under")]
    NoSealingKey(String),
    /// The key is encrypted under another key.
    #[error("signing key '{0}' is encrypted under another key than the one that was given")]
    OtherSealingKey(String),
}

/// Makes a signing key: RSA 2048 from the cryptographic library's own random generator (it takes no other). Its kid is
/// the thumbprint of the public key (RFC 7638), so two keys never share one.
pub fn new_signing_key(now: Second) -> Result<SigningKey, KeyError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::NotMade)?;
    let pkcs8 = pair.as_der().map_err(|_| KeyError::NotMade)?;
    let private = PrivateKey::Plain(pkcs8.as_ref().to_vec());
    Ok(SigningKey { kid: public_part(&pair).thumbprint(), private, created_at: now })
}

/// Whether every signing key of a book can be used. A server that cannot use one would refuse what it signed.
pub fn check_signing_keys(book: &Book, sealing: Option<&SealingKey>) -> Result<(), KeyError> {
    book.signing_keys.iter().try_for_each(|kept| Key::parse(kept, sealing).map(drop))
}

/// The public part of an RSA key, base64url.
struct PublicPart {
    n: String,
    e: String,
}

fn public_part(pair: &RsaKeyPair) -> PublicPart {
    let public = pair.public_key();
    PublicPart {
        n: URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
        e: URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
    }
}

impl PublicPart {
    fn thumbprint(&self) -> String {
        let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, self.e, self.n);
        URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
    }
}

/// One key of the ring.
pub(crate) struct Key {
    pub(crate) kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    public: PublicPart,
}

impl Key {
    fn parse(kept: &SigningKey, sealing: Option<&SealingKey>) -> Result<Key, KeyError> {
        let not_rsa = || KeyError::NotRsa(kept.kid.clone());
        let pkcs8 = seal::opened(&kept.kid, &kept.private, sealing)?;
        let pair = RsaKeyPair::from_pkcs8(&pkcs8).map_err(|_| not_rsa())?;
        let public = public_part(&pair);
        let encoding = EncodingKey::from_rsa_pem(pem(&pkcs8).as_bytes()).map_err(|_| not_rsa())?;
        let decoding = DecodingKey::from_rsa_components(&public.n, &public.e).map_err(|_| not_rsa())?;
        Ok(Key { kid: kept.kid.clone(), encoding, decoding, public })
    }

    /// The RS256 signature of a message, base64url; `None` if the library refuses.
    pub(crate) fn sign(&self, message: &str) -> Option<String> {
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, Algorithm::RS256).ok()
    }

    /// Whether a base64url text is this key's RS256 signature of a message.
    pub(crate) fn is_signature(&self, signature: &str, message: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, Algorithm::RS256)
            .unwrap_or(false)
    }
}

/// PKCS#8 in the armour that the token library reads.
fn pem(pkcs8: &[u8]) -> String {
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in STANDARD.encode(pkcs8).as_bytes().chunks(64) {
        // Base64 is ASCII, and writing to a String cannot fail.
        let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// The keys of one state of the book, oldest first.
#[derive(Default)]
pub(crate) struct Ring {
    made_from: Vec<SigningKey>,
    keys: Vec<Key>,
}

impl Ring {
    fn new(kept: &[SigningKey], sealing: Option<&SealingKey>) -> Ring {
        let usable = |kept: &SigningKey| match Key::parse(kept, sealing) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(%error, "a signing key of the book is passed over");
                None
            }
        };
        Ring { made_from: kept.to_vec(), keys: kept.iter().filter_map(usable).collect() }
    }

    /// The newest key signs.
    pub(crate) fn signer(&self) -> Option<&Key> {
        self.keys.last()
    }

    /// The key of an id.
    pub(crate) fn key(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// The public keys as RFC 7517 writes them.
    pub(crate) fn key_set<'a>(&'a self) -> KeySet<'a> {
        let public = |key: &'a Key| {
            let Key { kid, public: PublicPart { n, e }, .. } = key;
            PublicKey { kty: "RSA", usage: "sig", alg: "RS256", kid, n, e }
        };
        KeySet { keys: self.keys.iter().map(public).collect() }
    }
}

/// The ring of the book as it was last seen; made anew when the book's keys differ.
#[derive(Default)]
pub(crate) struct Keys {
    ring: RwLock<Arc<Ring>>,
    sealing: Option<SealingKey>,
}

impl Keys {
    /// With the key under which private keys are encrypted, if they are.
    pub(crate) fn new(sealing: Option<SealingKey>) -> Keys {
        Keys { ring: RwLock::default(), sealing }
    }

    pub(crate) fn ring(&self, book: &Book) -> Arc<Ring> {
        let ring = Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner));
        if ring.made_from == book.signing_keys {
            return ring;
        }
        let ring = Arc::new(Ring::new(&book.signing_keys, self.sealing.as_ref()));
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ring);
        ring
    }
}

/// A JWK set.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySet<'a> {
    keys: Vec<PublicKey<'a>>,
}

/// One public key.
#[derive(Serialize, ToSchema)]
struct PublicKey<'a> {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: &'a str,
    n: &'a str,
    e: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_signs_and_its_ring_follows_the_book() {
        let key = new_signing_key(Second::new(7)).expect("a key");
        let mut book = Book { signing_keys: vec![key.clone()], ..Book::default() };
        let keys = Keys::default();
        let ring = keys.ring(&book);
        let signature = ring.signer().and_then(|key| key.sign("a.b")).expect("a signature");
        let verifier = ring.key(&key.kid).expect("the key");
        assert!(verifier.is_signature(&signature, "a.b") && !verifier.is_signature(&signature, "a.c"));
        assert!(!verifier.is_signature("", "a.b") && !verifier.is_signature("!!", "a.b"));
        book.signing_keys = vec![SigningKey {
            kid: "broken".into(),
            private: PrivateKey::Plain(vec![1]),
            created_at: Second::MIN,
        }];
        assert!(keys.ring(&book).signer().is_none() && keys.ring(&book).key(&key.kid).is_none());
    }
}
