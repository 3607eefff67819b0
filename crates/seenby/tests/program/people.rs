//! Accounts, and applications that people sign in through or that have certificates, by the real program: on a folder of its
//! own and through a server. Refuses to hold: the ways to sign in (the HTTP room's), but for the one that shows that an
//! account is one.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Place, Run, Server, check_text};

/// A certificate of somebody, as PEM.
fn certificate(place: &Place, name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> PathBuf {
    let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    place.write(&format!("{name}.pem"), params.self_signed(&key).expect("signed").pem())
}

fn rsa(place: &Place, name: &str) -> PathBuf {
    certificate(place, name, &rcgen::PKCS_RSA_SHA256)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// Everything that can be done with accounts.
fn every_command_of_accounts(place: &Place) {
    let run = |arguments: &[&str]| place.run(arguments).ends(0);
    run(&["role", "add", "analysts", "--permission", "view-data"]);
    run(&["role", "add", "admins", "--permission", "manage-roles"]);
    let added =
        run(&["user", "add", "kim@example.org", "--role", "analysts", "--role", "Admins", "--json"]).json();
    let password = added["password"].as_str().expect("a password");
    assert_eq!(password.split('-').map(str::len).collect::<Vec<_>>(), [4; 6], "{password}");
    let shown = run(&["user", "show", "Kim@Example.org", "--json"]).json();
    assert_eq!(shown["roles"], json!(["admins", "analysts"]));
    assert_eq!(shown["permissions"], json!(["view-data", "manage-roles"]));
    assert_eq!((&shown["id"], &shown["name"]), (&added["user"], &json!("kim@example.org")));
    let id = added["user"].as_str().expect("an id");
    let text = run(&["user", "show", id]).stdout;
    assert!(text.contains("  roles        admins, analysts\n"), "{text}");
    place.run(["user", "add", "KIM@example.org"]).ends(2);

    // A password of their own is not repeated.
    let lee = place.feed(["user", "add", "lee", "--password-stdin"], b"correct horse battery\r\n").ends(0);
    assert!(lee.stderr.contains("role grant ROLE --user lee"), "{}", lee.stderr);
    assert!(!lee.stdout.contains("correct") && !lee.stdout.contains("password"), "{}", lee.stdout);
    let wrong: [(&[u8], &str); 4] = [
        (b"short", "at least 12 characters"),
        (b"correct horse\nbattery", "several lines"),
        (b"\xff\xfe\xff\xfe", "not UTF-8"),
        (&[b'x'; 5_000], "at most 1024 bytes"),
    ];
    for (input, says) in wrong {
        let run = place.feed(["user", "password", "lee", "--password-stdin"], input).ends(2);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    place.feed(["user", "password", "lee", "--password-stdin"], b"another horse battery").ends(0);
    let other = run(&["user", "password", "kim@example.org", "--json"]).json();
    assert_ne!(other["password"], added["password"]);
    assert_eq!(other["user"], added["user"]);

    let outside = ["role", "grant", "admins", "--group", "g1", "--issuer", "https://login.example.org"];
    run(&outside);
    let list = run(&["user", "list", "--json"]).json();
    let names: Vec<&Value> = list.as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, [&json!("kim@example.org"), &json!("lee"), &Value::Null]);
    assert!(list[0]["password_set_at"].is_string() && list[2]["password_set_at"].is_null(), "{list}");
    let table = run(&["user", "list"]).stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    let members = run(&["role", "show", "analysts"]).stdout;
    assert!(members.contains(&format!("  user         kim@example.org ({id})\n")), "{members}");

    let asked = place.run(["user", "remove", "kim@example.org"]).ends(5).stderr;
    assert!(asked.contains("takes its 2 roles"), "{asked}");
    run(&["user", "remove", "kim@example.org", "--yes"]);
    place.run(["user", "show", id]).ends(2);
    assert_eq!(run(&["role", "show", "analysts", "--json"]).json()["members"], json!([]));
}

#[test]
fn accounts_alone_and_while_a_server_holds_the_folder() {
    every_command_of_accounts(&Place::new());
    let place = Place::new();
    let server = place.serve();
    every_command_of_accounts(&place);
    assert_eq!(server.stop(), 0);
    assert_eq!(place.run(["user", "list", "--json"]).ends(0).json()[0]["name"], "lee");
}

/// The token that somebody gets for a password, if they get one.
fn sign_in(server: &Server, application: &Value, name: &str, password: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let form = format!(
        "grant_type=password&client_id={}&username={name}&password={}&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default",
        text(&application["client_id"]),
        text(password)
    );
    let path = format!("/{}/oauth2/v2.0/token", text(&application["tenant"]));
    let (status, body) = server.post_form(&path, &form);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status == 200, body["access_token"].is_string(), "{body}");
    body["access_token"].as_str().map(str::to_owned)
}

/// What a command changes holds at the next request.
#[test]
fn an_account_signs_in_as_long_as_it_is_there() {
    let place = Place::new();
    let server = place.serve();
    let run = |arguments: &[&str]| place.run(arguments).ends(0);
    let tool = ["app", "add", "tool", "--public", "--delegated", "Ip.Read.All", "--json"];
    let tool = run(&tool).json();
    run(&["role", "add", "analysts", "--permission", "view-data"]);
    let kim = run(&["user", "add", "kim", "--role", "analysts", "--json"]).json();
    assert!(sign_in(&server, &tool, "kim", &kim["password"]).is_none(), "not in that way");
    run(&["app", "change", "tool", "--password-grant"]);
    assert!(sign_in(&server, &tool, "KIM", &kim["password"]).is_some());
    let other = run(&["user", "password", "kim", "--json"]).json();
    assert!(sign_in(&server, &tool, "kim", &kim["password"]).is_none(), "the old password");
    assert!(sign_in(&server, &tool, "kim", &other["password"]).is_some());
    run(&["user", "remove", "kim", "--yes"]);
    assert!(sign_in(&server, &tool, "kim", &other["password"]).is_none(), "nobody");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_password_is_kept_as_its_hash_only() {
    let place = Place::new();
    let added = place.run(["user", "add", "kim", "--json"]).ends(0).json();
    place.feed(["user", "add", "lee", "--password-stdin"], b"correct horse battery").ends(0);
    let file = std::fs::read(place.data.join("directory.redb")).expect("readable");
    let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("$argon2id$v=19$"));
    assert!(!holds("correct horse") && !holds(added["password"].as_str().expect("a password")));
    let audit = place.run(["audit"]).ends(0).stdout;
    assert!(audit.contains("added user") && !audit.contains("argon2"), "{audit}");
}

/// Everything that can be done with how people sign in through an application, and with certificates.
fn every_command_of_applications(place: &Place) {
    let run = |arguments: &[&str]| place.run(arguments).ends(0);
    let added = run(&[
        "app",
        "add",
        "hunting",
        "--public",
        "--delegated",
        "Ip.Read.All",
        "--redirect-uri",
        "http://localhost",
        "--redirect-uri",
        "https://soar.example/back",
        "--device-code",
        "--json",
    ])
    .json();
    assert_eq!(added.as_object().map(serde_json::Map::len), Some(2), "no secret: {added}");
    let show = || run(&["app", "show", "hunting", "--json"]).json();
    let shown = show();
    assert_eq!(shown["delegated"], json!(["Ip.Read.All"]));
    assert_eq!(texts(&shown["redirect_uris"]), ["http://localhost", "https://soar.example/back"]);
    let flags = |shown: &Value| ["device_code", "password_grant", "public"].map(|key| shown[key] == true);
    assert_eq!(flags(&shown), [true, false, true]);
    let refused = place.run(["app", "rotate", "hunting"]).ends(2).stderr;
    assert!(refused.contains("it can keep no secret"), "{refused}");

    run(&["app", "change", "hunting", "--no-device-code", "--no-redirect-uris", "--password-grant"]);
    let shown = show();
    assert_eq!((flags(&shown), &shown["redirect_uris"]), ([false, true, true], &json!([])));
    assert_eq!(shown["delegated"], json!(["Ip.Read.All"]), "what was not named stays");
    run(&["app", "change", "hunting", "--permission", "Seenby.Manage", "--no-delegated", "--no-public"]);
    let shown = show();
    assert_eq!((&shown["permissions"], &shown["delegated"]), (&json!(["Seenby.Manage"]), &json!([])));
    // What is so already is no mistake, and no line of the audit log.
    let changes = || run(&["audit", "--json"]).json().as_array().map(Vec::len);
    let before = changes();
    run(&["app", "change", "hunting", "--no-public"]);
    assert_eq!(changes(), before);
    let nothing = place.run(["app", "change", "hunting"]).ends(2).stderr;
    assert!(nothing.contains("say what changes"), "{nothing}");
    let secret = run(&["app", "rotate", "hunting"]).stdout;
    assert!(secret.starts_with("'hunting' has a secret now."), "{secret}");
    let refused = place.run(["app", "change", "hunting", "--public"]).ends(2).stderr;
    assert!(refused.contains("seenby app add NAME --public"), "{refused}");

    let (first, second) = (rsa(place, "first"), rsa(place, "second"));
    let (first, second) = (first.to_str().expect("UTF-8"), second.to_str().expect("UTF-8"));
    let added = run(&["app", "add", "daemon", "--certificate", first, "--json"]).json();
    assert!(added.get("client_secret").is_none(), "{added}");
    let both = run(&["app", "add", "both", "--certificate", first, "--secret", "--json"]).json();
    assert_eq!((both["client_secret"].is_string(), &both["certificates"]), (true, &added["certificates"]));
    let second = run(&["app", "certificate", "add", "daemon", second, "--json"]).json();
    let list = run(&["app", "certificate", "list", "daemon", "--json"]).json();
    assert_eq!((&list[0]["sha256"], &list[1]["sha256"]), (&added["certificates"][0], &second["sha256"]));
    assert_eq!(run(&["app", "show", "daemon", "--json"]).json()["certificates"], list);
    let text = run(&["app", "list"]).stdout;
    assert!(text.contains("CERTIFICATES") && text.contains("FOR PEOPLE"), "{text}");

    let sha256 = second["sha256"].as_str().expect("a thumbprint");
    let pairs: Vec<&str> = (0..8).map(|at| &sha256[2 * at..2 * at + 2]).collect();
    let colons = pairs.join(":").to_uppercase();
    let asked = place.run(["app", "certificate", "remove", "daemon", &colons]).ends(5).stderr;
    assert!(asked.contains(sha256), "{asked}");
    run(&["app", "certificate", "remove", "daemon", &colons, "--yes"]);
    let gone = place.run(["app", "certificate", "remove", "daemon", sha256, "--yes"]).ends(2).stderr;
    assert!(gone.contains("app certificate list daemon"), "{gone}");
    assert_eq!(run(&["app", "certificate", "list", "daemon", "--json"]).json(), json!([list[0]]));
}

#[test]
fn applications_alone_and_while_a_server_holds_the_folder() {
    every_command_of_applications(&Place::new());
    let place = Place::new();
    let server = place.serve();
    every_command_of_applications(&place);
    assert_eq!(server.stop(), 0);
    assert_eq!(
        place.run(["app", "show", "both", "--json"]).ends(0).json()["secrets"][0]["expires_at"],
        json!(null)
    );
}

#[test]
fn a_certificate_that_is_none_is_told() {
    let place = Place::new();
    place.run(["app", "add", "daemon"]).ends(0);
    let small = certificate(&place, "elliptic", &rcgen::PKCS_ECDSA_P256_SHA256);
    let broken = place.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let other = place.write("other.pem", "not a certificate");
    for (file, says) in [
        (place.root.path().join("missing.pem"), "missing.pem cannot be read: No such file"),
        (place.root.path().to_owned(), "cannot be read"),
        (small, "its key is not RSA of at least 2048 bits"),
        (broken, "broken.pem is no certificate of an application: its certificate cannot be read"),
        (other, "there is no certificate in it (a block 'BEGIN CERTIFICATE')"),
    ] {
        let file = file.to_str().expect("UTF-8");
        for arguments in
            [&["app", "certificate", "add", "daemon", file][..], &["app", "add", "x", "--certificate", file]]
        {
            let run = place.run(arguments).ends(2);
            assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
        }
    }
    assert_eq!(place.run(["app", "list", "--json"]).ends(0).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn hostile_names_of_people() {
    let place = Place::new();
    let name = "evil\u{202e}\u{2066}";
    place.run(["role", "add", name]).ends(0);
    let runs: [&[&str]; 9] = [
        &["user", "add", name, "--role", name],
        &["user", "list"],
        &["user", "list", "--json"],
        &["user", "show", name],
        &["role", "show", name],
        &["user", "password", name],
        &["user", "remove", name, "--yes"],
        &["audit"],
        &["audit", "--json"],
    ];
    for arguments in runs {
        let Run { stdout, stderr, .. } = place.run(arguments).ends(0);
        check_text(&arguments.join(" "), &(stdout + &stderr));
    }
    let audit = place.run(["audit", "--json"]).ends(0).json();
    let what: Vec<&str> =
        audit.as_array().expect("a list").iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert!(what.iter().any(|what| what.contains(name)), "JSON says the very name: {what:?}");
}
