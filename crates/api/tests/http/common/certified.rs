//! An application with a certificate, and the assertions that it signs. Refuses to hold: expectations.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use seenby_api::read_certificate;
use serde_json::{Value, json};
use sighting::{Certificate, Change, Second};

use super::{ACME, NOW, READER, RESOURCE, Reply, TestApp, changed};

pub const TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

pub struct Keyed {
    pub pem: String,
    pub key: EncodingKey,
    pub certificate: Certificate,
}

pub fn keyed(from: i64, until: i64) -> Keyed {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let pem = certificate_pem(&pair, from, until);
    let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).expect("a key");
    // Read at a time at which it is good.
    let certificate = read_certificate(pem.as_bytes(), Second::MIN).expect("a certificate");
    Keyed { pem, key, certificate }
}

pub fn certificate_pem(pair: &KeyPair, from: i64, until: i64) -> String {
    let moment = |unix| time::OffsetDateTime::from_unix_timestamp(unix).expect("a moment");
    let mut params = CertificateParams::new(vec!["app.example".to_owned()]).expect("a name");
    params.not_before = moment(from);
    params.not_after = moment(until);
    params.self_signed(pair).expect("a certificate").pem()
}

/// Made once: keys are slow to make.
pub fn good() -> &'static Keyed {
    static KEYED: OnceLock<Keyed> = OnceLock::new();
    KEYED.get_or_init(|| keyed(i64::from(NOW) - 1_000, i64::from(NOW) + 86_400))
}

pub fn thumbprint() -> String {
    // With padding, as one library writes it.
    URL_SAFE.encode(good().certificate.sha1)
}

pub fn endpoint() -> String {
    format!("http://api.securitycenter.microsoft.com/{ACME}/oauth2/v2.0/token")
}

pub fn claims(id: &str) -> Value {
    json!({
        "iss": READER.to_string(), "sub": READER.to_string(), "aud": endpoint(), "jti": id,
        "exp": f64::from(NOW) + 599.25, "nbf": f64::from(NOW) - 0.5, "iat": f64::from(NOW),
    })
}

pub fn signed(header: &Value, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

pub fn assertion(header: &Value, claims_: &Value) -> String {
    let header = changed(json!({"typ": "JWT", "alg": "RS256", "x5t": thumbprint()}), header);
    signed(&header, &claims_.to_string(), &good().key, Algorithm::RS256)
}

pub async fn app() -> TestApp {
    let app = TestApp::new().await;
    app.commit(Change::AddCertificate(READER, good().certificate.clone())).await;
    app
}

pub async fn ask(app: &TestApp, assertion: &str) -> Reply {
    let form = format!(
        "grant_type=client_credentials&client_id={READER}&scope={RESOURCE}/.default&client_assertion_type={TYPE}&client_assertion={assertion}"
    );
    app.post(&format!("/{ACME}/oauth2/v2.0/token"), &form).await
}
