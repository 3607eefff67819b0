//! Public keys of outside issuers, as RFC 7517 writes them: which of a set are taken, and how a signature is checked with
//! one. Refuses to hold: where a set comes from and how long it counts (`cache`), private keys, and our own (`keys`).
//!
//! Taken are RSA keys of 2,048 to 8,192 bits (RS256) and keys on P-256 (ES256), for signatures, with a `kid`. Everything
//! else in a set is passed over.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use sighting::Uuid;

use crate::secret::sha256;

/// Keys of one set that are looked at: the largest known sets have a dozen.
const KEYS_MAX: usize = 100;
/// The longest `kid`, in bytes.
pub(super) const KID_BYTES_MAX: usize = 255;
/// Bits of an RSA modulus: fewer can be broken, more cost a caller nothing and us much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Bytes of a coordinate on P-256.
const COORDINATE_BYTES: usize = 32;
/// What Entra ID writes in a key's issuer where a tenant is meant.
const ANY_TENANT: &str = "{tenantid}";

/// Why a text is no key set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is not a JSON object with a list of keys.
    #[error("it is not a JWK set (a JSON object with \"keys\")")]
    NotASet,
    /// It has no key that can be used.
    #[error(
        "it has no key for signatures with a kid that is RSA of 2048 bits or more (RS256), or on P-256 (ES256)"
    )]
    NoUsableKey,
}

/// How many usable keys a JWK set has, at least one.
pub fn usable_keys(set: &[u8]) -> Result<usize, KeySetError> {
    OutsideKeys::parse(set).map(|keys| keys.len())
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<Value>,
}

/// One key as it is written; names that are not here do not matter.
#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    issuer: Option<String>,
}

/// A key that signatures are checked with.
pub(crate) struct OutsideKey {
    pub(crate) kid: String,
    /// The only algorithm that it is for.
    pub(crate) algorithm: Algorithm,
    /// What tells it from another of the same kid: SHA-256 of what it is.
    pub(crate) thumbprint: [u8; 32],
    /// The only issuer that it signs for, where Entra ID says so of a key; it may have a placeholder for the tenant.
    issuer: Option<String>,
    decoding: DecodingKey,
}

impl OutsideKey {
    fn take(written: WrittenKey) -> Option<OutsideKey> {
        let for_signatures = written.usage.as_deref().is_none_or(|usage| usage == "sig")
            && written.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let named = !written.kid.is_empty() && written.kid.len() <= KID_BYTES_MAX;
        let (algorithm, canonical, decoding) = match written.kty.as_str() {
            "RSA" => rsa(written.n.as_deref()?, written.e.as_deref()?)?,
            "EC" if written.crv.as_deref() == Some("P-256") => {
                p256(written.x.as_deref()?, written.y.as_deref()?)?
            }
            _ => return None,
        };
        let meant = written.alg.as_deref().is_none_or(|name| Some(algorithm) == algorithm_of(name));
        (for_signatures && named && meant).then(|| OutsideKey {
            kid: written.kid,
            algorithm,
            thumbprint: sha256(canonical.as_bytes()),
            issuer: written.issuer,
            decoding,
        })
    }

    /// Whether a base64url text is this key's signature of a message.
    pub(crate) fn is_signature(&self, signature: &str, message: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm)
            .unwrap_or(false)
    }

    /// Whether it may sign for an issuer (in the v2 form) and its tenant.
    pub(super) fn signs_for(&self, issuer: &str, tenant: Uuid) -> bool {
        let is_issuer = |own: &String| own.replace(ANY_TENANT, &tenant.to_string()) == issuer;
        self.issuer.as_ref().is_none_or(is_issuer)
    }
}

/// The algorithms that any token may be signed with.
pub(crate) fn algorithm_of(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        _ => None,
    }
}

fn rsa(n: &str, e: &str) -> Option<(Algorithm, String, DecodingKey)> {
    let (modulus, exponent) = (decode(n)?, decode(e)?);
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    let bits = (modulus.len() - zeros) * 8 - first.leading_zeros() as usize;
    let is_sound = RSA_BITS.contains(&bits) && exponent.len() <= 8 && exponent.last()? % 2 == 1;
    let decoding = DecodingKey::from_rsa_raw_components(&modulus[zeros..], &exponent);
    is_sound.then(|| (Algorithm::RS256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#), decoding))
}

fn p256(x: &str, y: &str) -> Option<(Algorithm, String, DecodingKey)> {
    let is_sound = [x, y].iter().all(|part| decode(part).is_some_and(|part| part.len() == COORDINATE_BYTES));
    let decoding = DecodingKey::from_ec_components(x, y).ok()?;
    is_sound
        .then(|| (Algorithm::ES256, format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#), decoding))
}

/// Base64url; some issuers pad it.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// The usable keys of one set.
#[derive(Default)]
pub(super) struct OutsideKeys(HashMap<String, Arc<OutsideKey>>);

impl OutsideKeys {
    /// Reads a set. Of two keys with one `kid` the first is taken.
    pub(super) fn parse(set: &[u8]) -> Result<OutsideKeys, KeySetError> {
        let set: WrittenSet = serde_json::from_slice(set).map_err(|_| KeySetError::NotASet)?;
        let mut keys = HashMap::new();
        for written in set.keys.into_iter().take(KEYS_MAX) {
            let Ok(written) = serde_json::from_value::<WrittenKey>(written) else { continue };
            let Some(key) = OutsideKey::take(written) else { continue };
            keys.entry(key.kid.clone()).or_insert_with(|| Arc::new(key));
        }
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(OutsideKeys(keys)) }
    }

    pub(super) fn get(&self, kid: &str) -> Option<&Arc<OutsideKey>> {
        self.0.get(kid)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rsa_key(changes: &Value) -> Value {
        let n = URL_SAFE_NO_PAD.encode([0xc5; 256]);
        let mut key = json!({"kty": "RSA", "use": "sig", "kid": "a", "n": n, "e": "AQAB"});
        for (name, value) in changes.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    }

    #[track_caller]
    fn check(key: &Value, is_usable: bool) {
        let set = json!({"keys": [key]}).to_string();
        assert_eq!(usable_keys(set.as_bytes()).is_ok(), is_usable, "{set}");
    }

    #[test]
    fn which_keys_are_taken() {
        let short = URL_SAFE_NO_PAD.encode([0xc5; 255]);
        let just_short = URL_SAFE_NO_PAD.encode([[0x7f; 1].as_slice(), &[0xc5; 255]].concat());
        let huge = URL_SAFE_NO_PAD.encode([0xc5; 1_025]);
        for good in [json!({}), json!({"alg": "RS256"}), json!({"use": null}), json!({"key_ops": ["verify"]})]
        {
            check(&rsa_key(&good), true);
        }
        for bad in [
            json!({"use": "enc"}),
            json!({"key_ops": ["encrypt"]}),
            json!({"alg": "RS512"}),
            json!({"alg": "PS256"}),
            json!({"alg": "ES256"}),
            json!({"kid": ""}),
            json!({"kid": null}),
            json!({"kid": 7}),
            json!({"kid": "k".repeat(256)}),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!({"n": short}),
            json!({"n": just_short}),
            json!({"n": huge}),
            json!({"n": "***"}),
            json!({"n": ""}),
            json!({"n": null}),
            json!({"e": "AA"}),
            json!({"e": ""}),
        ] {
            check(&rsa_key(&bad), false);
        }
        let (x, long) = (URL_SAFE_NO_PAD.encode([1; 32]), URL_SAFE_NO_PAD.encode([1; 33]));
        check(&json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": x}), true);
        check(&json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": x, "alg": "RS256"}), false);
        check(&json!({"kty": "EC", "crv": "P-384", "kid": "a", "x": x, "y": x}), false);
        check(&json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": long}), false);
        check(&json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x}), false);
        for text in ["", "[]", "{}", "{\"keys\":7}", "{\"keys\":[]}", "{\"keys\":[7,null,{}]}"] {
            assert!(usable_keys(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn sets_are_bounded_and_of_two_keys_the_first_counts() {
        let many: Vec<Value> = (0..500).map(|kid| rsa_key(&json!({"kid": kid.to_string()}))).collect();
        assert_eq!(usable_keys(json!({"keys": many}).to_string().as_bytes()), Ok(KEYS_MAX));
        let other = URL_SAFE_NO_PAD.encode([0xc7; 256]);
        let two = json!({"keys": [rsa_key(&json!({})), rsa_key(&json!({"n": other}))]}).to_string();
        let one = json!({"keys": [rsa_key(&json!({}))]}).to_string();
        let thumbprint =
            |set: &str| OutsideKeys::parse(set.as_bytes()).expect("a set").get("a").map(|key| key.thumbprint);
        assert_eq!(thumbprint(&two), thumbprint(&one));
    }

    #[test]
    fn a_key_of_one_tenant_signs_for_no_other() {
        let tenant = Uuid::from_u128(7);
        let issuer = format!("https://login.example/{tenant}/v2.0");
        for (own, signs) in [
            (json!(null), true),
            (json!("https://login.example/{tenantid}/v2.0"), true),
            (json!(issuer), true),
            (json!("https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"), false),
        ] {
            let set = json!({"keys": [rsa_key(&json!({"issuer": own}))]}).to_string();
            let keys = OutsideKeys::parse(set.as_bytes()).expect("a set");
            assert_eq!(keys.get("a").map(|key| key.signs_for(&issuer, tenant)), Some(signs), "{own}");
        }
    }
}
