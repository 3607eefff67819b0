//! Tokens of outside issuers: who is let in, with which keys, for which organisation; and how keys are fetched, kept and
//! dropped. The network is a map of documents, and counts. Nothing here is a real issuer's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::issuers::{Net, Signer, discovery_of};
use crate::common::outside::{
    AUTHORITY, CLIENT, GROUP, KEYCLOAK, OIDC, OWN, TENANT, TENANT_OF_OTHER, USER, app, app_of, asked, entra,
    entra_key, keycloak, keycloak_key, network, of_keycloak, of_oidc, of_user, oidc, oidc_of, v1, v1_claims,
    v2, v2_claims,
};
use crate::common::{ACME, ELSEWHERE, NOW, RESOURCE, SEEN, TestApp, changed, machine};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seenby_api::{
    ApplicationIf, ClaimPath, ClaimPaths, IssuerKind, Limits, Machine, OutsideIssuer, Settings, State, router,
};
use serde_json::{Value, json};
use sighting::model::{ModelDirectory, ModelStore};
use sighting::{
    CallLimit, CallLimits, Change, Issuer, Member, MemberId, MemberKind, OrganisationId, Role, RoleId,
    RolePermission, Second, Uuid,
};
use tokio::sync::Semaphore;

/// Whether somebody has a right of an organisation through one role.
async fn add_role(
    app: &TestApp,
    organisation: OrganisationId,
    members: &[(&str, MemberKind, &str)],
) -> RoleId {
    let member = |(issuer, kind, id): &(&str, MemberKind, &str)| Member {
        issuer: Issuer::new(issuer).expect("an issuer"),
        kind: *kind,
        id: MemberId::new(id).expect("an id"),
    };
    let id = RoleId(Uuid::from_u128(u128::from(organisation.0.as_bytes()[0]) + 1));
    let role = Role {
        id,
        organisation,
        name: "Analysts".into(),
        permissions: BTreeSet::from([RolePermission::ViewData]),
        members: members.iter().map(member).collect(),
        created_at: Second::new(NOW),
    };
    app.commit(Change::AddRole(role)).await;
    id
}

#[tokio::test]
async fn good_tokens_are_believed_at_once_and_their_keys_fetched_once() {
    let net = network();
    let app = app(&net).await;
    let header = |changes: &Value| {
        entra_key().sign(&changed(entra_key().header(), changes).to_string(), &v2_claims().to_string())
    };
    for token in [
        v2(&json!({})),
        v1(&json!({})),
        v2(&json!({"idtyp": "app", "oid": "a", "sub": "b"})),
        v2(&json!({"aud": format!("{OWN}/")})),
        v2(&json!({"aud": ["https://graph.microsoft.com", OWN]})),
        v2(&json!({"nbf": null, "iat": null, "ver": null})),
        v2(&json!({"exp": f64::from(NOW) + 9.5, "nbf": f64::from(NOW) - 0.5})),
        v2(&json!({"exp": NOW - 300})),
        v2(&json!({"nbf": NOW + 300})),
        v2(&json!({"azp": CLIENT.to_uppercase()})),
        header(&json!({"typ": "at+jwt"})),
        of_keycloak(&json!({})),
        of_keycloak(&json!({"aud": OWN, "client_id": null, "clientId": "soc.app"})),
        of_keycloak(&json!({"preferred_username": null})),
    ] {
        let reply = asked(&app, &token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    // The other organisation never saw this address, and saw another one.
    assert_eq!(asked(&app, &of_oidc(&json!({}))).await.status, 404);
    let of_other =
        json!({"tid": TENANT_OF_OTHER.to_string(), "iss": format!("{AUTHORITY}/{TENANT_OF_OTHER}/v2.0")});
    for token in [of_oidc(&json!({})), of_oidc(&json!({"scope": "a b"})), v2(&of_other)] {
        let reply = app.with_token(&token, &format!("/api/ips/{ELSEWHERE}/stats")).await;
        assert_eq!(reply.json()["organizationPrevalence"], 1, "{}", reply.text());
        assert_eq!(asked(&app, &token).await.status, 404);
    }
    assert_eq!(net.fetches(), 8, "a discovery document and a set for each of four issuers");
    // The built-in issuer is there as before, and a test of the connection needs no permission.
    assert_eq!(app.stats(SEEN).await.status, 200);
    assert_eq!(app.with_token(&v2(&json!({"roles": null})), "/api/machines?$top=1").await.status, 200);
}

#[tokio::test]
async fn defenders_audiences_are_a_choice() {
    let net = network();
    let mut accepting = entra();
    let IssuerKind::Entra(kind) = &mut accepting.kind else { panic!("an Entra issuer") };
    kind.accept_defender_tokens = true;
    let with_own = OutsideIssuer { audiences: vec!["api://seenby/".into()], ..entra() };
    let guid = "fc780465-2017-40d4-a0c5-307022471b92";
    for (issuer, audience, status) in [
        (&accepting, RESOURCE, 200),
        (&accepting, "https://api-eu.securitycenter.microsoft.com/", 200),
        // A good one, of another cloud than the host that is called.
        (&accepting, "https://api-gcc.securitycenter.microsoft.us/", 401),
        (&accepting, guid, 200),
        (&accepting, OWN, 200),
        (&accepting, "https://graph.microsoft.com", 401),
        (&with_own, "api://seenby", 200),
        (&with_own, "api://seenby/", 200),
        (&with_own, OWN, 401),
        (&with_own, guid, 401),
        (&with_own, RESOURCE, 401),
    ] {
        let app = app_of(vec![issuer.clone()], &net).await;
        let reply = asked(&app, &v1(&json!({"aud": audience}))).await;
        assert_eq!(reply.status, status, "{audience}");
        if status == 401 {
            let required = issuer.audiences.first().map_or(OWN, String::as_str);
            assert_eq!(reply.message(), for_another(required, audience), "{audience}");
        }
    }
    // Of several all are told; and a caller with another fault hears of none.
    let app = app_of(vec![entra()], &net).await;
    let reply = asked(&app, &v1(&json!({"aud": ["https://graph.microsoft.com", "x\u{7}"]}))).await;
    assert_eq!(reply.message(), for_another(OWN, "https://graph.microsoft.com, x\\u{7}"));
    let reply = asked(&app, &v1(&json!({"aud": "x", "exp": 1}))).await;
    assert!(reply.message().starts_with("The access token has expired."), "{}", reply.text());
}

/// What is told to whoever has a good token for another resource.
fn for_another(required: &str, audience: &str) -> String {
    format!(
        "The access token is for another resource. API required audience: {required}, token audience: {audience}. Get a new token for {required}. The token is for organization {ACME}."
    )
}

#[tokio::test]
async fn applications_and_people_are_told_apart() {
    let net = network();
    let auth0 = ApplicationIf::Claim(ClaimPath::dotted("gty"), Some("client-credentials".into()));
    let marked = ApplicationIf::Claim(ClaimPath(vec!["ext".into(), "a.b".into()]), None);
    let oidc_if = |rule| oidc_of(OIDC, "Acme", ClaimPaths::oidc(), rule);
    let standard = || oidc_if(ApplicationIf::Standard);
    for (issuer, token, is_application) in [
        (entra(), v2(&json!({})), true),
        (entra(), v2(&json!({"scp": "Ip.Read.All"})), false),
        (entra(), v2(&json!({"scp": ""})), false),
        (entra(), v2(&json!({"scp": ["x"]})), false),
        (entra(), v2(&json!({"idtyp": "user"})), false),
        (entra(), v2(&json!({"idtyp": "app", "scp": "x"})), false),
        (entra(), v1(&json!({"idtyp": "device"})), false),
        (entra(), v1(&json!({"sub": "somebody"})), false),
        (keycloak(), of_keycloak(&json!({})), true),
        (keycloak(), of_keycloak(&json!({"client_id": null})), false),
        (keycloak(), of_keycloak(&json!({"client_id": "another"})), false),
        (keycloak(), of_keycloak(&json!({"preferred_username": "kim"})), false),
        (keycloak(), of_keycloak(&json!({"preferred_username": "service-account-another"})), false),
        (standard(), of_oidc(&json!({})), true),
        (standard(), of_oidc(&json!({"sub": "kim"})), false),
        (standard(), of_oidc(&json!({"sub": null})), false),
        (standard(), of_oidc(&json!({"scope": "openid"})), false),
        (standard(), of_oidc(&json!({"idtyp": "user"})), false),
        (standard(), of_oidc(&json!({"idtyp": "app", "sub": "x"})), true),
        (standard(), of_oidc(&json!({"sub": "x", "gty": "client-credentials"})), false),
        (oidc_if(auth0.clone()), of_oidc(&json!({"sub": "x", "gty": "client-credentials"})), true),
        (oidc_if(auth0.clone()), of_oidc(&json!({"sub": "x", "gty": "password"})), false),
        (oidc_if(auth0.clone()), of_oidc(&json!({"sub": "x", "gty": ["client-credentials"]})), false),
        (oidc_if(auth0), of_oidc(&json!({"sub": "x", "gty": "client-credentials", "idtyp": "user"})), false),
        (oidc_if(marked.clone()), of_oidc(&json!({"sub": "x", "ext": {"a.b": true}})), true),
        (oidc_if(marked.clone()), of_oidc(&json!({"sub": "x", "ext": {"a": {"b": true}}})), false),
        (oidc_if(marked), of_oidc(&json!({"sub": "x", "ext": {"a.b": null}})), false),
    ] {
        let shown = token.split('.').nth(1).map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64"));
        let shown = String::from_utf8(shown.expect("claims")).expect("text");
        let reply = asked(&app_of(vec![issuer], &net).await, &token).await;
        // A person without a role of this server gets nowhere, whatever the roles of the token say.
        assert_eq!(reply.status, if is_application { 200 } else { 403 }, "{shown}: {}", reply.text());
    }
}

#[tokio::test]
async fn words_are_found_where_the_settings_say() {
    let net = network();
    let path = |names: &[&str]| vec![ClaimPath(names.iter().map(|&name| name.to_owned()).collect())];
    let claims = ClaimPaths {
        roles: path(&["resource_access", "soc.api", "roles"]),
        application: path(&["cid"]),
        ..ClaimPaths::oidc()
    };
    let app = app_of(vec![oidc_of(OIDC, "Acme", claims, ApplicationIf::Standard)], &net).await;
    let with = |changes: &Value| of_oidc(&changed(json!({"cid": "reader", "client_id": null}), changes));
    let roles =
        |roles: &Value| with(&json!({"roles": null, "resource_access": {"soc.api": {"roles": roles}}}));
    for (token, status) in [
        (roles(&json!(["Ip.Read.All"])), 200),
        (roles(&json!("Other Ip.Read.All")), 200),
        (roles(&json!(["ip.read.all"])), 403),
        (roles(&json!(["Other Ip.Read.All"])), 403),
        (roles(&json!(null)), 403),
        (with(&json!({})), 403),
        (with(&json!({"resource_access": "x"})), 403),
        (roles(&json!([1])), 401),
        (with(&json!({"cid": null, "azp": "reader"})), 401),
    ] {
        let reply = asked(&app, &token).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let message = asked(&app, &roles(&json!(["Other", "b\u{1b}"]))).await.message();
    assert!(
        message.starts_with("Missing application roles. API required roles: Ip.Read.All, application roles: Other,b\\u{1b}. Give"),
        "{message}"
    );
    assert!(
        message
            .ends_with(&format!("issuer and get a new token. The token is for {OWN}, organization {ACME}.")),
        "{message}"
    );
}

#[tokio::test]
async fn a_user_needs_the_scope_and_a_role_with_view_data() {
    let net = network();
    let app = app(&net).await;
    let (v2_iss, v1_iss) =
        (format!("{AUTHORITY}/{TENANT}/v2.0"), format!("https://sts.windows.net/{TENANT}/"));
    let user = (v1_iss.as_str(), MemberKind::User, USER);
    assert_eq!(asked(&app, &of_user(&json!({}))).await.status, 403);
    // Members are found under either name of the tenant, whichever token comes.
    let of_v1 = |changes: &Value| {
        let claims = changed(v1_claims(), &json!({"oid": USER, "sub": "x", "scp": "Ip.Read.All"}));
        entra_key().token(&changed(claims, changes))
    };
    let role = add_role(&app, ACME, &[user]).await;
    for token in [of_user(&json!({})), of_v1(&json!({}))] {
        assert_eq!(asked(&app, &token).await.status, 200);
    }
    let member = |iss: &str, kind, id: &str| Member {
        issuer: Issuer::new(iss).expect("an issuer"),
        kind,
        id: MemberId::new(id).expect("an id"),
    };
    app.commit(Change::RevokeRole(role, member(&v1_iss, MemberKind::User, USER))).await;
    let refused = asked(&app, &of_user(&json!({}))).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "Forbidden"));
    assert_eq!(
        refused.message(),
        format!(
            "Missing user role. API required: a role with View Data, token scopes: Ip.Read.All. No such role names the user or a group that the token names; an administrator gives one, and the next call has it. The token is for {OWN}, organization {ACME}."
        )
    );
    app.commit(Change::GrantRole(role, member(&v2_iss, MemberKind::User, USER))).await;
    app.commit(Change::GrantRole(role, member(&v2_iss, MemberKind::Group, GROUP))).await;
    let other =
        json!({"tid": TENANT_OF_OTHER.to_string(), "iss": format!("{AUTHORITY}/{TENANT_OF_OTHER}/v2.0")});
    for (token, status) in [
        (of_user(&json!({})), 200),
        (of_v1(&json!({})), 200),
        (of_user(&json!({"scp": format!("openid {OWN}/Ip.Read.All")})), 200),
        (of_user(&json!({"aud": format!("{OWN}/"), "scp": format!("{OWN}/Ip.Read.All")})), 200),
        (of_user(&json!({"scp": "https://evil.example/Ip.Read.All"})), 403),
        (of_user(&json!({"scp": "ip.read.all"})), 403),
        (of_user(&json!({"scp": "", "roles": ["Ip.Read.All"]})), 403),
        // By `sub` where there is no `oid`, never by a name.
        (of_user(&json!({"oid": null, "sub": USER})), 200),
        (of_user(&json!({"oid": "somebody", "sub": USER})), 403),
        (of_user(&json!({"oid": null, "sub": null, "upn": USER, "email": USER})), 403),
        (of_user(&json!({"oid": "somebody", "groups": ["x", GROUP]})), 200),
        (of_user(&json!({"oid": GROUP})), 403),
        (of_user(&json!({"oid": "somebody", "groups": [USER]})), 403),
        (of_user(&json!({"oid": "somebody", "groups": GROUP})), 403),
        // The same id in another tenant is somebody else.
        (of_user(&other), 403),
    ] {
        let reply = asked(&app, &token).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    // Nor is it the same at another issuer.
    let same = of_keycloak(&json!({"client_id": null, "scope": "Ip.Read.All", "groups": [GROUP]}));
    assert_eq!(asked(&app, &same).await.status, 403);
    app.commit(Change::GrantRole(role, member(KEYCLOAK, MemberKind::User, USER))).await;
    assert_eq!(asked(&app, &same).await.status, 200);
    app.commit(Change::RemoveRole(role)).await;
    assert_eq!(asked(&app, &same).await.status, 403);
    let scopes = asked(&app, &of_user(&json!({"scp": "User.Read Mail.Read"}))).await.message();
    assert!(scopes.starts_with(
        "Missing user scopes. API required scopes: Ip.Read.All, token scopes: User.Read,Mail.Read."
    ));
}

#[tokio::test]
async fn groups_that_did_not_fit_are_told() {
    let net = network();
    let app = app(&net).await;
    let iss = format!("{AUTHORITY}/{TENANT}/v2.0");
    add_role(&app, ACME, &[(&iss, MemberKind::Group, GROUP), (&iss, MemberKind::User, "known")]).await;
    for overflow in [
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example"}}}),
        json!({"hasgroups": true}),
        json!({"hasgroups": "true"}),
    ] {
        let reply = asked(&app, &of_user(&overflow)).await;
        assert_eq!(reply.status, 403);
        assert!(reply.message().contains("groups did not fit into the token"), "{}", reply.message());
        assert!(reply.message().contains("give a role to the user by id"), "{}", reply.message());
        let known = of_user(&changed(overflow, &json!({"oid": "known"})));
        assert_eq!(asked(&app, &known).await.status, 200);
    }
    let without = asked(&app, &of_user(&json!({"hasgroups": false, "_claim_names": {}}))).await;
    assert!(!without.message().contains("did not fit"), "{}", without.message());
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it_and_a_removed_one_counts_no_more() {
    let net = network();
    let app = app_of(vec![keycloak()], &net).await;
    let old = of_keycloak(&json!({}));
    assert_eq!(asked(&app, &old).await.status, 200);
    let new = Signer::rsa("keycloak-2");
    let claims = |signer: &Signer| {
        let payload = old.split('.').nth(1).map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64"));
        signer.sign(&signer.header().to_string(), &String::from_utf8(payload.expect("claims")).expect("text"))
    };
    net.publish(KEYCLOAK, &[keycloak_key(), &new]);
    for _ in 0..3 {
        assert_eq!(asked(&app, &claims(&new)).await.status, 200);
        assert_eq!(asked(&app, &old).await.status, 200);
    }
    assert_eq!(net.fetches(), 4);
    // The old key goes. Its tokens, which were checked before, go with it at the next fetch, and not before.
    net.publish(KEYCLOAK, &[&new]);
    app.state.refresh_issuer_keys().await;
    assert_eq!((net.fetches(), asked(&app, &old).await.status.as_u16()), (4, 200), "nothing is due");
    let late = keycloak_key().token(&changed(
        serde_json::from_slice(
            &URL_SAFE_NO_PAD.decode(old.split('.').nth(1).expect("claims")).expect("base64"),
        )
        .expect("JSON"),
        &json!({"exp": NOW + 100_000}),
    ));
    assert_eq!(asked(&app, &late).await.status, 200);
    app.pass_ms(3_600_000);
    app.state.refresh_issuer_keys().await;
    assert_eq!((net.fetches(), asked(&app, &late).await.status.as_u16()), (6, 401));
    // Another key under a kid that was there is another key.
    let renewed = Signer::ec("keycloak-2");
    let long = |signer: &Signer| {
        let claims = changed(
            serde_json::from_slice(
                &URL_SAFE_NO_PAD.decode(old.split('.').nth(1).expect("claims")).expect("base64"),
            )
            .expect("JSON"),
            &json!({"exp": NOW + 100_000}),
        );
        signer.token(&claims)
    };
    assert_eq!(asked(&app, &long(&new)).await.status, 200);
    net.publish(KEYCLOAK, &[&renewed]);
    app.pass_ms(3_600_000);
    app.state.refresh_issuer_keys().await;
    assert_eq!(asked(&app, &long(&new)).await.status, 401);
    assert_eq!(asked(&app, &long(&renewed)).await.status, 200);
}

/// A key that changes right after a fetch that was due, or that brought what a token named, is found at once.
#[tokio::test]
async fn a_fetch_that_was_not_in_vain_keeps_no_token_waiting() {
    let net = network();
    let app = app_of(vec![keycloak()], &net).await;
    let claims = json!({"iss": KEYCLOAK, "aud": OWN, "exp": NOW + 100_000, "azp": "a", "idtyp": "app", "realm_access": {"roles": ["Ip.Read.All"]}});
    app.state.refresh_issuer_keys().await;
    let mut fetches = 2;
    for _ in 0..2 {
        // Five changes of the keys in no time are found. Then the issuer looks like one whose servers disagree.
        for (number, expected) in [(1, 200), (2, 200), (3, 200), (4, 200), (5, 200), (6, 401)] {
            let new = Signer::ec(&format!("keycloak-{fetches}-{number}"));
            net.publish(KEYCLOAK, &[&new]);
            assert_eq!(asked(&app, &new.token(&claims)).await.status, expected, "{number}");
        }
        fetches += 10;
        assert_eq!(net.fetches(), fetches);
        app.pass_ms(3_600_000);
        app.state.refresh_issuer_keys().await;
        fetches += 2;
        // One in vain keeps the next waiting.
        assert_eq!(asked(&app, &Signer::ec("nobody's").token(&claims)).await.status, 401);
        let new = Signer::ec("keycloak-new");
        net.publish(KEYCLOAK, &[&new]);
        assert_eq!(asked(&app, &new.token(&claims)).await.status, 401);
        fetches += 2;
        assert_eq!(net.fetches(), fetches);
        app.pass_ms(3_600_000);
        app.state.refresh_issuer_keys().await;
        fetches += 2;
    }
    // One that was due and failed does keep them waiting, or everybody would ask who is down.
    net.down();
    app.pass_ms(3_600_000);
    app.state.refresh_issuer_keys().await;
    let asked_so_far = net.fetches();
    assert_eq!(asked(&app, &Signer::ec("keycloak-4").token(&claims)).await.status, 401);
    assert_eq!(net.fetches(), asked_so_far);
}

#[tokio::test]
async fn many_unknown_kids_at_once_are_one_fetch() {
    let net = network();
    let app = Arc::new(app_of(vec![keycloak()], &net).await);
    app.state.refresh_issuer_keys().await;
    assert_eq!(net.fetches(), 2);
    app.pass_ms(30_000);
    let new = Signer::ec("keycloak-new");
    net.publish(KEYCLOAK, &[keycloak_key(), &new]);
    net.gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..64 {
        let app = Arc::clone(&app);
        let header = keycloak_key().header();
        let token = match number {
            0 => new.token(&json!({"iss": KEYCLOAK, "aud": OWN, "exp": NOW + 60, "azp": "a", "idtyp": "app", "realm_access": {"roles": ["Ip.Read.All"]}})),
            _ => keycloak_key().sign(&changed(header, &json!({"kid": format!("x{number}")})).to_string(), &json!({"iss": KEYCLOAK}).to_string()),
        };
        asking.spawn(async move { (number, asked(&app, &token).await.status.as_u16()) });
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(net.fetches(), 3, "all wait for one");
    net.gate.add_permits(Semaphore::MAX_PERMITS);
    while let Some(asked) = asking.join_next().await {
        let (number, status) = asked.expect("no panic");
        assert_eq!(status, if number == 0 { 200 } else { 401 }, "{number}");
    }
    assert_eq!(net.fetches(), 4);
    // A flood does not ask more often than every 30 seconds.
    for second in 1..=90 {
        app.pass_ms(1_000);
        for number in 0..5 {
            let header = changed(keycloak_key().header(), &json!({"kid": format!("y{second}-{number}")}));
            let token = keycloak_key().sign(&header.to_string(), &json!({"iss": KEYCLOAK}).to_string());
            assert_eq!(asked(&app, &token).await.status, 401);
        }
    }
    assert_eq!(net.fetches(), 4 + 3 * 2);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_end_the_fetch() {
    let net = network();
    let app = app_of(vec![keycloak()], &net).await;
    net.gate.forget_permits(Semaphore::MAX_PERMITS);
    let token = of_keycloak(&json!({}));
    {
        let mut asking = Box::pin(asked(&app, &token));
        tokio::select! {
            biased;
            reply = &mut asking => panic!("{}", reply.text()),
            () = async { for _ in 0..50 { tokio::task::yield_now().await } } => {}
        }
    }
    assert_eq!(net.fetches(), 1);
    net.gate.add_permits(Semaphore::MAX_PERMITS);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(net.fetches(), 2);
    assert_eq!(asked(&app, &token).await.status, 200);
    assert_eq!(net.fetches(), 2);
}

#[tokio::test]
async fn an_outage_is_outlived_and_seen() {
    let net = network();
    let app = app_of(vec![entra()], &net).await;
    app.state.refresh_issuer_keys().await;
    assert_eq!(net.fetches(), 4);
    net.down();
    let forever = v2(&json!({"exp": u64::from(NOW) + 30 * 86_400}));
    for hours in 1..=160 {
        app.pass_ms(3_600_000);
        app.state.refresh_issuer_keys().await;
        if hours % 40 == 0 {
            assert_eq!(asked(&app, &forever).await.status, 200, "{hours}");
        }
    }
    let metrics = app.anonymous("/metrics").await.text();
    for line in [
        format!("seenby_issuer_keys{{issuer=\"{AUTHORITY}/{TENANT}/v2.0\"}} 1"),
        format!("seenby_issuer_keys_age_seconds{{issuer=\"{AUTHORITY}/{TENANT}/v2.0\"}} {}", 160 * 3_600),
        format!("seenby_issuer_key_fetch_failures_total{{issuer=\"{AUTHORITY}/{TENANT}/v2.0\"}} 160"),
    ] {
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
    // After seven days nobody knows what became of them.
    app.pass_ms(8 * 3_600_000);
    let reply = asked(&app, &forever).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "ServiceUnavailable"));
    assert!(
        app.anonymous("/metrics")
            .await
            .text()
            .contains(&format!("seenby_issuer_keys{{issuer=\"{AUTHORITY}/{TENANT}/v2.0\"}} 0"))
    );
    net.publish(&format!("{AUTHORITY}/{TENANT}/v2.0"), &[entra_key()]);
    app.pass_ms(30_000);
    assert_eq!(asked(&app, &forever).await.status, 200);
}

#[tokio::test]
async fn a_token_of_an_issuer_without_keys_may_come_again() {
    let net = Net::empty();
    let app = app(&net).await;
    let token = of_keycloak(&json!({}));
    let reply = asked(&app, &token).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "30"), "{}", reply.text());
    assert!(!reply.text().contains("keycloak"), "{}", reply.text());
    app.pass_ms(10_000);
    let reply = asked(&app, &token).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after"), net.fetches()), (503, "20", 1));
    // Others are served meanwhile, and a token of nobody is nobody's.
    assert_eq!(app.stats(SEEN).await.status, 200);
    assert_eq!(asked(&app, &v2(&json!({"iss": "https://evil.example"}))).await.status, 401);
    net.publish(KEYCLOAK, &[keycloak_key()]);
    app.pass_ms(20_000);
    assert_eq!(asked(&app, &token).await.status, 200);
}

#[tokio::test]
async fn documents_that_are_not_what_they_should_be() {
    let good = json!({"keys": [keycloak_key().jwk]}).to_string();
    let discovery = |issuer: &str, uri: &str| json!({"issuer": issuer, "jwks_uri": uri}).to_string();
    let keys = format!("{KEYCLOAK}/keys");
    let huge = format!("{{\"keys\":[{}],\"pad\":\"{}\"}}", keycloak_key().jwk, "x".repeat(256 * 1024));
    let mut enc = keycloak_key().jwk.clone();
    enc["use"] = json!("enc");
    for (name, document, set) in [
        ("another issuer", discovery("https://evil.example", &keys), good.clone()),
        ("a slash more", discovery(&format!("{KEYCLOAK}/"), &keys), good.clone()),
        ("a template", discovery("https://keycloak.example/realms/{tenantid}", &keys), good.clone()),
        ("keys over http", discovery(KEYCLOAK, "http://keycloak.example/keys"), good.clone()),
        ("keys in a file", discovery(KEYCLOAK, "file:///etc/passwd"), good.clone()),
        ("no keys", json!({"issuer": KEYCLOAK}).to_string(), good.clone()),
        ("garbage", "<html>".into(), good.clone()),
        ("nothing", String::new(), good.clone()),
        (
            "huge",
            format!("{{\"pad\":\"{}\",{}", "x".repeat(300_000), &discovery(KEYCLOAK, &keys)[1..]),
            good.clone(),
        ),
        ("a garbage set", discovery(KEYCLOAK, &keys), "\u{0}\u{1}".into()),
        ("a list", discovery(KEYCLOAK, &keys), format!("[{}]", keycloak_key().jwk)),
        ("an empty set", discovery(KEYCLOAK, &keys), "{\"keys\":[]}".into()),
        ("a deep set", discovery(KEYCLOAK, &keys), format!("{{\"keys\":{}", "[".repeat(50_000))),
        ("a huge set", discovery(KEYCLOAK, &keys), huge),
        ("keys for encryption", discovery(KEYCLOAK, &keys), json!({"keys": [enc]}).to_string()),
    ] {
        let net = Net::empty();
        net.put(&discovery_of(KEYCLOAK), document);
        net.put(&keys, set.clone());
        net.put("http://keycloak.example/keys", set);
        let app = app_of(vec![keycloak()], &net).await;
        let reply = asked(&app, &of_keycloak(&json!({}))).await;
        assert_eq!(reply.status, 503, "{name}: {}", reply.text());
    }
    // Entra ID may write its template, and keys that are others'.
    let net = Net::empty();
    let (iss, template) = (format!("{AUTHORITY}/{TENANT}/v2.0"), format!("{AUTHORITY}/{{tenantid}}/v2.0"));
    let mut foreign = Signer::rsa("foreign");
    foreign.jwk["issuer"] = json!(format!("{AUTHORITY}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"));
    let mut own = entra_key().jwk.clone();
    own["issuer"] = json!(template);
    net.put(&discovery_of(&iss), discovery(&template, "https://keys.example/"));
    net.put(
        "https://keys.example/",
        json!({"keys": [foreign.jwk, own, {"kty": "oct", "k": "AA", "kid": "oct"}]}).to_string(),
    );
    let app = app_of(vec![entra()], &net).await;
    assert_eq!(asked(&app, &v2(&json!({}))).await.status, 200);
    assert_eq!(asked(&app, &foreign.token(&v2_claims())).await.status, 401);
}

#[tokio::test]
async fn given_keys_need_no_network() {
    let net = Net::empty();
    let set = |key: &Signer| json!({"keys": [key.jwk]}).to_string().into_bytes();
    let given = OutsideIssuer { key_set: Some(set(keycloak_key()).into()), ..keycloak() };
    let app = app_of(vec![oidc(), given], &net).await;
    let token = of_keycloak(&json!({}));
    assert_eq!(asked(&app, &token).await.status, 200);
    // Neither time nor a kid that is not there makes it ask.
    app.pass_ms(30 * 86_400_000);
    app.set_wall_s(NOW);
    let new = Signer::ec("keycloak-2");
    let of_new = new.token(&json!({"iss": KEYCLOAK, "aud": OWN, "exp": NOW + 60, "azp": "a", "idtyp": "app", "realm_access": {"roles": ["Ip.Read.All"]}}));
    assert_eq!(
        (asked(&app, &token).await.status.as_u16(), asked(&app, &of_new).await.status.as_u16()),
        (200, 401)
    );
    assert_eq!(net.fetches(), 0);
    // Other keys take their place; what is no set does not.
    assert!(app.state.give_issuer_keys(0, &set(&new)).is_none(), "its keys are fetched");
    assert!(app.state.give_issuer_keys(1, b"{}").is_some_and(|given| given.is_err()));
    assert_eq!(asked(&app, &token).await.status, 200);
    assert_eq!(app.state.give_issuer_keys(1, &set(&new)), Some(Ok(1)));
    assert_eq!(
        (asked(&app, &token).await.status.as_u16(), asked(&app, &of_new).await.status.as_u16()),
        (401, 200)
    );
    assert_eq!(net.fetches(), 0);
}

/// Another process on the same directory, at the same wall clock; the steady one begins anew.
fn restarted(app: TestApp, net: &Net) -> TestApp {
    let TestApp { store, directory, now_ms, .. } = app;
    let steady_ms = Arc::default();
    let machine = Machine { fetch: net.fetch(), ..machine(&now_ms, &steady_ms) };
    let settings = Settings { issuers: vec![entra()], ..Settings::default() };
    let state: State<ModelStore, ModelDirectory> = State::starting(settings, machine);
    state.set_ready(Arc::clone(&store), Arc::clone(&directory));
    TestApp { router: router(state.clone()), state, store, directory, now_ms, steady_ms }
}

#[tokio::test]
async fn keys_outlive_a_restart_while_their_issuer_is_down() {
    const HOUR_MS: u64 = 3_600_000;
    let net = network();
    let app = app_of(vec![entra()], &net).await;
    let token = v2(&json!({"exp": NOW + 30 * 86_400}));
    assert_eq!(asked(&app, &token).await.status, 200);
    app.state.refresh_issuer_keys().await;
    net.down();
    app.pass_ms(HOUR_MS / 2);
    let app = restarted(app, &net);
    // Nothing is believed before the issuer was asked.
    assert_eq!(asked(&app, &token).await.status, 503);
    // What an ending server does takes nothing up.
    app.state.keep_issuer_keys().await;
    assert_eq!(asked(&app, &token).await.status, 503);
    app.state.refresh_issuer_keys().await;
    assert_eq!(asked(&app, &token).await.status, 200);
    let stranger = Signer::rsa(entra_key().kid());
    assert_eq!(asked(&app, &stranger.token(&v2_claims())).await.status, 401);
    // They are as old as they are, however often it starts.
    app.pass_ms(7 * 24 * HOUR_MS - HOUR_MS);
    let app = restarted(app, &net);
    app.state.refresh_issuer_keys().await;
    assert_eq!(asked(&app, &token).await.status, 200);
    app.pass_ms(HOUR_MS);
    app.state.refresh_issuer_keys().await;
    assert_eq!(asked(&app, &token).await.status, 503);
    let app = restarted(app, &net);
    app.state.refresh_issuer_keys().await;
    assert_eq!(asked(&app, &token).await.status, 503);
    // An issuer that answers is believed alone: what it has taken back is gone from the first token on.
    let app = restarted(app_of(vec![entra()], &network()).await, &network());
    app.state.refresh_issuer_keys().await;
    let (net, other) = (network(), Signer::rsa("entra-2"));
    net.publish(&format!("{AUTHORITY}/{TENANT}/v2.0"), &[&other]);
    let app = restarted(app, &net);
    assert_eq!(asked(&app, &token).await.status, 401);
}

#[tokio::test]
async fn the_book_says_which_organisation_there_is() {
    let net = network();
    let app = app(&net).await;
    let (entra, keycloak) = (v2(&json!({})), of_keycloak(&json!({})));
    assert_eq!(asked(&app, &entra).await.status, 200);
    // By its name, in any case, as it is now.
    app.commit(Change::RenameOrganisation(ACME, "Acme Corp".into())).await;
    for token in [&entra, &keycloak] {
        assert_eq!(asked(&app, token).await.status, 401);
    }
    app.commit(Change::RenameOrganisation(ACME, "ACME".into())).await;
    assert_eq!(asked(&app, &entra).await.status, 200);
    app.commit(Change::RemoveOrganisation(ACME)).await;
    assert_eq!(asked(&app, &entra).await.status, 401);
    assert_eq!(asked(&app, &of_oidc(&json!({}))).await.status, 404, "the other organisation is there still");
}

#[tokio::test]
async fn calls_are_counted_for_the_application() {
    let net = network();
    let calls = |calls| CallLimit::parse(calls).expect("a limit");
    let limits =
        BTreeMap::from([(CLIENT.to_owned(), CallLimits { per_minute: calls("3"), per_hour: calls("off") })]);
    let settings = Settings {
        issuers: vec![OutsideIssuer { limits, ..entra() }, keycloak()],
        limits: Limits { per_minute: Some(2), per_hour: None },
        ..Settings::default()
    };
    let app = TestApp::with_fetch(settings, net.fetch()).await;
    let iss = format!("{AUTHORITY}/{TENANT}/v2.0");
    add_role(&app, ACME, &[(&iss, MemberKind::User, USER)]).await;
    // Both shapes and all users of one application: one count. Refused calls do not count.
    let another = "6d6d6d6d-0000-4000-8000-00000000000d";
    for (token, status) in [
        (v2(&json!({"roles": null})), 403),
        (of_user(&json!({"oid": "nobody"})), 403),
        (v2(&json!({})), 200),
        (v1(&json!({})), 200),
        (of_user(&json!({})), 200),
        (of_user(&json!({})), 429),
        (v1(&json!({})), 429),
        (v2(&json!({"azp": another})), 200),
        (v2(&json!({"azp": another})), 200),
        (v2(&json!({"azp": another})), 429),
        (of_keycloak(&json!({"azp": CLIENT, "client_id": CLIENT, "preferred_username": null})), 200),
    ] {
        let reply = asked(&app, &token).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let at_limit = "seenby_limit_applications_at{limit=\"minute\"} 2";
    let metrics = app.anonymous("/metrics").await.text();
    assert!(metrics.contains(at_limit), "{metrics}");
    // In another organisation the same application is another.
    let other =
        json!({"tid": TENANT_OF_OTHER.to_string(), "iss": format!("{AUTHORITY}/{TENANT_OF_OTHER}/v2.0")});
    assert_eq!(asked(&app, &v2(&other)).await.status, 404);
}
