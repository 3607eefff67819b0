//! Client secrets as they are made: 256 random bits, shown once; and what is made of SHA-256 alone. Refuses to hold: where
//! the hash is kept (the book) and how it is compared (the token endpoint).

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sighting::Uuid;

/// A secret in the clear, to be shown to a person once. Never written to a log: its `Debug` is its name only.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainSecret(String);

impl PlainSecret {
    /// The text that a client sends.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainSecret(..)")
    }
}

/// Makes a secret of 256 random bits as base64url, with the SHA-256 that the book keeps.
pub fn new_secret(entropy: impl Fn(&mut [u8])) -> (PlainSecret, [u8; 32]) {
    let mut bytes = [0u8; 32];
    entropy(&mut bytes);
    let plain = PlainSecret(URL_SAFE_NO_PAD.encode(bytes));
    let hash = sha256(plain.0.as_bytes());
    (plain, hash)
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// The id of whatever has no other, made of what names it: always the same one (a version 8 UUID).
pub(crate) fn uuid_of(name: &[u8]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sha256(name)[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_43_letters_and_shows_none() {
        let (plain, hash) = new_secret(|bytes| bytes.fill(7));
        assert_eq!(plain.reveal(), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        assert_eq!(hash, sha256(plain.reveal().as_bytes()));
        assert_eq!(format!("{plain:?}"), "PlainSecret(..)");
    }
}
