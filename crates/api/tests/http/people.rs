//! People sign in through applications: the code with PKCE, the device code, refresh, the password grant, all by the pages and
//! forms that browsers and clients use; and what is refused.

use crate::common::people::{
    CHALLENGE, KIM, PASSWORD, TOOL, app, authorize, check_error, claims, code, device, form, poll,
    redemption, sent_back, sign_in, token, user, value,
};
use crate::common::{ACME, HOST, NOW, OTHER, READER, RESOURCE, Reply, STRANGER, TestApp, secret_of};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seenby_api::hash_password;
use serde_json::Value;
use sighting::{Change, Permission, Second, SignIn, UserId, Uuid};

#[tokio::test]
async fn a_code_with_pkce() {
    let app = app().await;
    let page = app.anonymous(&authorize(&[("login_hint", "kim\"><script>")])).await;
    let text = page.text();
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(text.contains("Sign in to Acme") && text.contains("read IP address profiles"), "{text}");
    assert!(!text.contains("<script") && !text.contains("tool <b>"), "{text}");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!((page.header("x-frame-options"), page.header("cache-control")), ("DENY", "no-store"));
    let (client, code) = (TOOL.to_string(), code(&app).await);
    let reply = token(&app, &redemption(&client, &code)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    assert_eq!(body["expires_in"], 3599);
    assert_eq!(text("scope"), format!("{RESOURCE}/Ip.Read.All openid profile offline_access"));
    let access = claims(&text("access_token"));
    for (name, expected) in [
        ("aud", RESOURCE),
        ("oid", &KIM.to_string()),
        ("scp", "Ip.Read.All"),
        ("idtyp", "user"),
        ("azpacr", "0"),
        ("preferred_username", "Kim@acme.example"),
        ("ver", "2.0"),
    ] {
        assert_eq!(access[name], expected, "{name}");
    }
    assert!(access["roles"].is_null() && access["seenby_cred"].is_null());
    let id = claims(&text("id_token"));
    assert_eq!(
        (id["nonce"].as_str(), id["aud"].as_str(), id["oid"].as_str()),
        (Some("n-1"), Some(&*client), Some(&*KIM.to_string()))
    );
    assert_eq!(id["sub"], access["sub"]);
    let info: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text("client_info")).expect("base64")).expect("JSON");
    assert_eq!(info["utid"], ACME.to_string());
    // A second time ends what came of the first.
    check_error(&token(&app, &redemption(&client, &code)).await, 400, "invalid_grant", 54_005);
    let refresh = text("refresh_token");
    let pairs = [("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", &refresh)];
    check_error(&token(&app, &pairs).await, 400, "invalid_grant", 50_173);
}

#[tokio::test]
async fn codes_that_are_not_redeemed() {
    let app = app().await;
    let client = TOOL.to_string();
    let changed = |code: &str, name: &str, other: &str| {
        let mut pairs = redemption(&client, code);
        pairs.retain(|(it, _)| *it != name);
        let mut pairs: Vec<(String, String)> =
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        if !other.is_empty() {
            pairs.push((name.to_owned(), other.to_owned()));
        }
        pairs
    };
    for (name, other, error, number) in [
        ("code", "made-up", "invalid_grant", 70_008),
        ("code", "", "invalid_request", 900_144),
        ("redirect_uri", "http://localhost:51235", "invalid_grant", 70_008),
        ("redirect_uri", "", "invalid_grant", 70_008),
        ("code_verifier", "", "invalid_grant", 501_481),
        ("code_verifier", CHALLENGE, "invalid_grant", 501_481),
    ] {
        let pairs = changed(&code(&app).await, name, other);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
        check_error(&token(&app, &pairs).await, 400, error, number);
    }
    // Another application's, and too late.
    let code_of_tool = code(&app).await;
    let secret = secret_of(READER);
    let mut pairs = redemption(&client, &code_of_tool);
    let reader = READER.to_string();
    pairs.retain(|(name, _)| *name != "client_id");
    pairs.extend([("client_id", reader.as_str()), ("client_secret", secret.as_str())]);
    check_error(&token(&app, &pairs).await, 400, "invalid_grant", 70_008);
    let late = code(&app).await;
    app.pass_ms(301_000);
    check_error(&token(&app, &redemption(&client, &late)).await, 400, "invalid_grant", 70_008);
    // Sixteen at once: one gets it.
    let one = code(&app).await;
    let pairs = redemption(&client, &one);
    let mut replies = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (router, form) = (app.router.clone(), form(&pairs));
        replies.spawn(async move {
            let request = Request::post(format!("/{ACME}/oauth2/v2.0/token")).header("host", HOST);
            let request = request.body(Body::from(form)).expect("a request");
            tower::ServiceExt::oneshot(router, request).await.expect("infallible").status().as_u16()
        });
    }
    let statuses = replies.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_client_is_sent_nowhere() {
    let app = app().await;
    for (changes, number) in [
        (vec![("client_id", "")], 900_144),
        (vec![("client_id", "99999999-0000-4000-8000-000000000009")], 700_016),
        (vec![("client_id", &*STRANGER.to_string())], 700_016),
        (vec![("redirect_uri", "")], 900_144),
        (vec![("redirect_uri", "https://evil.example/")], 50_011),
        (vec![("redirect_uri", "http://localhost@evil.example/")], 50_011),
        (vec![("redirect_uri", "https://tool.example/back?x=1&y=2")], 50_011),
        (vec![("redirect_uri", "javascript:alert(1)")], 50_011),
        (vec![("response_mode", "web_message")], 90_013),
    ] {
        let reply = app.anonymous(&authorize(&changes)).await;
        assert_eq!((reply.status.as_u16(), reply.header("location")), (400, ""), "{changes:?}");
        let text = reply.text();
        assert!(text.contains(&format!("AADSTS{number}")) && !text.contains("<script"), "{text}");
    }
    let twice = format!("{}&client_id={TOOL}", authorize(&[]));
    assert_eq!(app.anonymous(&twice).await.status, 400);
}

#[tokio::test]
async fn what_else_is_wrong_goes_to_the_client() {
    let app = app().await;
    for (changes, error) in [
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("scope", "https://graph.microsoft.com/User.Read")], "invalid_resource"),
        (vec![("scope", &*format!("{RESOURCE}/Seenby.Manage"))], "invalid_grant"),
        (vec![("scope", &*format!("{RESOURCE}/Alert.Read.All"))], "invalid_grant"),
    ] {
        let reply = app.anonymous(&authorize(&changes)).await;
        let back = sent_back(&reply, "http://localhost:51234?");
        assert_eq!((value(&back, "error"), value(&back, "state")), (error, "a&b"), "{changes:?}");
    }
    let typed = form(&[("answer", "no")]);
    let back = sent_back(&app.post(&authorize(&[]), &typed).await, "http://localhost:51234?");
    assert_eq!(value(&back, "error"), "access_denied");
}

#[tokio::test]
async fn answers_as_the_client_wants_them() {
    let app = app().await;
    let typed = form(&[("username", "kim@acme.example"), ("password", PASSWORD)]);
    let uri = "https://tool.example/back?x=1";
    let reply = app.post(&authorize(&[("redirect_uri", uri)]), &typed).await;
    assert!(!value(&sent_back(&reply, &format!("{uri}&")), "code").is_empty());
    let reply = app.post(&authorize(&[("redirect_uri", uri), ("response_mode", "fragment")]), &typed).await;
    assert!(!value(&sent_back(&reply, &format!("{uri}#")), "code").is_empty());
    let reply = app.post(&authorize(&[("response_mode", "form_post")]), &typed).await;
    let page = reply.text();
    assert!(page.contains("action=\"http://localhost:51234\"") && page.contains("name=\"code\""), "{page}");
    assert!(page.contains("value=\"a&#38;b\"") || page.contains("value=\"a&amp;b\""), "{page}");
    assert!(reply.header("content-security-policy").contains("script-src 'nonce-"));
}

#[tokio::test]
async fn wrong_passwords_say_little_and_cost_more_each_time() {
    let app = app().await;
    let path = authorize(&[]);
    let try_with = async |name: &str, password: &str| {
        app.post(&path, &form(&[("username", name), ("password", password)])).await
    };
    let wrong = try_with("kim@acme.example", "incorrect horse").await;
    let nobody = try_with("nobody@acme.example", PASSWORD).await;
    assert_eq!((wrong.status.as_u16(), nobody.status.as_u16()), (400, 400));
    let without_name = |reply: &Reply, name: &str| reply.text().replace(name, "");
    assert_eq!(without_name(&wrong, "kim@acme.example"), without_name(&nobody, "nobody@acme.example"));
    for _ in 0..4 {
        assert_eq!(try_with("kim@acme.example", "incorrect horse").await.status, 400);
    }
    // The right one too has to wait, and no longer than it says.
    let waiting = try_with("kim@acme.example", PASSWORD).await;
    assert_eq!((waiting.status.as_u16(), waiting.header("retry-after")), (429, "1"), "{}", waiting.text());
    app.pass_ms(1_000);
    assert_eq!(try_with("kim@acme.example", PASSWORD).await.status, 303);
    assert_eq!(try_with("kim@acme.example", PASSWORD).await.status, 303);
    let metrics = app.anonymous("/metrics").await.text();
    for line in [
        "seenby_sign_ins_total{outcome=\"succeeded\"} 2",
        "seenby_sign_ins_total{outcome=\"wrong\"} 6",
        "seenby_sign_ins_total{outcome=\"throttled\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_form_of_another_site_signs_nobody_in() {
    let app = app().await;
    let typed = form(&[("username", "kim@acme.example"), ("password", PASSWORD)]);
    for path in [authorize(&[]), "/device".to_owned()] {
        for (site, is_taken) in [("cross-site", false), ("same-site", false), ("same-origin", true)] {
            let request = Request::post(&path).header("host", HOST).header("sec-fetch-site", site);
            let reply = app.send(request.body(Body::from(typed.clone())).expect("a request")).await;
            assert_eq!(reply.text().contains("sent by another site"), !is_taken, "{path} {site}");
        }
        // Without TLS browsers say the origin alone.
        let own = format!("https://{}", HOST.to_uppercase());
        for (origin, is_taken) in [
            (&*own, true),
            ("http://api.securitycenter.microsoft.com", true),
            ("http://api.securitycenter.microsoft.com:8080", false),
            ("https://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            let request = Request::post(&path).header("host", HOST).header("origin", origin);
            let reply = app.send(request.body(Body::from(typed.clone())).expect("a request")).await;
            assert_eq!(reply.text().contains("sent by another site"), !is_taken, "{path} {origin}");
        }
    }
}

#[tokio::test]
async fn refresh_tokens_are_exchanged() {
    let app = app().await;
    let (client, code) = (TOOL.to_string(), code(&app).await);
    let first = token(&app, &redemption(&client, &code)).await.json();
    let refresh = async |token_: &str, more: &[(&str, &str)]| {
        let mut pairs =
            vec![("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", token_)];
        pairs.extend(more);
        token(&app, &pairs).await
    };
    let of = |reply: &Reply| reply.json()["refresh_token"].as_str().expect("a token").to_owned();
    let first = first["refresh_token"].as_str().expect("a token").to_owned();
    let reply = refresh(&first, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["scope"], format!("{RESOURCE}/Ip.Read.All openid profile offline_access"));
    let second = of(&reply);
    assert_ne!(first, second);
    // An answer may be lost: once more within a minute.
    assert_eq!(refresh(&first, &[]).await.status, 200);
    // Another resource.
    let scope = "https://api.security.microsoft.com/.default";
    let reply = refresh(&second, &[("scope", scope)]).await;
    let access = claims(reply.json()["access_token"].as_str().expect("a token"));
    assert_eq!((access["aud"].as_str(), access["scp"].as_str()), (Some(&scope[..34]), Some("Ip.Read.All")));
    let third = of(&reply);
    for (scope, error, number) in [
        (format!("{RESOURCE}/Seenby.Manage"), "invalid_grant", 65_001),
        ("https://graph.microsoft.com/.default".to_owned(), "invalid_resource", 500_011),
    ] {
        check_error(&refresh(&third, &[("scope", &scope)]).await, 400, error, number);
    }
    check_error(&refresh("made-up", &[]).await, 400, "invalid_grant", 50_173);
    check_error(&refresh("", &[]).await, 400, "invalid_request", 900_144);
    // Whoever brings an old one later has stolen it, or was stolen from: it all ends.
    app.pass_ms(61_000);
    let fourth = of(&refresh(&third, &[]).await);
    check_error(&refresh(&first, &[]).await, 400, "invalid_grant", 50_173);
    check_error(&refresh(&fourth, &[]).await, 400, "invalid_grant", 50_173);
}

/// Nobody gets more of a sign-in than the person was told, whatever the application is given later.
#[tokio::test]
async fn a_refresh_widens_nothing() {
    let app = app().await;
    let both = SignIn { delegated: [Permission::IpReadAll, Permission::Manage].into(), ..sign_in() };
    let change = Change::ChangeApplication { application: TOOL, permissions: None, sign_in: both.into() };
    app.commit(change).await;
    // The page says that it reads IP address profiles.
    let (client, code) = (TOOL.to_string(), code(&app).await);
    let first = token(&app, &redemption(&client, &code)).await.json();
    let refresh = first["refresh_token"].as_str().expect("a token").to_owned();
    let with = |scope: &str| {
        form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &client),
            ("refresh_token", &refresh),
            ("scope", scope),
        ])
    };
    let path = format!("/{ACME}/oauth2/v2.0/token");
    let reply = app.post(&path, &with(&format!("{RESOURCE}/Seenby.Manage"))).await;
    check_error(&reply, 400, "invalid_grant", 65_001);
    let reply = app.post(&path, &with(&format!("{RESOURCE}/.default"))).await;
    let access = claims(reply.json()["access_token"].as_str().expect("a token"));
    assert_eq!(access["scp"], "Ip.Read.All");
}

/// Each refresh leaves a token behind, so there is an end to them.
#[tokio::test]
async fn a_session_is_refreshed_so_often_and_no_more() {
    let app = app().await;
    let (client, code) = (TOOL.to_string(), code(&app).await);
    let first = token(&app, &redemption(&client, &code)).await.json();
    let mut refresh = first["refresh_token"].as_str().expect("a token").to_owned();
    let ask = async |refresh: &str| {
        token(&app, &[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", refresh)])
            .await
    };
    for _ in 0..60 {
        let reply = ask(&refresh).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        refresh = reply.json()["refresh_token"].as_str().expect("a token").to_owned();
    }
    let reply = ask(&refresh).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "600"), "{}", reply.text());
    app.pass_ms(600_000);
    assert_eq!(ask(&refresh).await.status, 200);
}

#[tokio::test]
async fn a_session_ends_with_what_it_rests_on() {
    let changes = [
        Change::SetPassword {
            user: KIM,
            password: hash_password("another password", [1; 16]).expect("a password"),
            at: Second::new(NOW + 1),
        },
        Change::RemoveUser(KIM),
        Change::RemoveApplication(TOOL),
        Change::RemoveOrganisation(ACME),
    ];
    for change in changes {
        let app = app().await;
        let (client, code) = (TOOL.to_string(), code(&app).await);
        let waiting = self::code(&app).await;
        let first = token(&app, &redemption(&client, &code)).await.json();
        let refresh = first["refresh_token"].as_str().expect("a token");
        app.commit(change.clone()).await;
        let pairs = [("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", refresh)];
        assert_eq!(token(&app, &pairs).await.status, 400, "{change}");
        assert_eq!(token(&app, &redemption(&client, &waiting)).await.status, 400, "{change}");
    }
    // Nobody uses it for too long.
    let app = app().await;
    let (client, code) = (TOOL.to_string(), code(&app).await);
    let first = token(&app, &redemption(&client, &code)).await.json();
    let refresh = first["refresh_token"].as_str().expect("a token");
    app.pass_ms((90 * 86_400 + 1) * 1_000);
    let pairs = [("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", refresh)];
    check_error(&token(&app, &pairs).await, 400, "invalid_grant", 50_173);
}

#[tokio::test]
async fn a_device_code() {
    let app = app().await;
    let (device_code, user_code) = device(&app).await;
    check_error(&poll(&app, &device_code).await, 400, "authorization_pending", 70_016);
    assert!(app.anonymous("/device").await.text().contains("Enter the code"));
    assert_eq!(app.post("/device", "user_code=BBBB-BBBB").await.status, 400);
    let typed = user_code.to_lowercase().replace('-', " ");
    let page = app.post("/device", &form(&[("user_code", &typed)])).await.text();
    assert!(page.contains("read IP address profiles") && page.contains(&user_code), "{page}");
    let with = |password: &str| {
        form(&[("user_code", &user_code), ("username", "kim@acme.example"), ("password", password)])
    };
    assert_eq!(app.post("/device", &with("wrong")).await.status, 400);
    check_error(&poll(&app, &device_code).await, 400, "authorization_pending", 70_016);
    let page = app.post("/common/oauth2/deviceauth", &with(PASSWORD)).await.text();
    assert!(page.contains("The device is signed in"), "{page}");
    let reply = poll(&app, &device_code).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(claims(body["access_token"].as_str().expect("a token"))["scp"], "Ip.Read.All");
    assert!(body["refresh_token"].is_string() && body["id_token"].is_string());
    // Once only, whoever asks or types.
    check_error(&poll(&app, &device_code).await, 400, "expired_token", 70_020);
    assert_eq!(app.post("/device", &with(PASSWORD)).await.status, 400);
}

#[tokio::test]
async fn device_codes_that_come_to_nothing() {
    let app = app().await;
    let (device_code, user_code) = device(&app).await;
    let page = app.post("/device", &form(&[("user_code", &user_code), ("answer", "no")])).await.text();
    assert!(page.contains("Declined"), "{page}");
    check_error(&poll(&app, &device_code).await, 400, "access_denied", 70_018);
    check_error(&poll(&app, "made-up").await, 400, "expired_token", 70_020);
    let (device_code, user_code) = device(&app).await;
    app.pass_ms(901_000);
    check_error(&poll(&app, &device_code).await, 400, "expired_token", 70_020);
    assert_eq!(app.post("/device", &form(&[("user_code", &user_code)])).await.status, 400);
    // Of another application, and of one that may not.
    let (device_code, _) = device(&app).await;
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let (reader, secret) = (READER.to_string(), secret_of(READER));
    let pairs = [
        ("grant_type", grant),
        ("client_id", &*reader),
        ("client_secret", &*secret),
        ("device_code", &*device_code),
    ];
    check_error(&token(&app, &pairs).await, 400, "expired_token", 70_020);
    let pairs = [("client_id", &*reader), ("scope", "openid")];
    let reply = app.post(&format!("/{ACME}/oauth2/v2.0/devicecode"), &form(&pairs)).await;
    check_error(&reply, 400, "unauthorized_client", 70_002);
}

#[tokio::test]
async fn the_password_grant_where_it_is_allowed() {
    let app = app().await;
    let client = TOOL.to_string();
    let scope = format!("{RESOURCE}/.default");
    let with = |name: &str, password: &str| {
        form(&[
            ("grant_type", "password"),
            ("client_id", &client),
            ("username", name),
            ("password", password),
            ("scope", &scope),
        ])
    };
    let path = format!("/{ACME}/oauth2/v2.0/token");
    let reply = app.post(&path, &with("KIM@acme.example", PASSWORD)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.json()["refresh_token"].is_null(), "nobody asked for it");
    check_error(&app.post(&path, &with("kim@acme.example", "x")).await, 400, "invalid_grant", 50_126);
    // The v1 form, as a sample of the original has it; it gives a refresh token unasked.
    let pairs = [
        ("grant_type", "password"),
        ("client_id", &*client),
        ("username", "kim@acme.example"),
        ("password", PASSWORD),
        ("resource", RESOURCE),
    ];
    let reply = app.post(&format!("/{ACME}/oauth2/token"), &form(&pairs)).await;
    let access = claims(reply.json()["access_token"].as_str().expect("a token"));
    assert_eq!(
        (access["unique_name"].as_str(), access["ver"].as_str()),
        (Some("Kim@acme.example"), Some("1.0"))
    );
    assert!(reply.json()["refresh_token"].is_string());
    // Somebody of another organisation.
    app.commit(Change::AddUser(user(UserId(Uuid::from_u128(9)), OTHER, "lee"))).await;
    check_error(&app.post(&path, &with("lee", PASSWORD)).await, 400, "invalid_grant", 50_126);
    let off = SignIn { password: false, ..sign_in() };
    let change = Change::ChangeApplication { application: TOOL, permissions: None, sign_in: off.into() };
    app.commit(change).await;
    check_error(
        &app.post(&path, &with("kim@acme.example", PASSWORD)).await,
        400,
        "unauthorized_client",
        70_002,
    );
    assert_eq!(app.anonymous("/common/userrealm/kim@acme.example?api-version=1.0").await.status, 404);
}

#[tokio::test]
async fn a_public_application_has_no_secret_and_nothing_of_its_own() {
    let app = app().await;
    let client = TOOL.to_string();
    let scope = format!("{RESOURCE}/.default");
    let own = [("grant_type", "client_credentials"), ("client_id", &*client), ("scope", &*scope)];
    check_error(&token(&app, &own).await, 400, "unauthorized_client", 70_002);
    let mut with_secret = own.to_vec();
    with_secret.push(("client_secret", "x"));
    check_error(&token(&app, &with_secret).await, 401, "invalid_client", 700_025);
}

/// Two clients of the original sign people in with a secret and without PKCE.
#[tokio::test]
async fn a_confidential_application_needs_no_pkce() {
    let app = app().await;
    let change = Change::ChangeApplication {
        application: READER,
        permissions: None,
        sign_in: SignIn { public: false, ..sign_in() }.into(),
    };
    app.commit(change).await;
    let (reader, secret) = (READER.to_string(), secret_of(READER));
    let changes = [("client_id", &*reader), ("code_challenge", ""), ("code_challenge_method", "")];
    let typed = form(&[("username", "kim@acme.example"), ("password", PASSWORD)]);
    let back = sent_back(&app.post(&authorize(&changes), &typed).await, "http://localhost:51234");
    let mut pairs = redemption(&reader, value(&back, "code"));
    pairs.retain(|(name, _)| *name != "code_verifier");
    check_error(&token(&app, &pairs).await, 401, "invalid_client", 7_000_218);
    pairs.push(("client_secret", &secret));
    let reply = token(&app, &pairs).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(claims(reply.json()["access_token"].as_str().expect("a token"))["seenby_cred"].is_string());
}

/// A request as a network sends it.
async fn from(app: &TestApp, network: &str, path: &str, form: &str) -> Reply {
    let peer: std::net::SocketAddr = format!("{network}:1").parse().expect("a peer");
    let request = Request::post(path).extension(ConnectInfo(peer)).header("host", HOST);
    app.send(request.body(Body::from(form.to_owned())).expect("a request")).await
}

/// Whoever knows a public client id makes this server write: so often, and no more.
#[tokio::test]
async fn codes_for_devices_are_bounded_for_each_network() {
    let app = app().await;
    let path = format!("/{ACME}/oauth2/v2.0/devicecode");
    let asked = form(&[("client_id", &TOOL.to_string()), ("scope", "openid")]);
    for number in 0..60 {
        assert_eq!(from(&app, "192.0.2.1", &path, &asked).await.status, 200, "{number}");
    }
    app.pass_ms(100_500);
    let reply = from(&app, "192.0.2.1", &path, &asked).await;
    check_error(&reply, 429, "temporarily_unavailable", 50_196);
    assert_eq!(reply.header("retry-after"), "800");
    assert!(reply.json()["error_description"].as_str().is_some_and(|text| text.contains("in 800 s")));
    assert_eq!(from(&app, "192.0.2.2", &path, &asked).await.status, 200);
    // What is refused before it is written costs nobody anything.
    let unknown = form(&[("client_id", &READER.to_string()), ("scope", "openid")]);
    assert_eq!(from(&app, "192.0.2.1", &path, &unknown).await.status, 400);
    app.pass_ms(800_000);
    assert_eq!(from(&app, "192.0.2.1", &path, &asked).await.status, 200);
}

/// A flood from many networks with the id of one application ends at half of the room, and a network that somebody signed in from is served on.
#[tokio::test]
async fn codes_for_devices_are_bounded_for_the_server() {
    let app = app().await;
    let path = format!("/{ACME}/oauth2/v2.0/devicecode");
    let asked = form(&[("client_id", &TOOL.to_string()), ("scope", "openid")]);
    let typed = form(&[("username", "kim@acme.example"), ("password", PASSWORD)]);
    assert_eq!(from(&app, "192.0.2.1", &authorize(&[]), &typed).await.status, 303);
    for number in 0..500 {
        let network = format!("[2001:db8:{number:x}::1]");
        assert_eq!(from(&app, &network, &path, &asked).await.status, 200, "{number}");
    }
    let reply = from(&app, "192.0.2.2", &path, &asked).await;
    check_error(&reply, 503, "temporarily_unavailable", 90_033);
    assert_eq!(reply.header("retry-after"), "900");
    assert_eq!(from(&app, "192.0.2.1", &path, &asked).await.status, 200);
}

#[tokio::test]
async fn made_up_codes_of_devices_are_bounded_for_each_network() {
    let app = app().await;
    let (_, user_code) = device(&app).await;
    let real = form(&[("user_code", &user_code)]);
    for _ in 0..30 {
        assert_eq!(from(&app, "192.0.2.1", "/device", &real).await.status, 200);
        assert_eq!(from(&app, "192.0.2.1", "/device", "user_code=BBBB-BBBB").await.status, 400);
        assert_eq!(from(&app, "192.0.2.9", "/device", &real).await.status, 200);
        assert_eq!(from(&app, "192.0.2.1", "/device", "user_code=short").await.status, 400);
    }
    for typed in ["user_code=BBBB-BBBB", &real] {
        let reply = from(&app, "192.0.2.1", "/common/oauth2/deviceauth", typed).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "900"), "{}", reply.text());
        assert!(reply.text().contains("Try again in 900 s"), "{}", reply.text());
    }
    assert_eq!(from(&app, "192.0.2.2", "/device", &real).await.status, 200);
    app.pass_ms(900_000);
    assert_eq!(from(&app, "192.0.2.1", "/device", "user_code=BBBB-BBBB").await.status, 400);
}
