//! Who is let in and who is not: the attack corpus, the book's word at every request, and the order of refusals.

mod common;

use std::collections::BTreeSet;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{
    ACME, LEE, NOW, OTHER, POWERLESS, READER, RESOURCE, SEEN, STRANGER, TestApp, changed, forged, get,
    good_claims, good_header, pkcs8, signed, signing_key, unsigned,
};
use jsonwebtoken::{Algorithm, EncodingKey};
use seenby_api::{new_secret, new_signing_key};
use serde_json::{Value, json};
use sighting::{
    Change, Issuer, Member, MemberId, MemberKind, PasswordHash, Permission, Role, RoleId, RolePermission,
    Second, Secret, SignIn, Uuid,
};

fn path() -> String {
    format!("/api/ips/{SEEN}/stats")
}

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

#[tokio::test]
async fn a_good_token_is_believed() {
    let app = TestApp::new().await;
    for token in [
        forged(&json!({})),
        forged(&json!({"aud": format!("{RESOURCE}/")})),
        forged(&json!({"aud": "http://localhost"})),
        forged(
            &json!({"ver": "1.0", "azp": null, "appid": READER.to_string(), "iss": format!("http://localhost/{ACME}/")}),
        ),
        // Five minutes of leeway at both ends.
        forged(&json!({"exp": NOW - 300})),
        forged(&json!({"nbf": NOW + 300})),
        with_header(&json!({"typ": "at+jwt"})),
        with_header(&json!({"typ": "jwt", "x5t": "abc="})),
    ] {
        let reply = app.with_token(&token, &path()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn no_hostile_token_is_believed() {
    let app = TestApp::new().await;
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
    let tokens = [
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
        ("None", format!("{}.", none("None"))),
        ("NONE with our signature", format!("{}.{}", none("NONE"), parts[2])),
        ("empty algorithm", format!("{}.{}", none(""), parts[2])),
        ("HS256 with the modulus", confused(modulus.as_bytes())),
        ("HS256 with the raw modulus", confused(&URL_SAFE_NO_PAD.decode(&modulus).expect("base64"))),
        ("HS256 with the key set", confused(&jwks.body)),
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
        ("kid as SQL", with_header(&json!({"kid": "' OR 1=1 --"}))),
        ("kid as a list", with_header(&json!({"kid": [signing_key().kid]}))),
        ("jku", with_header(&json!({"jku": "https://evil.example/keys"}))),
        ("x5u", with_header(&json!({"x5u": "https://evil.example/cert"}))),
        ("jwk", with_header(&json!({"jwk": {"kty": "RSA", "n": modulus, "e": "AQAB"}}))),
        ("x5c", with_header(&json!({"x5c": ["MII"]}))),
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
        ("another audience", forged(&json!({"aud": "https://graph.microsoft.com"}))),
        ("audience with two slashes", forged(&json!({"aud": format!("{RESOURCE}//")}))),
        ("audience as a prefix", forged(&json!({"aud": format!("{RESOURCE}.evil.example")}))),
        ("a list of audiences", forged(&json!({"aud": [RESOURCE, "https://graph.microsoft.com"]}))),
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
    ];
    assert!(tokens.len() >= 40);
    for (name, token) in tokens {
        let request = get(&path()).header("authorization", format!("Bearer {token}"));
        let reply = app.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(reply.status, 401, "{name}: {}", reply.text());
        assert_eq!(reply.code(), "Unauthorized", "{name}");
        assert_eq!(reply.header("www-authenticate"), "Bearer", "{name}");
        let expired = reply.message().starts_with("The access token has expired.");
        let same = reply.message().starts_with("The access token is not valid here.");
        assert!(same || (expired && name.starts_with("expired")), "{name}: {}", reply.message());
    }
}

#[tokio::test]
async fn requests_that_carry_their_token_wrongly() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let path = path();
    for (name, path, headers) in [
        ("none", path.clone(), vec![]),
        ("two headers", path.clone(), vec![format!("Bearer {token}"), format!("Bearer {token}")]),
        ("Basic", path.clone(), vec![format!("Basic {token}")]),
        ("no scheme", path.clone(), vec![token.clone()]),
        ("no space", path.clone(), vec![format!("Bearer{token}")]),
        ("a tab", path.clone(), vec![format!("Bearer\t{token}")]),
        ("two tokens", path.clone(), vec![format!("Bearer {token}, Bearer {token}")]),
        ("in the query", format!("{path}?access_token={token}"), vec![]),
        ("in the query too", format!("{path}?access_token={token}"), vec![format!("Bearer {token}")]),
        ("in the query, disguised", format!("{path}?x=1&ACCESS%5Ftoken={token}"), vec![]),
        ("only the scheme", path.clone(), vec!["Bearer".to_owned()]),
        ("not ASCII", path.clone(), vec!["Bearer \u{e9}\u{e9}".to_owned()]),
    ] {
        let mut request = get(&path);
        for header in headers {
            request = request.header("authorization", header);
        }
        let reply = app.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!((reply.status.as_u16(), reply.header("www-authenticate")), (401, "Bearer"), "{name}");
        assert!(!reply.text().contains(&token), "{name}");
    }
    let two_hosts =
        get(&path).header("host", "evil.example").header("authorization", format!("Bearer {token}"));
    let reply = app.send(two_hosts.body(Body::empty()).expect("a request")).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "BadRequest"));
}

#[tokio::test]
async fn permissions_are_those_of_the_token_and_of_the_book() {
    let app = TestApp::new().await;
    for (token, said) in [
        (app.token(POWERLESS).await, "application roles: none. Give the application the permission"),
        // Roles that the book does not know of.
        (
            forged(&json!({"azp": POWERLESS.to_string()})),
            "application roles: Ip.Read.All. The permission was taken",
        ),
        (forged(&json!({"roles": []})), "application roles: none. Get a new token"),
        (forged(&json!({"roles": ["ip.read.all"]})), "application roles: ip.read.all. Get a new token"),
        (forged(&json!({"roles": ["a\u{1b}", "b"]})), r"application roles: a\u{1b},b. Get a new token"),
        // A token that speaks for a user, whatever its roles say.
        (
            forged(&json!({"scp": "Ip.Read.All", "oid": LEE.to_string()})),
            "a role with View Data, token scopes: Ip.Read.All. No such role names the user",
        ),
        (
            forged(&json!({"scp": ["x"], "oid": LEE.to_string()})),
            "API required scopes: Ip.Read.All, token scopes: none. Let the",
        ),
        (
            forged(&json!({"scp": "x y", "oid": LEE.to_string()})),
            "API required scopes: Ip.Read.All, token scopes: x,y. Let the",
        ),
        (
            forged(&json!({"idtyp": "user", "oid": LEE.to_string()})),
            "API required scopes: Ip.Read.All, token scopes: none. Let the",
        ),
        (
            forged(&json!({"idtyp": null, "oid": LEE.to_string()})),
            "API required scopes: Ip.Read.All, token scopes: none. Let the",
        ),
    ] {
        let reply = app.with_token(&token, &path()).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (403, "Forbidden"));
        let message = reply.message();
        assert!(message.contains("Ip.Read.All") && message.contains(said), "{message}");
        assert!(
            message.ends_with(&format!(" The token is for {RESOURCE}, organization {ACME}.")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_user_of_the_built_in_issuer_needs_the_scope_and_a_role() {
    let app = TestApp::new().await;
    let token = forged(
        &json!({"idtyp": "user", "oid": LEE.to_string(), "sub": "other", "scp": "x Ip.Read.All", "roles": null}),
    );
    assert_eq!(app.with_token(&token, &path()).await.status, 403);
    let (role, viewer) = (RoleId(Uuid::from_u128(7)), |right| BTreeSet::from([right]));
    let added = Role {
        id: role,
        organisation: ACME,
        name: "Analysts".into(),
        permissions: viewer(RolePermission::ManageRoles),
        members: BTreeSet::new(),
        created_at: Second::new(NOW),
    };
    app.commit(Change::AddRole(added)).await;
    let lee = |issuer| Member {
        issuer,
        kind: MemberKind::User,
        id: MemberId::new(&LEE.to_string()).expect("an id"),
    };
    // The same id of somebody else is nobody here, and so is a role without the right.
    app.commit(Change::GrantRole(role, lee(Issuer::Outside(format!("http://localhost/{ACME}/v2.0"))))).await;
    app.commit(Change::GrantRole(role, lee(Issuer::BuiltIn))).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 403);
    let rights = |right| Change::ChangeRole { role, name: None, permissions: Some(viewer(right)) };
    app.commit(rights(RolePermission::ViewData)).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 200);
    app.commit(Change::RevokeRole(role, lee(Issuer::BuiltIn))).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 403);
    app.commit(Change::GrantRole(role, lee(Issuer::BuiltIn))).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 200);
    // What the application may do for people, the password, the user: a change of any counts at once.
    let delegated = |delegated: BTreeSet<Permission>| Change::ChangeApplication {
        application: READER,
        permissions: None,
        sign_in: Some(SignIn { delegated, ..SignIn::default() }),
    };
    app.commit(delegated(BTreeSet::new())).await;
    let reply = app.with_token(&token, &path()).await;
    assert_eq!(reply.status, 403);
    assert!(reply.message().contains("Let the application have it for people"), "{}", reply.message());
    app.commit(delegated([Permission::IpReadAll].into())).await;
    let password = |at| Change::SetPassword {
        user: LEE,
        password: PasswordHash("another".to_owned()),
        at: Second::new(at),
    };
    for (change, status) in [
        (password(NOW), 200),
        (password(NOW + 1), 401),
        (password(NOW - 1), 200),
        (Change::RemoveUser(LEE), 401),
    ] {
        app.commit(change.clone()).await;
        assert_eq!(app.with_token(&token, &path()).await.status, status, "{change}");
    }
    // Calls are those of the application, which must be there.
    app.commit(Change::RemoveApplication(READER)).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 401);
}

/// A token lives no longer than the secret or the certificate that it was got by.
#[tokio::test]
async fn a_token_ends_with_what_it_was_got_by() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    let (_, sha256) = new_secret(|bytes| bytes.fill(99));
    let secret = Secret { sha256, created_at: Second::new(NOW), expires_at: None };
    let others_until = Second::new(NOW + 60);
    app.commit(Change::RotateSecret { application: READER, secret: secret.clone(), others_until }).await;
    for (pass_s, status) in [(0, 200), (60, 200), (1, 401)] {
        app.pass_ms(pass_s * 1_000);
        assert_eq!(app.with_token(&token, &path()).await.status, status, "{pass_s}");
    }
    let made_up = URL_SAFE_NO_PAD.encode([1; 12]);
    for (credential, status) in [
        (URL_SAFE_NO_PAD.encode(&sha256[..12]).into(), 200),
        (URL_SAFE_NO_PAD.encode(&sha256[..11]).into(), 401),
        (URL_SAFE_NO_PAD.encode(sha256).into(), 401),
        (made_up.into(), 401),
        ("".into(), 401),
        (Value::Null, 401),
    ] {
        let reply = app.with_token(&forged(&json!({"seenby_cred": credential})), &path()).await;
        assert_eq!(reply.status, status, "{credential}");
    }
}

#[tokio::test]
async fn a_change_takes_effect_on_the_next_request() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 200);
    app.commit(Change::RemoveApplication(READER)).await;
    assert_eq!(app.with_token(&token, &path()).await.status, 401);
    let stranger = app.token(STRANGER).await;
    assert_eq!(app.with_token(&stranger, &path()).await.status, 404);
    app.commit(Change::RemoveOrganisation(OTHER)).await;
    assert_eq!(app.with_token(&stranger, &path()).await.status, 401);
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let app = TestApp::new().await;
    let token = app.token(READER).await;
    for (pass_s, status) in [(0, 200), (3_600, 200), (300, 200), (1, 401)] {
        app.pass_ms(pass_s * 1_000);
        assert_eq!(app.with_token(&token, &path()).await.status, status, "{pass_s}");
    }
}

#[tokio::test]
async fn a_new_key_signs_and_the_old_one_still_counts() {
    let app = TestApp::new().await;
    let old = app.token(READER).await;
    let key = new_signing_key(Second::new(NOW)).expect("a key");
    app.commit(Change::AddSigningKey(key.clone())).await;
    let new = app.token(READER).await;
    for token in [old, new.clone()] {
        assert_eq!(app.with_token(&token, &path()).await.status, 200);
    }
    let header = URL_SAFE_NO_PAD.decode(new.split('.').next().expect("a header")).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!(header, json!({"typ": "JWT", "alg": "RS256", "kid": key.kid}));
    let keys = app.anonymous("/common/discovery/v2.0/keys").await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2));
}
