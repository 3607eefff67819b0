//! Administration over HTTP: who may, what it does from the next request on, what nobody can give that has it not, and what is
//! written down.

use crate::common::{
    ACME, LEE, NOW, OTHER, POWERLESS, READER, RESOURCE, Reply, SEEN, STRANGER, TestApp, forged, form, get,
};
use axum::body::Body;
use serde_json::{Value, json};
use sighting::{
    Application, ApplicationId, CallLimits, Change, Directory, Issuer, Member, MemberId, MemberKind,
    Permission, Role, RoleId, RolePermission, Second, SignIn, Uuid,
};

const MANAGER: ApplicationId = ApplicationId(Uuid::from_u128(0x8888_0000_0000_4000_8000_0000_0000_0008));
const MANAGERS: RoleId = RoleId(Uuid::from_u128(0x9999_0000_0000_4000_8000_0000_0000_0009));

/// Acme has an application that manages it, by itself and for people.
async fn app() -> TestApp {
    let app = TestApp::new().await;
    let manager = Application {
        id: MANAGER,
        organisation: ACME,
        name: "manager".to_owned(),
        permissions: vec![Permission::Manage],
        sign_in: SignIn {
            delegated: [Permission::Manage, Permission::IpReadAll].into(),
            public: true,
            ..SignIn::default()
        },
        secrets: Vec::new(),
        certificates: Vec::new(),
        limits: CallLimits::default(),
        created_at: Second::new(NOW),
    };
    app.commit(Change::AddApplication(manager)).await;
    app
}

/// A token of the application for itself.
fn whole() -> String {
    forged(&json!({"azp": MANAGER.to_string(), "roles": ["Seenby.Manage"], "seenby_cred": null}))
}

/// A token of Lee's through it.
fn lees() -> String {
    forged(&json!({
        "azp": MANAGER.to_string(), "roles": null, "seenby_cred": null, "idtyp": "user", "oid": LEE.to_string(),
        "scp": "Seenby.Manage Ip.Read.All",
    }))
}

/// Lee gets a role with these rights.
async fn entitle(app: &TestApp, rights: &[RolePermission]) {
    let lee = MemberId::new(&LEE.to_string()).expect("an id");
    let member = Member { issuer: Issuer::BuiltIn, kind: MemberKind::User, id: lee };
    let role = Role {
        id: MANAGERS,
        organisation: ACME,
        name: "managers".to_owned(),
        permissions: rights.iter().copied().collect(),
        members: [member].into(),
        created_at: Second::new(NOW),
    };
    app.commit(Change::AddRole(role)).await;
}

async fn send(app: &TestApp, token: &str, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = get(&format!("/seenby/v1{path}")).method(method);
    let request = request.header("authorization", format!("Bearer {token}"));
    app.send(request.body(body).expect("a request")).await
}

#[track_caller]
fn check(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
    if reply.body.is_empty() { Value::Null } else { reply.json() }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test]
async fn an_application_from_its_making_to_its_end() {
    let (app, token) = (app().await, whole());
    let ask = async |method: &str, path: &str, body: Value| send(&app, &token, method, path, &body).await;
    let wanted =
        json!({"name": "soar", "permissions": ["Ip.Read.All"], "redirect_uris": ["http://localhost"]});
    let made = check(&ask("POST", "/applications", wanted).await, 201);
    let (id, secret) = (text(&made["client_id"]), text(&made["client_secret"]));
    assert_eq!(
        (made["tenant"].as_str(), made["redirect_uris"][0].as_str()),
        (Some(&*ACME.to_string()), Some("http://localhost"))
    );
    let form = |secret: &str| {
        format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&resource={RESOURCE}")
    };
    let token_path = format!("/{ACME}/oauth2/token");
    let granted = check(&app.post(&token_path, &form(&secret)).await, 200);
    let path = format!("/api/ips/{SEEN}/stats");
    let soars = text(&granted["access_token"]);
    assert_eq!(app.with_token(&soars, &path).await.status, 200);
    let one = format!("/applications/{id}");
    let shown = check(&ask("GET", &one, Value::Null).await, 200);
    assert!(shown["client_secret"].is_null() && shown["secrets"][0]["expires_at"].is_null());
    // Limits hold from the next call on.
    let changed = check(&ask("PATCH", &one, json!({"limits": {"per_minute": "1"}})).await, 200);
    assert_eq!(changed["limits"], json!({"per_minute": "1", "per_hour": "default"}));
    assert_eq!(app.with_token(&soars, &path).await.status, 429);
    check(&ask("PATCH", &one, json!({"limits": {"per_minute": "off"}, "device_code": true})).await, 200);
    assert_eq!(app.with_token(&soars, &path).await.status, 200);
    // A secret that is replaced ends, and with it what was got by it.
    let rotated = check(&ask("POST", &format!("{one}/secrets"), json!({"overlap_hours": 0})).await, 200);
    assert_eq!(app.with_token(&soars, &path).await.status, 401);
    assert_eq!(app.post(&token_path, &form(&secret)).await.status, 401);
    let granted = app.post(&token_path, &form(&text(&rotated["client_secret"]))).await;
    let soars = text(&check(&granted, 200)["access_token"]);
    // So does a permission.
    check(&ask("PATCH", &one, json!({"permissions": []})).await, 200);
    assert_eq!(app.with_token(&soars, &path).await.status, 403);
    check(&ask("DELETE", &one, Value::Null).await, 204);
    assert_eq!(app.with_token(&soars, &path).await.status, 401);
    check(&ask("GET", &one, Value::Null).await, 404);
    let audit = app.directory.audit(3).await.expect("an audit log");
    assert!(audit.iter().all(|entry| entry.actor == format!("application {MANAGER}")), "{audit:?}");
    assert_eq!(audit[0].what, format!("removed application {id}"));
}

#[tokio::test]
async fn certificates() {
    let (app, token) = (app().await, whole());
    let path = format!("/applications/{READER}/certificates");
    let pair =
        rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
    let params = rcgen::CertificateParams::new(vec!["app.example".to_owned()]).expect("a name");
    let pem = params.self_signed(&pair).expect("a certificate").pem();
    let shown = check(&send(&app, &token, "POST", &path, &json!({"certificate": pem})).await, 200);
    let sha256 = text(&shown["certificates"][0]["sha256"]);
    check(&send(&app, &token, "POST", &path, &json!({"certificate": "none"})).await, 400);
    check(&send(&app, &token, "DELETE", &format!("{path}?sha256=ab"), &Value::Null).await, 400);
    check(&send(&app, &token, "DELETE", &format!("{path}?sha256={sha256}"), &Value::Null).await, 204);
    let shown =
        check(&send(&app, &token, "GET", &format!("/applications/{READER}"), &Value::Null).await, 200);
    assert_eq!(shown["certificates"], json!([]));
}

#[tokio::test]
async fn a_person_from_their_account_to_their_answer() {
    let (app, token) = (app().await, whole());
    let ask = async |method: &str, path: &str, body: Value| send(&app, &token, method, path, &body).await;
    let kim = check(&ask("POST", "/users", json!({"name": "kim"})).await, 201);
    let (id, password) = (text(&kim["user"]), text(&kim["password"]));
    let role =
        check(&ask("POST", "/roles", json!({"name": "analysts", "permissions": ["view-data"]})).await, 201);
    let role = format!("/roles/{}", text(&role["role"]));
    let member = json!({"kind": "user", "id": id});
    // A way to sign in that is easy to test.
    let change = Change::ChangeApplication {
        application: READER,
        permissions: None,
        sign_in: SignIn { delegated: [Permission::IpReadAll].into(), password: true, ..SignIn::default() }
            .into(),
    };
    app.commit(change).await;
    let sign_in = |password: &str| {
        let form = form(READER).replace("client_credentials", "password");
        format!("{form}&username=kim&password={password}")
    };
    let token_path = format!("/{ACME}/oauth2/v2.0/token");
    let kims = text(&check(&app.post(&token_path, &sign_in(&password)).await, 200)["access_token"]);
    let path = format!("/api/ips/{SEEN}/stats");
    assert_eq!(app.with_token(&kims, &path).await.status, 403);
    check(&ask("PUT", &format!("{role}/members"), member.clone()).await, 204);
    assert_eq!(app.with_token(&kims, &path).await.status, 200);
    assert_eq!(
        check(&ask("GET", &format!("/users/{id}"), Value::Null).await, 200)["permissions"],
        json!(["view-data"])
    );
    check(&ask("PATCH", &role, json!({"permissions": ["write-sightings"]})).await, 200);
    assert_eq!(app.with_token(&kims, &path).await.status, 403);
    check(&ask("PATCH", &role, json!({"permissions": ["view-data"], "name": "readers"})).await, 200);
    check(&ask("DELETE", &format!("{role}/members?kind=user&id={id}"), Value::Null).await, 204);
    assert_eq!(app.with_token(&kims, &path).await.status, 403);
    check(&ask("DELETE", &format!("{role}/members?kind=user&id={id}"), Value::Null).await, 400);
    check(&ask("PUT", &format!("{role}/members"), member).await, 204);
    // Another password signs out.
    app.pass_ms(1_000);
    check(
        &ask("POST", &format!("/users/{id}/password"), json!({"password": "correct horse battery"})).await,
        200,
    );
    assert_eq!(app.with_token(&kims, &path).await.status, 401);
    let again = app.post(&token_path, &sign_in("correct+horse+battery")).await;
    let kims = text(&check(&again, 200)["access_token"]);
    assert_eq!(app.with_token(&kims, &path).await.status, 200);
    check(&ask("DELETE", &role, Value::Null).await, 204);
    assert_eq!(app.with_token(&kims, &path).await.status, 403);
    check(&ask("DELETE", &format!("/users/{id}"), Value::Null).await, 204);
    assert_eq!(app.with_token(&kims, &path).await.status, 401);
}

#[tokio::test]
async fn each_route_has_its_right() {
    use RolePermission::{ManageApplications, ManageOrganisations, ManageRoles, ViewData};
    for (right, paths) in [
        (ManageRoles, &["/roles", "/users"][..]),
        (ManageApplications, &["/applications"]),
        (ManageOrganisations, &["/organisation"]),
        (ViewData, &[]),
    ] {
        let app = app().await;
        entitle(&app, &[right]).await;
        for path in ["/roles", "/users", "/applications", "/organisation"] {
            let status = if paths.contains(&path) { 200 } else { 403 };
            check(&send(&app, &lees(), "GET", path, &Value::Null).await, status);
        }
    }
    let app = app().await;
    for (token, status) in [
        (lees(), 403),
        (app.token(READER).await, 403),
        (app.token(POWERLESS).await, 403),
        // A role in the token that is not in the book.
        (forged(&json!({"roles": ["Seenby.Manage"]})), 403),
        ("none".to_owned(), 401),
        (whole(), 200),
    ] {
        check(&send(&app, &token, "GET", "/roles", &Value::Null).await, status);
    }
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    use RolePermission::{ManageApplications, ManageRoles};
    let app = app().await;
    entitle(&app, &[ManageRoles, ManageApplications]).await;
    let boss = check(&send(&app, &whole(), "POST", "/users", &json!({"name": "boss"})).await, 201);
    let all = json!({"name": "all", "permissions": ["view-data", "manage-organisations"]});
    let role = check(&send(&app, &whole(), "POST", "/roles", &all).await, 201);
    let (boss, role) = (text(&boss["user"]), text(&role["role"]));
    let member = json!({"kind": "user", "id": boss});
    let made = check(&send(&app, &whole(), "POST", "/applications", &json!({"name": "plain"})).await, 201);
    let plain = text(&made["client_id"]);
    check(&send(&app, &whole(), "PUT", &format!("/roles/{role}/members"), &member).await, 204);
    let lee = json!({"kind": "user", "id": LEE.to_string()});
    for (method, path, body) in [
        ("POST", "/roles".to_owned(), json!({"name": "x", "permissions": ["view-data"]})),
        ("PATCH", format!("/roles/{MANAGERS}"), json!({"permissions": ["manage-roles", "view-data"]})),
        ("PUT", format!("/roles/{role}/members"), lee.clone()),
        ("POST", format!("/users/{boss}/password"), json!({})),
        ("POST", "/applications".to_owned(), json!({"name": "x", "permissions": ["Ip.Read.All"]})),
        ("POST", "/applications".to_owned(), json!({"name": "x", "permissions": ["Seenby.Manage"]})),
        ("PATCH", format!("/applications/{POWERLESS}"), json!({"permissions": ["Ip.Read.All"]})),
        ("POST", format!("/applications/{READER}/secrets"), json!({})),
        ("POST", format!("/applications/{MANAGER}/certificates"), json!({"certificate": "x"})),
        ("PATCH", format!("/applications/{MANAGER}"), json!({"public": false})),
        // Where people are sent back, and what they let the application do, is theirs.
        ("POST", "/applications".to_owned(), json!({"name": "x", "delegated": ["Seenby.Manage"]})),
        ("PATCH", format!("/applications/{POWERLESS}"), json!({"redirect_uris": ["https://evil.example/"]})),
        ("PATCH", format!("/applications/{plain}"), json!({"delegated": ["Ip.Read.All"]})),
        ("DELETE", format!("/applications/{MANAGER}"), Value::Null),
        // What is above them they cannot take away either.
        ("PATCH", format!("/roles/{role}"), json!({"permissions": []})),
        ("PATCH", format!("/roles/{role}"), json!({"name": "readers"})),
        ("DELETE", format!("/roles/{role}"), Value::Null),
        ("DELETE", format!("/roles/{role}/members?kind=user&id={boss}"), Value::Null),
        ("DELETE", format!("/users/{boss}"), Value::Null),
    ] {
        let reply = send(&app, &lees(), method, &path, &body).await;
        check(&reply, 403);
        assert!(reply.message().starts_with("Nobody can give what they do not have"), "{}", reply.text());
    }
    // What they have they can.
    for (method, path, body, status) in [
        ("POST", "/roles".to_owned(), json!({"name": "x", "permissions": ["manage-roles"]}), 201),
        ("PUT", format!("/roles/{MANAGERS}/members"), lee, 204),
        ("POST", "/applications".to_owned(), json!({"name": "y"}), 201),
        ("POST", format!("/applications/{plain}/secrets"), json!({}), 200),
        ("PATCH", format!("/applications/{plain}"), json!({"redirect_uris": ["https://soar.example/"]}), 200),
        ("DELETE", format!("/applications/{plain}"), Value::Null, 204),
    ] {
        check(&send(&app, &lees(), method, &path, &body).await, status);
    }
    let audit = app.directory.audit(1).await.expect("an audit log");
    assert_eq!(audit[0].actor, format!("user {LEE} through application {MANAGER}"));
}

#[tokio::test]
async fn bodies_and_ids_that_make_no_sense() {
    let (app, token) = (app().await, whole());
    for (method, path, body, status) in [
        ("POST", "/roles", json!({"name": "x", "permissions": ["all"]}), 400),
        ("POST", "/roles", json!({"name": ""}), 400),
        ("POST", "/roles", json!({}), 400),
        ("POST", "/roles", json!([]), 400),
        ("POST", "/roles", json!({"name": "x", "extra": 1}), 400),
        ("POST", "/roles", json!({"name": ACME.to_string()}), 400),
        ("POST", "/users", json!({"name": "x", "password": "short"}), 400),
        ("POST", "/users", json!({"name": "Lee"}), 409),
        ("POST", "/applications", json!({"name": "MANAGER"}), 409),
        ("POST", "/applications", json!({"name": "x", "redirect_uris": ["javascript:alert(1)"]}), 400),
        ("POST", "/applications", json!({"name": "x", "permissions": ["Alert.Read.All"]}), 400),
        ("PATCH", &*format!("/applications/{READER}"), json!({"limits": {"per_hour": "0"}}), 400),
        ("PATCH", &*format!("/applications/{READER}"), json!({"public": true}), 400),
        ("POST", &*format!("/applications/{READER}/secrets"), json!({"overlap_hours": 9_999}), 400),
        ("POST", &*format!("/applications/{MANAGER}/secrets"), json!({}), 400),
        ("GET", "/roles/x", Value::Null, 404),
        ("GET", &*format!("/users/{}", Uuid::nil()), Value::Null, 404),
        // Another organisation's is as much as none.
        ("GET", &*format!("/applications/{STRANGER}"), Value::Null, 404),
        ("DELETE", &*format!("/applications/{STRANGER}"), Value::Null, 404),
        ("GET", "/organisation/x", Value::Null, 404),
        ("PUT", "/roles", json!({}), 405),
    ] {
        let reply = send(&app, &token, method, path, &body).await;
        assert_eq!(reply.status.as_u16(), status, "{method} {path} {body}: {}", reply.text());
    }
    let big = json!({"name": "x".repeat(70_000)});
    check(&send(&app, &token, "POST", "/roles", &big).await, 400);
    let shown = check(&send(&app, &token, "GET", "/organisation", &Value::Null).await, 200);
    assert_eq!(shown, json!({"tenant": ACME.to_string(), "name": "Acme", "retention": "720"}));
    let all = check(&send(&app, &token, "GET", "/applications", &Value::Null).await, 200);
    let tenants: Vec<&Value> =
        all["value"].as_array().expect("a list").iter().map(|it| &it["tenant"]).collect();
    assert!(tenants.len() == 3 && tenants.iter().all(|tenant| **tenant == ACME.to_string()), "{tenants:?}");
    assert_ne!(ACME, OTHER);
}
