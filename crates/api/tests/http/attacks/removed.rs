//! What was good a moment ago: remembered tokens, secrets, roles and keys that are taken away count no more at the next
//! request. Each has a server of its own.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use sighting::{
    Change, Issuer, Member, MemberId, MemberKind, PasswordHash, Role, RoleId, RolePermission, Second, Secret,
    SignIn, Uuid,
};

use super::{Outcome, app, path};
use crate::common::issuers::{Net, Signer};
use crate::common::outside::{AUTHORITY, TENANT, USER, entra_key, of_user, v2};
use crate::common::{ACME, HOST, LEE, NOW, READER, Reply, STRANGER, TestApp, forged, form};

pub(crate) async fn outcomes() -> Vec<Outcome> {
    let mut outcomes = tokens_of_applications().await;
    outcomes.extend(tokens_of_people().await);
    outcomes.extend(secrets().await);
    outcomes.extend(keys_of_issuers().await);
    outcomes.extend(in_time().await);
    outcomes
}

async fn ask(app: &TestApp, token: &str) -> Reply {
    app.with_token(token, &path()).await
}

fn outcome(name: &str, expected: u16, reply: Reply) -> Outcome {
    Outcome::new("removed", name, expected, reply)
}

async fn tokens_of_applications() -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let off = SignIn::default();
    for (name, change, status) in [
        ("the application", Change::RemoveApplication(READER), 401),
        ("the organisation", Change::RemoveOrganisation(ACME), 401),
        (
            "the permission",
            Change::ChangeApplication {
                application: READER,
                permissions: Some(BTreeSet::new()),
                sign_in: off.into(),
            },
            403,
        ),
    ] {
        let (app, _) = app().await;
        let token = app.token(READER).await;
        assert_eq!(ask(&app, &token).await.status, 200, "{name}");
        app.commit(change).await;
        outcomes.push(outcome(name, status, ask(&app, &token).await).having_sent(&token));
    }
    // Another organisation's comes and goes, and nobody else is met.
    let (app, _) = app().await;
    let (ours, theirs) = (app.token(READER).await, app.token(STRANGER).await);
    app.commit(Change::RemoveApplication(STRANGER)).await;
    outcomes.push(outcome("another's application", 401, ask(&app, &theirs).await));
    assert_eq!(ask(&app, &ours).await.status, 200);
    outcomes
}

async fn tokens_of_people() -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let token =
        forged(&json!({"idtyp": "user", "oid": LEE.to_string(), "scp": "Ip.Read.All", "roles": null}));
    let role = RoleId(Uuid::from_u128(7));
    let member =
        |issuer, id: &str| Member { issuer, kind: MemberKind::User, id: MemberId::new(id).expect("an id") };
    let lee = || member(Issuer::BuiltIn, &LEE.to_string());
    let outside = || member(Issuer::new(&format!("{AUTHORITY}/{TENANT}/v2.0")).expect("an issuer"), USER);
    let password = PasswordHash("another".to_owned());
    let less = BTreeSet::from([RolePermission::ManageRoles]);
    for (name, change, status) in [
        ("the user", Change::RemoveUser(LEE), 401),
        ("the password", Change::SetPassword { user: LEE, password, at: Second::new(NOW + 1) }, 401),
        ("the membership", Change::RevokeRole(role, lee()), 403),
        ("the role", Change::RemoveRole(role), 403),
        ("the role's right", Change::ChangeRole { role, name: None, permissions: Some(less) }, 403),
        ("the membership of an outside user", Change::RevokeRole(role, outside()), 403),
        ("the user's application", Change::RemoveApplication(READER), 401),
    ] {
        let (app, _) = app().await;
        app.commit(Change::AddRole(Role {
            id: role,
            organisation: ACME,
            name: "Analysts".into(),
            permissions: BTreeSet::from([RolePermission::ViewData]),
            members: BTreeSet::from([lee(), outside()]),
            created_at: Second::new(NOW),
        }))
        .await;
        let token = if name.contains("outside") { of_user(&json!({})) } else { token.clone() };
        assert_eq!(ask(&app, &token).await.status, 200, "{name}");
        app.commit(change).await;
        outcomes.push(outcome(name, status, ask(&app, &token).await).having_sent(&token));
    }
    outcomes
}

/// A secret that is replaced gets no token, and those that it got end with it.
async fn secrets() -> Vec<Outcome> {
    let (app, _) = app().await;
    let token = app.token(READER).await;
    let (_, sha256) = seenby_api::new_secret(|bytes| bytes.fill(99));
    let secret = Secret { sha256, created_at: Second::new(NOW), expires_at: None };
    let others_until = Second::new(NOW + 60);
    app.commit(Change::RotateSecret { application: READER, secret, others_until }).await;
    assert_eq!(ask(&app, &token).await.status, 200);
    app.pass_ms(61_000);
    let request = Request::post(format!("/{ACME}/oauth2/v2.0/token")).header("host", HOST);
    let reply = app.send(request.body(Body::from(form(READER))).expect("a request")).await;
    vec![
        outcome("a secret", 401, reply),
        outcome("the secret of a token", 401, ask(&app, &token).await).having_sent(&token),
    ]
}

/// A key that its issuer publishes no more takes the tokens along that were checked with it.
async fn keys_of_issuers() -> Vec<Outcome> {
    let (app, net) = app().await;
    let token = v2(&json!({}));
    assert_eq!(ask(&app, &token).await.status, 200);
    let of_same_name = Signer::rsa(entra_key().kid());
    let publish = async |net: &Net, keys: &[&Signer]| {
        net.publish(&format!("{AUTHORITY}/{TENANT}/v2.0"), keys);
        app.pass_ms(31_000);
        app.state.refresh_issuer_keys().await;
        app.pass_ms(3_600_000);
        app.state.refresh_issuer_keys().await;
    };
    let late = v2(&json!({"exp": NOW + 90_000}));
    assert_eq!(ask(&app, &late).await.status, 200);
    publish(&net, &[&of_same_name]).await;
    let mut outcomes =
        vec![outcome("an issuer's key, for one of the same name", 401, ask(&app, &late).await)];
    publish(&net, &[&Signer::rsa("entra-2")]).await;
    outcomes.push(outcome("an issuer's key", 401, ask(&app, &late).await).having_sent(&late));
    net.down();
    app.pass_ms(7 * 24 * 3_600_000 + 1);
    app.set_wall_s(NOW);
    outcomes.push(outcome("an issuer for more than a week", 503, ask(&app, &late).await).having_sent(&late));
    outcomes
}

async fn in_time() -> Vec<Outcome> {
    let (app, _) = app().await;
    let token = app.token(READER).await;
    assert_eq!(ask(&app, &token).await.status, 200);
    app.pass_ms(3_901_000);
    let late = ask(&app, &token).await;
    app.set_wall_s(NOW - 301);
    let early = ask(&app, &token).await;
    vec![
        outcome("a remembered token's time", 401, late).having_sent(&token),
        outcome("a remembered token's beginning", 401, early).having_sent(&token),
    ]
}
