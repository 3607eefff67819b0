//! Tokens of the built-in issuer, or that say so: forged, bent, old, signed by others; and requests that carry a good one
//! where it does not belong.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use seenby_api::new_signing_key;
use serde_json::{Value, json};
use sighting::Second;

use super::{Outcome, empty, path, with_token};
use crate::common::{
    ACME, HOST, LEE, NOW, OTHER, POWERLESS, READER, RESOURCE, STRANGER, TestApp, changed, credential, forged,
    get, good_claims, good_header, pkcs8, signed, signing_key, unsigned,
};

/// A resource that this server never has.
const GRAPH: &str = "https://graph.microsoft.com";

fn with_header(changes: &Value) -> String {
    signed(&changed(good_header(), changes).to_string(), &good_claims().to_string())
}

/// Signed with HMAC over what everybody can read: the public key in some encoding.
fn confused(secret: &[u8]) -> String {
    let header = changed(good_header(), &json!({"alg": "HS256"})).to_string();
    let message = unsigned(&header, &good_claims().to_string());
    let key = EncodingKey::from_secret(secret);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    format!("{message}.{signature}")
}

/// The public key as SubjectPublicKeyInfo, in DER.
fn public_der(modulus: &[u8]) -> Vec<u8> {
    let sized = |tag: u8, content: &[u8]| {
        let mut out = vec![tag];
        match content.len() {
            0..128 => out.push(content.len() as u8),
            length => out.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend(content);
        out
    };
    let number = sized(2, &[&[0], modulus].concat());
    let pair = sized(0x30, &[number, sized(2, &[1, 0, 1])].concat());
    let bits = sized(3, &[&[0][..], &pair].concat());
    let rsa = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    sized(0x30, &[&rsa[..], &bits].concat())
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

pub(crate) async fn outcomes(app: &TestApp) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, token) in tokens(app).await {
        outcomes.push(with_token(app, "token", name, &token, 401).await);
    }
    for (name, token) in without_right() {
        outcomes.push(with_token(app, "right", name, &token, 403).await);
    }
    outcomes.extend(carriers(app).await);
    outcomes
}

async fn tokens(app: &TestApp) -> Vec<(&'static str, String)> {
    let stranger_key = new_signing_key(Second::new(NOW)).expect("a key");
    let good = forged(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let jwks = app.anonymous("/common/discovery/keys").await;
    let modulus = jwks.json()["keys"][0]["n"].as_str().expect("a modulus").to_owned();
    let claims = good_claims().to_string();
    let none = |alg: &str| unsigned(&changed(good_header(), &json!({"alg": alg})).to_string(), &claims);
    let other_key = {
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(pkcs8(&stranger_key))
        );
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key");
        let message = unsigned(&good_header().to_string(), &claims);
        format!(
            "{message}.{}",
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).expect("signed")
        )
    };
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let der = public_der(&URL_SAFE_NO_PAD.decode(&modulus).expect("base64"));
    let pem = pem("PUBLIC KEY", &der);
    vec![
        ("empty", String::new()),
        ("a word", "token".into()),
        ("two dots", "..".into()),
        ("one part less", format!("{}.{}", parts[0], parts[1])),
        ("one part more", format!("{good}.x")),
        ("five parts", "a.b.c.d.e".into()),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("half a signature", format!("{}.{}.{}", parts[0], parts[1], &parts[2][..100])),
        ("another signature", format!("{}.{}.{}", parts[0], parts[1], "A".repeat(342))),
        ("padded signature", format!("{good}==")),
        ("padded claims", format!("{}.{}=.{}", parts[0], parts[1], parts[2])),
        ("a space inside", good.replace('.', ". ")),
        ("other claims, same signature", {
            let other = unsigned(
                &good_header().to_string(),
                &changed(good_claims(), &json!({"tid": OTHER.to_string()})).to_string(),
            );
            format!("{other}.{}", parts[2])
        }),
        ("not base64", "!!!.???.***".into()),
        ("not JSON", signed("header", "claims")),
        ("a list", signed("[]", "[]")),
        ("none", format!("{}.", none("none"))),
        ("nOnE", format!("{}.", none("nOnE"))),
        ("none with a space", format!("{}.", none("none "))),
        ("none with a null byte", format!("{}.", none("none\0"))),
        ("None", format!("{}.", none("None"))),
        ("NONE with our signature", format!("{}.{}", none("NONE"), parts[2])),
        ("empty algorithm", format!("{}.{}", none(""), parts[2])),
        ("HS256 with the modulus", confused(modulus.as_bytes())),
        ("HS256 with the raw modulus", confused(&URL_SAFE_NO_PAD.decode(&modulus).expect("base64"))),
        ("HS256 with the key set", confused(&jwks.body)),
        ("HS256 with the key in PEM", confused(pem.as_bytes())),
        ("HS256 with the key in PEM, trimmed", confused(pem.trim_end().as_bytes())),
        ("HS256 with the key in PEM, as Windows has it", confused(pem.replace('\n', "\r\n").as_bytes())),
        ("HS256 with the key in DER", confused(&der)),
        ("HS256 with the key of the set", confused(jwks.json()["keys"][0].to_string().as_bytes())),
        ("HS256 with the kid", confused(signing_key().kid.as_bytes())),
        ("HS256 with nothing", confused(b"")),
        ("RS384 in name", with_header(&json!({"alg": "RS384"}))),
        ("PS256 in name", with_header(&json!({"alg": "PS256"}))),
        ("rs256 in lower case", with_header(&json!({"alg": "rs256"}))),
        ("no algorithm", with_header(&json!({"alg": null}))),
        ("a number as algorithm", with_header(&json!({"alg": 256}))),
        (
            "two algorithms",
            signed(&good_header().to_string().replacen('{', "{\"alg\":\"none\",", 1), &claims),
        ),
        ("no type", with_header(&json!({"typ": null}))),
        ("another type", with_header(&json!({"typ": "JWE"}))),
        ("no kid", with_header(&json!({"kid": null}))),
        ("unknown kid", with_header(&json!({"kid": "other"}))),
        ("kid as a path", with_header(&json!({"kid": "../../../../dev/null"}))),
        ("kid as a URL", with_header(&json!({"kid": "https://evil.example/key"}))),
        ("kid as a file", with_header(&json!({"kid": "file:///proc/self/environ"}))),
        ("kid as a path in Windows", with_header(&json!({"kid": "..\\..\\windows\\win.ini"}))),
        ("kid as a command", with_header(&json!({"kid": "| sleep 10"}))),
        ("kid with a null byte", with_header(&json!({"kid": format!("{}\0", signing_key().kid)}))),
        ("kid in capitals", with_header(&json!({"kid": signing_key().kid.to_uppercase() + "A"}))),
        ("an empty kid", with_header(&json!({"kid": ""}))),
        ("a very long kid", with_header(&json!({"kid": "k".repeat(4_000)}))),
        ("two kids", signed(&good_header().to_string().replacen('{', "{\"kid\":\"x\",", 1), &claims)),
        ("kid as SQL", with_header(&json!({"kid": "' OR 1=1 --"}))),
        ("kid as a list", with_header(&json!({"kid": [signing_key().kid]}))),
        ("jku", with_header(&json!({"jku": "https://evil.example/keys"}))),
        ("x5u", with_header(&json!({"x5u": "https://evil.example/cert"}))),
        ("jwk", with_header(&json!({"jwk": {"kty": "RSA", "n": modulus, "e": "AQAB"}}))),
        ("x5c", with_header(&json!({"x5c": ["MII"]}))),
        ("x5c with our own key", with_header(&json!({"x5c": [STANDARD.encode(&der)]}))),
        (
            "jku beside nothing else",
            with_header(&json!({"jku": "http://localhost/common/discovery/keys", "kid": null})),
        ),
        ("jku at loopback", with_header(&json!({"jku": "http://127.0.0.1:1/keys"}))),
        ("x5u as a file", with_header(&json!({"x5u": "file:///etc/passwd"}))),
        ("crit of b64", with_header(&json!({"crit": ["b64"], "b64": false}))),
        ("an empty crit", with_header(&json!({"crit": []}))),
        ("a nested token's type", with_header(&json!({"typ": "JWT, JWT"}))),
        ("the type of a proof", with_header(&json!({"typ": "dpop+jwt"}))),
        ("the type of an id token", with_header(&json!({"typ": "id+jwt"}))),
        ("an encrypted token", "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkExMjhHQ00ifQ.AAAA.AAAA.AAAA.AAAA".into()),
        ("ES256 in name", with_header(&json!({"alg": "ES256"}))),
        ("RS512 in name", with_header(&json!({"alg": "RS512"}))),
        ("EdDSA in name", with_header(&json!({"alg": "EdDSA"}))),
        ("HS256 in name", with_header(&json!({"alg": "HS256"}))),
        ("RS256 with a null byte", with_header(&json!({"alg": "RS256\0"}))),
        ("crit", with_header(&json!({"crit": ["exp"]}))),
        ("another key under our kid", other_key),
        ("expired", forged(&json!({"exp": NOW - 301}))),
        ("expired long ago", forged(&json!({"exp": 1}))),
        ("not yet valid", forged(&json!({"nbf": NOW + 301}))),
        ("no exp", forged(&json!({"exp": null}))),
        ("exp as text", forged(&json!({"exp": "9999999999"}))),
        ("exp below zero", forged(&json!({"exp": -1}))),
        ("exp as a float", forged(&json!({"exp": 9_999_999_999.5}))),
        ("no nbf", forged(&json!({"nbf": null}))),
        ("another audience", forged(&json!({"aud": GRAPH}))),
        // What is wrong with the audience is told to nobody whose token has another fault: no word of it in these names.
        ("for another resource and expired", forged(&json!({"aud": GRAPH, "exp": NOW - 301}))),
        (
            "for another resource by another issuer",
            forged(&json!({"aud": GRAPH, "iss": "https://x.example"})),
        ),
        ("for another resource and tenant", forged(&json!({"aud": GRAPH, "tid": OTHER.to_string()}))),
        (
            "for another resource, of an unknown application",
            forged(&json!({"aud": GRAPH, "azp": "99999999-0000-4000-8000-000000000009"})),
        ),
        ("audience with two slashes", forged(&json!({"aud": format!("{RESOURCE}//")}))),
        ("audience as a prefix", forged(&json!({"aud": format!("{RESOURCE}.evil.example")}))),
        ("a list of audiences", forged(&json!({"aud": [RESOURCE, GRAPH]}))),
        ("no audience", forged(&json!({"aud": null}))),
        ("another issuer", forged(&json!({"iss": format!("https://sts.windows.net/{ACME}/")}))),
        ("an issuer's suffix", forged(&json!({"iss": format!("http://localhost.evil/{ACME}/v2.0")}))),
        ("the v1 issuer in a v2 token", forged(&json!({"iss": format!("http://localhost/{ACME}/")}))),
        ("the issuer of another tenant", forged(&json!({"iss": format!("http://localhost/{OTHER}/v2.0")}))),
        ("no issuer", forged(&json!({"iss": null}))),
        ("another tenant", forged(&json!({"tid": OTHER.to_string()}))),
        (
            "another tenant, issuer and all",
            forged(&json!({"tid": OTHER.to_string(), "iss": format!("http://localhost/{OTHER}/v2.0")})),
        ),
        ("an unknown tenant", {
            let tenant = "99999999-0000-4000-8000-000000000009";
            forged(&json!({"tid": tenant, "iss": format!("http://localhost/{tenant}/v2.0")}))
        }),
        ("a name as tenant", forged(&json!({"tid": "Acme"}))),
        ("an unknown application", forged(&json!({"azp": "99999999-0000-4000-8000-000000000009"}))),
        ("another organisation's application", forged(&json!({"azp": STRANGER.to_string()}))),
        ("no application", forged(&json!({"azp": null}))),
        ("appid in a v2 token", forged(&json!({"azp": null, "appid": READER.to_string()}))),
        ("an unknown version", forged(&json!({"ver": "3.0"}))),
        ("roles as text", forged(&json!({"roles": "Ip.Read.All"}))),
        ("roles as an object", forged(&json!({"roles": {"Ip.Read.All": true}}))),
        ("roles that hold a list", forged(&json!({"roles": [["Ip.Read.All"]]}))),
        (
            "scp as text and roles twice",
            signed(&good_header().to_string(), &claims.replacen('{', "{\"roles\":[\"a\"],", 1)),
        ),
        (
            "tid twice",
            signed(&good_header().to_string(), &claims.replacen('{', &format!("{{\"tid\":\"{OTHER}\","), 1)),
        ),
        ("aud twice", signed(&good_header().to_string(), &claims.replacen('{', "{\"aud\":\"x\",", 1))),
        (
            "iss twice, escaped",
            signed(&good_header().to_string(), &claims.replacen('{', "{\"\\u0069ss\":\"x\",", 1)),
        ),
        ("a null byte in the audience", forged(&json!({"aud": format!("{RESOURCE}\0")}))),
        ("a line break in the audience", forged(&json!({"aud": format!("{RESOURCE}\r\n")}))),
        ("the audience in capitals", forged(&json!({"aud": RESOURCE.to_uppercase()}))),
        (
            "the audience with a user",
            forged(&json!({"aud": "https://api.securitycenter.microsoft.com@evil.example"})),
        ),
        ("the audience with a path", forged(&json!({"aud": format!("{RESOURCE}/x")}))),
        ("an empty audience", forged(&json!({"aud": ""}))),
        ("a slash as audience", forged(&json!({"aud": "/"}))),
        ("tid as a list", forged(&json!({"tid": [ACME.to_string(), OTHER.to_string()]}))),
        ("tid with a null byte", forged(&json!({"tid": format!("{}\0", ACME)}))),
        ("tid of zeros", forged(&json!({"tid": "00000000-0000-0000-0000-000000000000"}))),
        ("common as tenant", forged(&json!({"tid": "common", "iss": "http://localhost/common/v2.0"}))),
        (
            "the v2 issuer in a v1 token",
            forged(&json!({"ver": "1.0", "azp": null, "appid": READER.to_string()})),
        ),
        ("issuer with a dot path", forged(&json!({"iss": format!("http://localhost/x/../{}/v2.0", ACME)}))),
        (
            "issuer with a user",
            forged(&json!({"iss": format!("http://localhost@evil.example/{}/v2.0", ACME)})),
        ),
        ("issuer in capitals", forged(&json!({"iss": format!("HTTP://LOCALHOST/{}/v2.0", ACME)}))),
        (
            "exp beyond all numbers",
            signed(
                &good_header().to_string(),
                &claims.replace(&format!("\"exp\":{}", NOW + 3_600), "\"exp\":99999999999999999999999"),
            ),
        ),
        (
            "exp as an exponent",
            signed(
                &good_header().to_string(),
                &claims.replace(&format!("\"exp\":{}", NOW + 3_600), "\"exp\":1e99"),
            ),
        ),
        ("nbf beyond all time", forged(&json!({"nbf": u64::MAX}))),
        ("iat as text", forged(&json!({"iat": "now"}))),
        ("no iat", forged(&json!({"iat": null}))),
        ("the id of a secret that is none", forged(&json!({"seenby_cred": URL_SAFE_NO_PAD.encode([1; 12])}))),
        ("no secret", forged(&json!({"seenby_cred": Value::Null}))),
        ("the secret of another application", forged(&json!({"seenby_cred": credential(POWERLESS)}))),
        (
            "a person who is not there",
            forged(
                &json!({"idtyp": "user", "scp": "Ip.Read.All", "oid": "99999999-0000-4000-8000-000000000009"}),
            ),
        ),
        ("a person without an id", forged(&json!({"idtyp": "user", "scp": "Ip.Read.All"}))),
        ("bytes after the claims", signed(&good_header().to_string(), &format!("{claims}{claims}"))),
        ("a byte order mark", signed(&good_header().to_string(), &format!("\u{feff}{claims}"))),
        ("a null byte after the claims", signed(&good_header().to_string(), &format!("{claims}\0"))),
        ("standard base64", good.replace('-', "+").replace('_', "/") + "+"),
        ("a claim twice", signed(&good_header().to_string(), &claims.replacen('{', "{\"exp\":1,", 1))),
        ("too long", forged(&json!({"pad": "x".repeat(16 * 1024)}))),
        (
            "deep claims",
            signed(
                &good_header().to_string(),
                &claims.replacen('{', &format!("{{\"deep\":{},", &deep[..6_000]), 1),
            ),
        ),
        ("a deep header", signed(&format!("{{\"alg\":{}}}", &deep[..6_000]), &claims)),
    ]
}

/// Believed, and not enough: what speaks for a person needs a person's rights, whatever its roles say.
fn without_right() -> Vec<(&'static str, String)> {
    let lee = LEE.to_string();
    vec![
        ("scp beside roles, without a role here", forged(&json!({"scp": "Ip.Read.All", "oid": lee}))),
        ("an empty scp beside roles", forged(&json!({"scp": "", "oid": lee}))),
        ("a list as scp beside roles", forged(&json!({"scp": ["Ip.Read.All"], "oid": lee}))),
        ("an object as scp beside roles", forged(&json!({"scp": {"Ip.Read.All": 1}, "oid": lee}))),
        ("the type of a user beside roles", forged(&json!({"idtyp": "user", "oid": lee}))),
        ("no type beside roles", forged(&json!({"idtyp": null, "oid": lee}))),
        ("another type beside roles", forged(&json!({"idtyp": "APP", "oid": lee}))),
        ("roles in the name of the book", forged(&json!({"azp": POWERLESS.to_string()}))),
        ("roles in other letters", forged(&json!({"roles": ["ip.read.all"]}))),
        ("roles with a space", forged(&json!({"roles": ["Ip.Read.All "]}))),
        ("roles with a null byte", forged(&json!({"roles": ["Ip.Read.All\0"]}))),
        (
            "a role of another name",
            forged(&json!({"roles": ["Ip.Read", "Ip.Read.All.All", "Alert.Read.All"]})),
        ),
        ("no roles", forged(&json!({"roles": []}))),
        (
            "groups of its own word",
            forged(&json!({"scp": "Ip.Read.All", "oid": lee, "groups": ["admins"], "wids": ["x"]})),
        ),
    ]
}

/// A good token, carried wrongly.
async fn carriers(app: &TestApp) -> Vec<Outcome> {
    let token = &app.token(READER).await;
    let (path, bearer) = (path(), format!("Bearer {token}"));
    let of_stranger = format!("Bearer {}", app.token(STRANGER).await);
    let mut outcomes = Vec::new();
    for (name, path, headers) in [
        ("none", path.clone(), vec![]),
        ("two headers", path.clone(), vec![bearer.clone(), bearer.clone()]),
        ("two headers, the first empty", path.clone(), vec![String::new(), bearer.clone()]),
        ("two headers, the last empty", path.clone(), vec![bearer.clone(), String::new()]),
        ("two headers of two organisations", path.clone(), vec![bearer.clone(), of_stranger.clone()]),
        ("Basic before Bearer", path.clone(), vec!["Basic eDp5".to_owned(), bearer.clone()]),
        ("Basic", path.clone(), vec![format!("Basic {token}")]),
        ("DPoP", path.clone(), vec![format!("DPoP {token}")]),
        ("no scheme", path.clone(), vec![token.clone()]),
        ("no space", path.clone(), vec![format!("Bearer{token}")]),
        ("a tab", path.clone(), vec![format!("Bearer\t{token}")]),
        ("two tokens with a comma", path.clone(), vec![format!("{bearer}, {bearer}")]),
        ("a comma and nothing", path.clone(), vec![format!("{bearer},")]),
        ("nothing and a comma", path.clone(), vec![format!(", {bearer}")]),
        ("two schemes", path.clone(), vec![format!("Bearer {bearer}")]),
        ("a parameter", path.clone(), vec![format!("Bearer token=\"{token}\"")]),
        ("in quotes", path.clone(), vec![format!("Bearer \"{token}\"")]),
        ("in the query", format!("{path}?access_token={token}"), vec![]),
        ("in the query too", format!("{path}?access_token={token}"), vec![bearer.clone()]),
        ("in the query, disguised", format!("{path}?x=1&ACCESS%5Ftoken={token}"), vec![]),
        (
            "in the query under another name",
            format!("{path}?token={token}&authorization=Bearer+{token}"),
            vec![],
        ),
        ("in the path", format!("/api/ips/{token}/stats"), vec![]),
        ("only the scheme", path.clone(), vec!["Bearer".to_owned()]),
        ("the scheme and spaces", path.clone(), vec!["Bearer   ".to_owned()]),
        ("not ASCII", path.clone(), vec!["Bearer \u{e9}\u{e9}".to_owned()]),
        ("a space of another kind", path.clone(), vec![format!("Bearer\u{a0}{token}")]),
    ] {
        let mut request = get(&path);
        for header in headers {
            request =
                request.header("authorization", HeaderValue::from_bytes(header.as_bytes()).expect("a value"));
        }
        outcomes.push(Outcome::new("carrier", name, 401, app.send(empty(request)).await).having_sent(token));
    }
    for (name, header) in [
        ("Proxy-Authorization", "proxy-authorization"),
        ("X-Authorization", "x-authorization"),
        ("X-Forwarded-Authorization", "x-forwarded-authorization"),
        ("X-Forwarded-User", "x-forwarded-user"),
        ("X-Ms-Client-Principal", "x-ms-client-principal"),
        ("Cookie", "cookie"),
        ("X-Original-Authorization", "x-original-authorization"),
    ] {
        let reply = app.send(empty(get(&path).header(header, &bearer))).await;
        outcomes.push(Outcome::new("carrier", name, 401, reply).having_sent(token));
    }
    let form = Request::get(&path).header("host", HOST);
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let form = form.body(Body::from(format!("access_token={token}"))).expect("a request");
    outcomes.push(Outcome::new("carrier", "in the body", 401, app.send(form).await).having_sent(token));
    outcomes
}
