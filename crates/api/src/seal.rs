//! Private keys encrypted under a key that the operator keeps elsewhere: AES-256-GCM, the key's id bound to it. Refuses to
//! hold: where the operator's key comes from (the binary reads it) and which keys are encrypted when.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sighting::PrivateKey;

use crate::keys::KeyError;

/// The operator's key. Its `Debug` is its name only.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey([u8; 32]);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

impl SealingKey {
    /// The key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> SealingKey {
        SealingKey(bytes)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.0).map(LessSafeKey::new).ok()
    }

    /// A private key (PKCS#8) encrypted: nonce, ciphertext, tag. The nonce must be random.
    pub(crate) fn seal(
        &self,
        kid: &str,
        pkcs8: &[u8],
        nonce: [u8; NONCE_LEN],
    ) -> Result<PrivateKey, KeyError> {
        let cipher = self.cipher().ok_or(KeyError::NotMade)?;
        let mut text = pkcs8.to_vec();
        cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(kid.as_bytes()),
                &mut text,
            )
            .map_err(|_| KeyError::NotMade)?;
        Ok(PrivateKey::Sealed([&nonce, text.as_slice()].concat()))
    }

    fn open(&self, kid: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.cipher()?.open_in_place(nonce, Aad::from(kid.as_bytes()), &mut text).ok()?;
        Some(plain.to_vec())
    }
}

/// The PKCS#8 of a kept key.
pub(crate) fn opened(
    kid: &str,
    private: &PrivateKey,
    sealing: Option<&SealingKey>,
) -> Result<Vec<u8>, KeyError> {
    match (private, sealing) {
        (PrivateKey::Plain(pkcs8), _) => Ok(pkcs8.clone()),
        (PrivateKey::Sealed(_), None) => Err(KeyError::NoSealingKey(kid.to_owned())),
        (PrivateKey::Sealed(sealed), Some(key)) => {
            key.open(kid, sealed).ok_or_else(|| KeyError::OtherSealingKey(kid.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_name_alone() {
        let (ours, other) = (SealingKey::new([1; 32]), SealingKey::new([2; 32]));
        let sealed = ours.seal("k1", b"private", [7; NONCE_LEN]).expect("sealed");
        let PrivateKey::Sealed(bytes) = &sealed else { panic!("in the clear") };
        assert!(!bytes.windows(7).any(|window| window == b"private"));
        assert_eq!(opened("k1", &sealed, Some(&ours)).as_deref(), Ok(b"private".as_slice()));
        assert_eq!(opened("k1", &sealed, None), Err(KeyError::NoSealingKey("k1".to_owned())));
        for (kid, key) in [("k1", &other), ("k2", &ours)] {
            assert_eq!(opened(kid, &sealed, Some(key)), Err(KeyError::OtherSealingKey(kid.to_owned())));
        }
        for end in 0..bytes.len() {
            assert!(opened("k1", &PrivateKey::Sealed(bytes[..end].to_vec()), Some(&ours)).is_err());
        }
        assert_eq!(format!("{ours:?}"), "SealingKey(..)");
    }
}
