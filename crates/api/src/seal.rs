//! Private keys encrypted under a key that the operator keeps elsewhere: AES-256-GCM, the key's id bound to it. Refuses to
//! hold: where the operator's key comes from (the binary reads it) and which keys are encrypted when.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use pem::{EncodeConfig, LineEnding, Pem};
use sighting::{PrivateKey, hex};

use crate::keys::KeyError;

/// Base64 as tools write it, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a block of PEM text is called that has an encrypted key in it.
const SEALED_BLOCK: &str = "SEENBY ENCRYPTED KEY";
/// What such a block is bound to; signing keys are bound to their ids, which are longer.
const BOUND_TO: &str = "key of a certificate";

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

    /// The key of a text: 32 bytes as 64 hexadecimal digits or as base64, and nothing else but blanks around it.
    pub fn parse(text: &str) -> Option<SealingKey> {
        let text = text.trim();
        let bytes = if text.len() == 64 { from_hex(text)? } else { BASE64.decode(text).ok()? };
        bytes.try_into().ok().map(SealingKey)
    }

    /// The text that [`SealingKey::parse`] reads, to be written into a file once.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
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
        self.sealed(kid, pkcs8, nonce).map(PrivateKey::Sealed).ok_or(KeyError::NotMade)
    }

    /// The key of a certificate (PEM text) encrypted, as PEM text of a block of our own; `None` if the cipher fails. The nonce
    /// must be random.
    pub fn seal_pem(&self, key: &str, nonce: [u8; NONCE_LEN]) -> Option<String> {
        let block = Pem::new(SEALED_BLOCK, self.sealed(BOUND_TO, key.as_bytes(), nonce)?);
        Some(pem::encode_config(&block, EncodeConfig::new().set_line_ending(LineEnding::LF)))
    }

    /// The key of a certificate as it was before [`SealingKey::seal_pem`]; `None` if it is not encrypted under this key.
    pub fn open_pem(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let block = pem::parse(sealed).ok().filter(|block| block.tag() == SEALED_BLOCK)?;
        self.open(BOUND_TO, block.contents())
    }

    /// Whether a file has an encrypted key in it.
    pub fn is_sealed_pem(text: &[u8]) -> bool {
        let begin = format!("-----BEGIN {SEALED_BLOCK}-----");
        text.windows(begin.len()).any(|window| window == begin.as_bytes())
    }

    fn sealed(&self, name: &str, plain: &[u8], nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        let mut text = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.cipher()?.seal_in_place_append_tag(unique, Aad::from(name.as_bytes()), &mut text).ok()?;
        Some([&nonce, text.as_slice()].concat())
    }

    fn open(&self, kid: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.cipher()?.open_in_place(nonce, Aad::from(kid.as_bytes()), &mut text).ok()?;
        Some(plain.to_vec())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
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
    fn a_key_is_64_digits_or_base64() {
        let key = SealingKey::new([0xfb; 32]);
        let base64 = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s";
        let hex = "fb".repeat(32);
        assert_eq!(key.to_hex(), hex);
        for text in [&hex, &format!(" {}\n", hex.to_uppercase()), base64, &format!("{base64}=\r\n")] {
            assert_eq!(SealingKey::parse(text).as_ref(), Some(&key), "{text}");
        }
        for text in
            ["", "fb", &hex[1..], &format!("{hex}fb"), &format!("{}g", &hex[1..]), &base64[4..], "passphrase"]
        {
            assert_eq!(SealingKey::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_of_a_certificate_is_text_before_and_after() {
        let (ours, other) = (SealingKey::new([1; 32]), SealingKey::new([2; 32]));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let sealed = ours.seal_pem(key, [7; NONCE_LEN]).expect("sealed");
        assert!(sealed.starts_with("-----BEGIN SEENBY ENCRYPTED KEY-----\n") && !sealed.contains("AAAA"));
        assert!(SealingKey::is_sealed_pem(sealed.as_bytes()) && !SealingKey::is_sealed_pem(key.as_bytes()));
        assert_eq!(ours.open_pem(sealed.as_bytes()).as_deref(), Some(key.as_bytes()));
        assert_eq!(other.open_pem(sealed.as_bytes()), None);
        assert_eq!(ours.open_pem(key.as_bytes()), None);
        assert_eq!(ours.open_pem(&sealed.as_bytes()[..sealed.len() / 2]), None);
        // One kind is not taken for the other.
        let signing = ours.sealed("k1", b"private", [7; NONCE_LEN]).expect("sealed");
        assert_eq!(ours.open(BOUND_TO, &signing), None);
    }

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
