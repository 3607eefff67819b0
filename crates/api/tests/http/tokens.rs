//! Who is let in and who is not: good tokens, the book's word at every request, and the order of refusals (`attacks` has the bad ones).

use std::collections::BTreeSet;

use crate::common::{
    ACME, LEE, NOW, OTHER, POWERLESS, READER, RESOURCE, SEEN, STRANGER, TestApp, changed, forged,
    good_claims, good_header, signed,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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
        sign_in: SignIn { delegated, ..SignIn::default() }.into(),
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
        // Also one that was set at the same second, and whatever the clock says.
        (password(NOW - 1_000), 401),
        (password(NOW + 1), 401),
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
