//! The built-in issuer's endpoints and pages: credentials that prove nothing, things stolen from another client, PKCE left out,
//! people sent elsewhere, markup and line breaks in everything that a page or a header shows.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::{Outcome, empty, with_token};
use crate::common::certified::{ask, assertion, claims, endpoint, good, keyed, signed, thumbprint};
use crate::common::people::{
    CHALLENGE, PASSWORD, TOOL, VERIFIER, authorize, code, device, form, redemption, token,
};
use crate::common::{
    ACME, HOST, NOW, OTHER, POWERLESS, READER, RESOURCE, Reply, STRANGER, TestApp, changed, get, secret_of,
};

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(crate) async fn outcomes(app: &TestApp) -> Vec<Outcome> {
    let mut outcomes = assertions(app).await;
    outcomes.extend(clients(app).await);
    outcomes.extend(theft(app).await);
    outcomes.extend(redirects(app).await);
    outcomes.extend(downgrades(app).await);
    outcomes.extend(markup(app).await);
    outcomes
}

async fn assertions(app: &TestApp) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, assertion, said) in bad_assertions() {
        let reply = ask(app, &assertion).await;
        let body = reply.json();
        let found = (body["error"].as_str(), body["error_codes"][0].as_u64());
        assert_eq!(found, (Some("invalid_client"), Some(700_027)), "{name}: {}", reply.text());
        assert!(reply.text().contains(said), "{name}: {}", reply.text());
        outcomes.push(Outcome::new("assertion", name, 401, reply).having_sent(&assertion));
    }
    let once = assertion(&json!({}), &claims("once"));
    assert_eq!(ask(app, &once).await.status, 200);
    outcomes.push(Outcome::new("assertion", "replayed", 401, ask(app, &once).await).having_sent(&once));
    let anew = assertion(&json!({}), &changed(claims("once"), &json!({"exp": NOW + 300})));
    outcomes.push(Outcome::new("assertion", "replayed, signed anew", 401, ask(app, &anew).await));
    outcomes
}

fn bad_assertions() -> Vec<(&'static str, String, &'static str)> {
    let other = keyed(i64::from(NOW) - 1_000, i64::from(NOW) + 86_400);
    let header = json!({"typ": "JWT", "alg": "RS256", "x5t": thumbprint()});
    let text = claims("x").to_string();
    let with = |header: Value, claims_: Value| assertion(&header, &changed(claims("x"), &claims_));
    let hs256 = {
        let header = changed(header.clone(), &json!({"alg": "HS256"}));
        signed(&header, &text, &EncodingKey::from_secret(good().pem.as_bytes()), Algorithm::HS256)
    };
    let unsigned = |alg: &str| {
        let header = changed(header.clone(), &json!({"alg": alg}));
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(&text))
    };
    vec![
        ("a word", "x".to_owned(), "it is no JWT"),
        ("not JSON", signed(&json!("x"), "x", &good().key, Algorithm::RS256), "it is no JWT"),
        ("too long", "x".repeat(20_000), "it is no JWT"),
        ("alg none", unsigned("none"), "its header"),
        ("alg None", unsigned("None"), "its header"),
        ("no signature", unsigned("RS256"), "its signature"),
        ("HS256 with the certificate", hs256, "its header"),
        ("RS384", with(json!({"alg": "RS384"}), json!({})), "its header"),
        ("RS256 called PS256", with(json!({"alg": "PS256"}), json!({})), "its signature"),
        ("another key", signed(&header, &text, &other.key, Algorithm::RS256), "its signature"),
        ("no thumbprint", with(json!({"x5t": null}), json!({})), "its header"),
        ("an unknown one", with(json!({"x5t": "AAAA"}), json!({})), "its thumbprint"),
        (
            "another certificate's",
            with(json!({"x5t": URL_SAFE.encode(other.certificate.sha1)}), json!({})),
            "its thumbprint",
        ),
        ("two that differ", with(json!({"x5t#S256": "AAAA"}), json!({})), "its thumbprint"),
        ("jku", with(json!({"jku": "https://evil.example"}), json!({})), "its header"),
        ("jwk", with(json!({"jwk": {"kty": "RSA"}}), json!({})), "its header"),
        ("x5u", with(json!({"x5u": "https://evil.example"}), json!({})), "its header"),
        ("crit", with(json!({"crit": ["x"]}), json!({})), "its header"),
        ("another issuer", with(json!({}), json!({"iss": POWERLESS.to_string()})), "its iss and sub"),
        ("another subject", with(json!({}), json!({"sub": POWERLESS.to_string()})), "its iss and sub"),
        ("no subject", with(json!({}), json!({"sub": null})), "it is no JWT"),
        (
            "another server",
            with(json!({}), json!({"aud": "https://login.example/x/oauth2/v2.0/token"})),
            "its aud",
        ),
        (
            "another tenant",
            with(
                json!({}),
                json!({"aud": format!("http://api.securitycenter.microsoft.com/{OTHER}/oauth2/v2.0/token")}),
            ),
            "its aud",
        ),
        (
            "another path",
            with(json!({}), json!({"aud": format!("http://api.securitycenter.microsoft.com/{ACME}/oauth2")})),
            "its aud",
        ),
        ("a prefix", with(json!({}), json!({"aud": format!("{}/x", endpoint())})), "its aud"),
        ("no audience", with(json!({}), json!({"aud": null})), "it is no JWT"),
        ("no jti", with(json!({}), json!({"jti": null})), "it is no JWT"),
        ("an empty jti", with(json!({}), json!({"jti": ""})), "it is no JWT"),
        ("a long jti", with(json!({}), json!({"jti": "x".repeat(257)})), "it is no JWT"),
        ("expired", with(json!({}), json!({"exp": NOW - 301})), "it has expired"),
        ("a long life", with(json!({}), json!({"exp": NOW + 3_901})), "it has expired"),
        ("endless", with(json!({}), json!({"exp": 1e300})), "it has expired"),
        ("no exp", with(json!({}), json!({"exp": null})), "it is no JWT"),
        ("exp as text", with(json!({}), json!({"exp": "99"})), "it is no JWT"),
        ("not yet valid", with(json!({}), json!({"nbf": NOW + 301})), "it is not valid yet"),
        ("made tomorrow", with(json!({}), json!({"iat": NOW + 86_400})), "it is not valid yet"),
        (
            "a claim twice",
            signed(&header, &text.replacen('{', "{\"exp\":1,", 1), &good().key, Algorithm::RS256),
            "it is no JWT",
        ),
    ]
}

fn token_path() -> String {
    format!("/{ACME}/oauth2/v2.0/token")
}

/// Clients that are not who they say.
async fn clients(app: &TestApp) -> Vec<Outcome> {
    let (reader, stranger, scope) =
        (READER.to_string(), STRANGER.to_string(), format!("{RESOURCE}/.default"));
    let (secret, of_stranger) = (secret_of(READER), secret_of(STRANGER));
    let own = |client: &str, secret: &str| {
        form(&[
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", &scope),
        ])
    };
    let good = own(&reader, &secret);
    let mut outcomes = Vec::new();
    for (name, path, form, status) in [
        ("another's secret", token_path(), own(&reader, &of_stranger), 401),
        ("no secret", token_path(), own(&reader, ""), 401),
        ("a secret with a null byte", token_path(), own(&reader, &format!("{secret}\0")), 401),
        ("a secret in other letters", token_path(), own(&reader, &secret.to_lowercase()), 401),
        ("the beginning of a secret", token_path(), own(&reader, &secret[..secret.len() - 1]), 401),
        ("a very long secret", token_path(), own(&reader, &"x".repeat(30_000)), 401),
        ("a hash in place of the secret", token_path(), own(&reader, &STANDARD.encode([7; 32])), 401),
        ("another organisation's application", token_path(), own(&stranger, &of_stranger), 400),
        ("a client id with a null byte", token_path(), own(&format!("{reader}\0"), &secret), 400),
        ("a client id with markup", token_path(), own("\"><xss>", &secret), 400),
        ("a client id with line breaks", token_path(), own("x\r\nX-Injected: 1", &secret), 400),
        ("the client id twice", token_path(), format!("{good}&client_id={reader}"), 400),
        ("the client id twice, escaped", token_path(), format!("{good}&client%5fid={stranger}"), 400),
        ("the secret twice", token_path(), format!("{good}&client_secret=x"), 400),
        ("the grant twice", token_path(), format!("{good}&grant_type=password"), 400),
        ("a secret and an assertion", token_path(), format!("{good}&client_assertion=x"), 400),
        ("a secret in the query", format!("{}?client_secret={secret}", token_path()), own(&reader, ""), 401),
        ("everything in the query", format!("{}?{good}", token_path()), String::new(), 400),
        ("the other's tenant", format!("/{OTHER}/oauth2/v2.0/token"), good.clone(), 400),
        ("the other's tenant by name", "/other/oauth2/v2.0/token".to_owned(), good.clone(), 400),
        ("a tenant with a null byte", "/acme%00/oauth2/v2.0/token".to_owned(), good.clone(), 400),
        (
            "a tenant with line breaks",
            "/acme%0d%0aX-Injected:%201/oauth2/v2.0/token".to_owned(),
            good.clone(),
            400,
        ),
        ("a tenant that climbs", "/..%2facme/oauth2/v2.0/token".to_owned(), good.clone(), 400),
        ("a tenant that is not UTF-8", "/%ff/oauth2/v2.0/token".to_owned(), good.clone(), 400),
        ("a tenant with markup", "/%3Cxss%3E/oauth2/v2.0/token".to_owned(), good.clone(), 400),
        ("a resource that is not served", token_path(), good.replace("securitycenter", "evil"), 400),
        ("two resources", token_path(), good.clone() + "+https://graph.microsoft.com/.default", 400),
        ("a form that is too large", token_path(), format!("{good}&x={}", "x".repeat(70_000)), 400),
        ("a form of separators", token_path(), "&".repeat(60_000), 400),
        (
            "JSON",
            token_path(),
            format!("{{\"grant_type\":\"client_credentials\",\"client_id\":\"{reader}\"}}"),
            400,
        ),
        ("bytes", token_path(), "\u{0}\u{1}\u{7f}=\u{fffd}".to_owned(), 400),
        (
            "another's assertion grant",
            token_path(),
            good.replace("client%5Fcredentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            400,
        ),
        (
            "an exchange of tokens",
            token_path(),
            good.replace("client%5Fcredentials", "urn:ietf:params:oauth:grant-type:token-exchange"),
            400,
        ),
        ("the implicit grant", token_path(), good.replace("client%5Fcredentials", "implicit"), 400),
        ("a grant with markup", token_path(), good.replace("client%5Fcredentials", "%3Cxss%3E"), 400),
        ("a public client with a secret", token_path(), own(&TOOL.to_string(), &secret), 401),
        ("a public client for itself", token_path(), own(&TOOL.to_string(), ""), 400),
    ] {
        let reply = app.post(&path, &form).await;
        outcomes.push(Outcome::new("client", name, status, reply));
    }
    let basic = |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let rest = form(&[("grant_type", "client_credentials"), ("scope", &scope)]);
    for (name, headers, status) in [
        ("two Basic headers", vec![basic(&reader, &secret), basic(&stranger, &of_stranger)], 400),
        ("two Basic headers, one empty", vec![String::new(), basic(&reader, &secret)], 400),
        ("Basic with another's secret", vec![basic(&reader, &of_stranger)], 401),
        ("Basic without a colon", vec![format!("Basic {}", STANDARD.encode(&reader))], 400),
        ("Basic that is not base64", vec!["Basic %%%".to_owned()], 400),
        ("Basic with a null byte", vec![basic(&format!("{reader}\0"), &secret)], 400),
        ("Bearer", vec![format!("Bearer {secret}")], 400),
    ] {
        let mut request = Request::post(token_path()).header("host", HOST);
        for header in headers {
            request = request.header("authorization", header);
        }
        let reply = app.send(request.body(Body::from(rest.clone())).expect("a request")).await;
        outcomes.push(Outcome::new("client", name, status, reply));
    }
    outcomes
}

/// Codes and tokens in the hands of another client, or of another kind.
async fn theft(app: &TestApp) -> Vec<Outcome> {
    let (tool, reader, secret) = (TOOL.to_string(), READER.to_string(), secret_of(READER));
    let mut outcomes = Vec::new();
    let mut add = |name: &str, status, reply: Reply, sent: &str| {
        outcomes.push(Outcome::new("theft", name, status, reply).having_sent(sent));
    };
    let as_reader = |code: &str| {
        let code = code.to_owned();
        let (reader, secret) = (reader.clone(), secret.clone());
        async move {
            let mut pairs = redemption(&reader, &code);
            pairs.push(("client_secret", &secret));
            token(app, &pairs).await
        }
    };
    let stolen = code(app).await;
    add("a code by another client", 400, as_reader(&stolen).await, &stolen);
    let stolen = code(app).await;
    add(
        "a code by a client without its secret",
        401,
        token(app, &redemption(&reader, &stolen)).await,
        &stolen,
    );
    let with = |code: &str, name: &str, value: &str| {
        let pairs = redemption(&tool, code);
        let pairs: Vec<(String, String)> = pairs
            .into_iter()
            .filter(|(it, _)| *it != name)
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        let mut pairs = pairs;
        if !value.is_empty() {
            pairs.push((name.to_owned(), value.to_owned()));
        }
        async move {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
            token(app, &pairs).await
        }
    };
    for (name, field, value) in [
        ("a code without its verifier", "code_verifier", ""),
        ("a code with the challenge as verifier", "code_verifier", CHALLENGE),
        ("a code with another verifier", "code_verifier", "x"),
        ("a code with a padded verifier", "code_verifier", &*format!("{VERIFIER}=")),
        ("a code with a null byte in the verifier", "code_verifier", &*format!("{VERIFIER}\0")),
        ("a code with a very long verifier", "code_verifier", &*"x".repeat(10_000)),
        ("a code for another redirect URI", "redirect_uri", "https://tool.example/back?x=1"),
        ("a code for another port", "redirect_uri", "http://localhost:51235"),
        ("a code without a redirect URI", "redirect_uri", ""),
        ("a code with a path behind its redirect URI", "redirect_uri", "http://localhost:51234/"),
        ("no code", "code", ""),
        ("a made-up code", "code", "AAAA"),
        ("an empty challenge's code", "code", "%00"),
    ] {
        let code = code(app).await;
        add(name, 400, with(&code, field, value).await, &code);
    }
    let first = code(app).await;
    let granted = token(app, &redemption(&tool, &first)).await.json();
    let text = |name: &str| granted[name].as_str().expect("text").to_owned();
    let (access, id, refresh) = (text("access_token"), text("id_token"), text("refresh_token"));
    let refreshed = async |pairs: &[(&str, &str)], refresh: &str| {
        let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", refresh)];
        all.extend(pairs);
        token(app, &all).await
    };
    let as_other = [("client_id", &*reader), ("client_secret", &*secret)];
    add("a refresh token by another client", 400, refreshed(&as_other, &refresh).await, &refresh);
    add("a refresh token without a client", 400, refreshed(&[], &refresh).await, &refresh);
    add(
        "a refresh token without its client's secret",
        401,
        refreshed(&as_other[..1], &refresh).await,
        &refresh,
    );
    let as_tool = [("client_id", &*tool)];
    for (name, thing) in [
        ("an access token as refresh token", &access),
        ("an id token as refresh token", &id),
        ("a code as refresh token", &first),
        ("a refresh token with a null byte", &format!("{refresh}\0")),
        ("a refresh token with a space", &format!("{refresh} ")),
    ] {
        add(name, 400, refreshed(&as_tool, thing).await, thing);
    }
    let more = [("client_id", &*tool), ("scope", &*format!("{RESOURCE}/Seenby.Manage"))];
    add("a refresh token for more", 400, refreshed(&more, &refresh).await, &refresh);
    add("a refresh token as code", 400, with("x", "code", &refresh).await, &refresh);
    let (device_code, user_code) = device(app).await;
    let polled = async |pairs: &[(&str, &str)]| {
        let mut all = vec![("grant_type", DEVICE_GRANT)];
        all.extend(pairs);
        token(app, &all).await
    };
    let by_other = [("client_id", &*reader), ("client_secret", &*secret), ("device_code", &*device_code)];
    add("a device's code by another client", 400, polled(&by_other).await, &device_code);
    for (name, code) in [
        ("a user's code as device's code", &*user_code),
        ("a code as device's code", &*first),
        ("a refresh token as device's code", &*refresh),
        ("a device's code before anybody typed it", &*device_code),
        ("a device's code in other letters", &*device_code.to_lowercase()),
    ] {
        add(name, 400, polled(&[("client_id", &tool), ("device_code", code)]).await, code);
    }
    add(
        "a device's code typed as user's code",
        400,
        app.post("/device", &form(&[("user_code", &device_code)])).await,
        "",
    );
    // A second use ends what came of the first.
    add("a code again", 400, token(app, &redemption(&tool, &first)).await, &first);
    add("a refresh token of a code that came again", 400, refreshed(&as_tool, &refresh).await, &refresh);
    outcomes.push(with_token(app, "theft", "an id token as access token", &id, 401).await);
    outcomes.push(with_token(app, "theft", "a refresh token as access token", &refresh, 401).await);
    outcomes.push(with_token(app, "theft", "a code as access token", &first, 401).await);
    outcomes.push(with_token(app, "theft", "a secret as access token", &secret, 401).await);
    outcomes
}

/// Nobody is sent where the application has no place.
async fn redirects(app: &TestApp) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for uri in [
        "https://evil.example/",
        "//evil.example",
        "https:evil.example",
        "https://tool.example",
        "https://tool.example/",
        "https://tool.example/back",
        "https://tool.example/back?x=1&y=2",
        "https://tool.example/back?x=1#y",
        "https://tool.example/back/../evil?x=1",
        "https://tool.example/back%3fx=1",
        "https://tool.example/Back?x=1",
        "https://TOOL.example/back?x=1",
        "https://tool.example:444/back?x=1",
        "https://tool.example@evil.example/back?x=1",
        "https://tool.example.evil.example/back?x=1",
        "https://tool.example\\@evil.example/back?x=1",
        "http://tool.example/back?x=1",
        "https://tool.example/back?x=1\0",
        "https://tool.example/back?x=1\r\nX-Injected: 1",
        " https://tool.example/back?x=1",
        "http://localhost:51234@evil.example/",
        "http://localhost@evil.example/",
        "http://localhost.evil.example/",
        "http://localhost:1/\r\nX-Injected: 1",
        "http://localhost:port",
        "http://localhost:51234/evil",
        "http://localhost:51234?x=1",
        "http://localhost:51234#x",
        "http://127.0.0.1:51234",
        "http://[::1]:51234",
        "https://localhost:51234",
        "javascript:alert(1)",
        "data:text/html,<xss>",
        "file:///etc/passwd",
        "urn:ietf:wg:oauth:2.0:oob",
        "\"><xss>",
    ] {
        for (how, reply) in [
            ("asked", app.anonymous(&authorize(&[("redirect_uri", uri)])).await),
            ("declined", app.post(&authorize(&[("redirect_uri", uri)]), "answer=no").await),
        ] {
            outcomes.push(Outcome::new("redirect", &format!("{uri:?} {how}"), 400, reply));
        }
    }
    let again = format!("{}&redirect_uri=https%3A%2F%2Fevil.example", authorize(&[]));
    outcomes.push(Outcome::new("redirect", "two URIs", 400, app.anonymous(&again).await));
    let client = format!("{}&client_id={READER}", authorize(&[]));
    outcomes.push(Outcome::new("redirect", "two clients", 400, app.anonymous(&client).await));
    for tenant in ["other", "acme%0d%0aX-Injected:%201", "..%2f", "%00", "%3Cxss%3E"] {
        let path = authorize(&[]).replacen(&ACME.to_string(), tenant, 1);
        let reply = app.anonymous(&path).await;
        outcomes.push(Outcome::new("redirect", &format!("tenant {tenant}"), 400, reply));
    }
    outcomes
}

/// Less protection than the client has, or more than it may: told to the client, in its own place.
async fn downgrades(app: &TestApp) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let line = "x\r\nX-Injected: 1";
    for (name, changes) in [
        ("no challenge", vec![("code_challenge", "")]),
        ("no method", vec![("code_challenge_method", "")]),
        ("the plain method", vec![("code_challenge_method", "plain")]),
        ("the method in small letters", vec![("code_challenge_method", "s256")]),
        ("neither", vec![("code_challenge", ""), ("code_challenge_method", "")]),
        ("a very long challenge", vec![("code_challenge", &*"x".repeat(129))]),
        ("a token in the fragment", vec![("response_type", "token")]),
        ("an id token", vec![("response_type", "id_token")]),
        ("both", vec![("response_type", "code id_token")]),
        ("no response type", vec![("response_type", "")]),
        ("a scope that was not given", vec![("scope", &*format!("{RESOURCE}/Seenby.Manage"))]),
        ("another resource", vec![("scope", "https://graph.microsoft.com/.default")]),
        ("line breaks in the state", vec![("response_type", "x"), ("state", line)]),
        ("line breaks in the scope", vec![("scope", line)]),
        ("a null byte in the state", vec![("response_type", "x"), ("state", "\0")]),
        ("parameters in the state", vec![("response_type", "x"), ("state", "a&code=stolen#x")]),
        ("markup in the state", vec![("response_type", "x"), ("state", "\"><xss>")]),
        ("a very long state", vec![("response_type", "x"), ("state", &*"s".repeat(8_000))]),
    ] {
        let reply = app.anonymous(&authorize(&changes)).await;
        let location = reply.header("location").to_owned();
        assert!(
            !location.contains("&code=") && !location.contains(['\r', '\n', '<', '"']),
            "{name}: {location}"
        );
        outcomes.push(Outcome::new("downgrade", name, 303, reply).may_go_to("http://localhost:51234?error="));
    }
    for mode in ["web_message", "fragment.jwt", "form_post\r\n", "<xss>"] {
        let reply = app.anonymous(&authorize(&[("response_mode", mode)])).await;
        outcomes.push(Outcome::new("downgrade", &format!("response mode {mode:?}"), 400, reply));
    }
    outcomes
}

/// Pages show what callers wrote as text, and nothing frames them.
async fn markup(app: &TestApp) -> Vec<Outcome> {
    let hostile = "\"'><xss onload=alert(1)>{{7*7}}";
    let mut outcomes = Vec::new();
    let mut add = |name: &str, status, reply: Reply| {
        assert!(!reply.text().contains(">49"), "{name}");
        outcomes.push(Outcome::new("markup", name, status, reply));
    };
    for name in ["client_id", "redirect_uri", "response_mode"] {
        add(name, 400, app.anonymous(&authorize(&[(name, hostile)])).await);
    }
    for name in ["login_hint", "nonce", "state", "prompt", "domain_hint", "claims"] {
        add(name, 200, app.anonymous(&authorize(&[(name, hostile)])).await);
    }
    let typed = form(&[("username", hostile), ("password", hostile)]);
    add("username", 400, app.post(&authorize(&[]), &typed).await);
    let posted = authorize(&[("response_mode", "form_post"), ("state", hostile)]);
    let declined = app.post(&posted, "answer=no").await;
    let text = declined.text();
    assert_eq!(text.matches("<script nonce=").count(), 1, "{text}");
    let policy = declined.header("content-security-policy").to_owned();
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    assert!(text.contains(&format!("<script nonce=\"{nonce}\">")), "{text}");
    let without_script = Reply { body: text.replace("<script nonce=", "").into_bytes(), ..declined };
    add("state in a form", 200, without_script);
    let query = form(&[("user_code", hostile)]);
    add("a device's code in the query", 200, app.anonymous(&format!("/device?{query}")).await);
    add("a device's code", 400, app.post("/device", &query).await);
    add("a device's code under its older path", 400, app.post("/%3Cxss%3E/oauth2/deviceauth", &query).await);
    let (_, user_code) = device(app).await;
    add("the name of the application", 200, app.post("/device", &form(&[("user_code", &user_code)])).await);
    let typed = form(&[("user_code", &user_code), ("username", hostile), ("password", "x")]);
    add("the name that a device's user types", 400, app.post("/device", &typed).await);
    for site in ["cross-site", "same-site", "<xss>"] {
        let request = Request::post(authorize(&[])).header("host", HOST).header("sec-fetch-site", site);
        let body = Body::from(form(&[("username", "kim@acme.example"), ("password", PASSWORD)]));
        add(
            &format!("a form of a site that is {site}"),
            400,
            app.send(request.body(body).expect("a request")).await,
        );
    }
    for site in ["https://evil.example", "null"] {
        let request = Request::post(authorize(&[])).header("host", HOST).header("origin", site);
        let body = Body::from(form(&[("username", "kim@acme.example"), ("password", PASSWORD)]));
        add(
            &format!("a form of the origin {site}"),
            400,
            app.send(request.body(body).expect("a request")).await,
        );
    }
    let referer = HeaderValue::from_static("https://evil.example/<xss>");
    add("the docs", 200, app.send(empty(get("/docs?x=%3Cxss%3E").header("referer", referer))).await);
    outcomes
}
