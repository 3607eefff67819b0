//! Outside issuers of the tests: keys with which somebody signs, and a network that is a map of documents and counts. Refuses
//! to hold: expectations, and anything of a real issuer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use seenby_api::{Fetch, new_signing_key};
use serde_json::{Value, json};
use sighting::Second;
use tokio::sync::Semaphore;

use super::{NOW, unsigned};

/// Somebody's private key with what they publish of it.
pub struct Signer {
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    pub jwk: Value,
}

impl Signer {
    pub fn rsa(kid: &str) -> Signer {
        let made = new_signing_key(Second::new(NOW)).expect("a key");
        let pair = RsaKeyPair::from_pkcs8(super::pkcs8(&made)).expect("a pair");
        let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
        let part = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let (n, e) = (part(n.big_endian_without_leading_zero()), part(e.big_endian_without_leading_zero()));
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(super::pkcs8(&made))
        );
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key");
        let jwk = json!({"kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": e, "x5t": kid, "x5c": ["MII"]});
        Signer { algorithm: Algorithm::RS256, key, jwk }
    }

    pub fn ec(kid: &str) -> Signer {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("a pair");
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y});
        Signer { algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }

    pub fn kid(&self) -> &str {
        self.jwk["kid"].as_str().expect("a kid")
    }

    pub fn header(&self) -> Value {
        let alg = if self.algorithm == Algorithm::ES256 { "ES256" } else { "RS256" };
        json!({"typ": "JWT", "alg": alg, "kid": self.kid(), "x5t": self.kid()})
    }

    pub fn sign(&self, header: &str, claims: &str) -> String {
        let message = unsigned(header, claims);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).expect("a signature");
        format!("{message}.{signature}")
    }

    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}

/// Everything that can be fetched.
#[derive(Clone)]
pub struct Net {
    pub documents: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    pub fetched: Arc<Mutex<Vec<String>>>,
    /// Closed while it has no permits.
    pub gate: Arc<Semaphore>,
}

impl Net {
    pub fn empty() -> Net {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Net { documents: Arc::default(), fetched: Arc::default(), gate }
    }

    pub fn put(&self, url: &str, document: impl Into<Vec<u8>>) {
        self.documents.lock().expect("whole").insert(url.to_owned(), document.into());
    }

    pub fn publish(&self, issuer: &str, keys: &[&Signer]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
        let jwks_uri = format!("{}/keys", issuer.trim_end_matches('/'));
        self.put(&jwks_uri, json!({"keys": keys}).to_string());
        self.put(&discovery_of(issuer), json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string());
    }

    pub fn down(&self) {
        self.documents.lock().expect("whole").clear();
    }

    pub fn fetches(&self) -> usize {
        self.fetched.lock().expect("whole").len()
    }

    pub fn fetch(&self) -> Fetch {
        let net = self.clone();
        Arc::new(move |request| {
            let net = net.clone();
            Box::pin(async move {
                net.fetched.lock().expect("whole").push(request.url.clone());
                let _open = net.gate.acquire().await.expect("never closed for ever");
                let found = net.documents.lock().expect("whole").get(&request.url).cloned();
                found.ok_or_else(|| "connection refused\u{1b}".to_owned())
            })
        })
    }
}

pub fn discovery_of(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}
