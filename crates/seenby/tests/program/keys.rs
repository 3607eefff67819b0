//! Signing keys, the file that they are encrypted under, and the audit log, by the real program. Refuses to hold: what is in
//! a token.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Place, Run, Server};

const PATH: &str = "/api/ips/203.0.113.1/stats";

fn keys(place: &Place) -> Vec<Value> {
    place.run(["key", "list", "--json"]).ends(0).json().as_array().expect("a list").clone()
}

fn kid(key: &Value) -> &str {
    key["kid"].as_str().expect("an id")
}

fn holds(file: &Path, text: &str) -> bool {
    std::fs::read(file).expect("readable").windows(text.len()).any(|window| window == text.as_bytes())
}

/// Rotates and removes; there is one key when it begins, and two when it ends.
fn every_command(place: &Place) {
    let run = |arguments: &[&str]| place.run(arguments).ends(0);
    let first = keys(place).remove(0);
    let rotated = run(&["key", "rotate", "--json"]).json();
    let second = kid(&rotated).to_owned();
    let listed = keys(place);
    assert_eq!((listed.len(), &listed[0]["kid"], kid(&listed[1])), (2, &first["kid"], &*second));
    assert_eq!((&listed[0]["signs"], &listed[1]["signs"]), (&json!(false), &json!(true)));
    let text = run(&["key", "list"]).stdout;
    assert!(text.contains("verifies  in the clear") && text.contains("signs     in the clear"), "{text}");
    let newest = place.run(["key", "remove", &second, "--yes"]).ends(2).stderr;
    assert!(newest.contains("signs now") && newest.contains("seenby key rotate"), "{newest}");
    let asked = place.run(["key", "remove", kid(&first)]).ends(5).stderr;
    assert!(asked.contains("every token that it signed is refused at once"), "{asked}");
    // The first letters are enough, and may be a minus.
    run(&["key", "remove", &kid(&first)[..8], "--yes"]);
    place.run(["key", "remove", "--yes", kid(&first)]).ends(2);
    run(&["key", "rotate"]);
    assert_eq!(keys(place).len(), 2);
}

#[test]
fn keys_alone_and_while_a_server_holds_the_folder() {
    let place = Place::new();
    let none = place.run(["key", "list"]).ends(0);
    assert!(none.stderr.contains("a server makes the first"), "{}", none.stderr);
    place.run(["key", "rotate"]).ends(0);
    every_command(&place);
    let place = Place::new();
    let server = place.serve();
    every_command(&place);
    assert_eq!(server.stop(), 0);
    assert_eq!(keys(&place).len(), 2);
}

#[test]
fn tokens_survive_a_rotation_and_die_with_their_key() {
    let place = Place::new();
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let server = place.serve();
    let old = server.token(&added);
    assert_eq!(server.get(PATH, Some(&old)).0, 404);
    place.run(["key", "rotate"]).ends(0);
    let new = server.token(&added);
    assert_eq!([&old, &new].map(|token| server.get(PATH, Some(token)).0), [404, 404]);
    place.run(["key", "remove", kid(&keys(&place)[0]), "--yes"]).ends(0);
    assert_eq!([&old, &new].map(|token| server.get(PATH, Some(token)).0), [401, 404]);
    assert_eq!(server.stop(), 0);
}

/// A key file beside the data folder, made by the program.
fn key_file(place: &Place, name: &str) -> PathBuf {
    let path = place.root.path().join(name);
    let text = path.to_str().expect("UTF-8");
    let made = place.run(["key", "new-file", text, "--json"]).ends(0).json();
    assert_eq!(made["key_file"], text);
    path
}

fn with_key(mut command: Command, file: &Path) -> Command {
    command.env("SEENBY_KEY_FILE", file);
    command
}

fn serve_with(place: &Place, file: &Path) -> Server {
    Server::start(&mut with_key(place.command(["serve", "--listen", "127.0.0.1:0"]), file))
}

#[test]
fn a_key_file_is_made_once_and_for_its_owner() {
    let place = Place::new();
    let path = key_file(&place, "seenby.key");
    let text = std::fs::read_to_string(&path).expect("readable");
    assert_eq!((text.len(), path.metadata().expect("exists").permissions().mode() & 0o777), (65, 0o600));
    let again = place.run(["key", "new-file", "seenby.key"]).ends(2).stderr;
    assert!(again.contains("is there already and is left as it is"), "{again}");
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), text);
    place.run(["key", "new-file", "no/such/folder/key"]).ends(3);
    assert!(!place.data.exists(), "no data folder is needed for it");
}

/// Keys of certificates are private keys too.
#[test]
fn keys_of_certificates_are_encrypted_as_well() {
    let place = Place::new();
    let file = key_file(&place, "seenby.key");
    let made = Run::of(&mut with_key(place.command(["tls", "init", "--json"]), &file)).ends(0).json();
    assert_eq!(made["key_encrypted"], true);
    for name in ["key", "ca_key"] {
        let text = std::fs::read_to_string(made[name].as_str().expect("a path")).expect("readable");
        assert!(text.starts_with("-----BEGIN SEENBY ENCRYPTED KEY-----\n"), "{name}: {text:.60}");
    }
    let start =
        || Server::start_tls(&mut with_key(place.command(["serve", "--listen", "127.0.0.1:0"]), &file));
    assert_eq!(start().stop(), 0);
    // Nothing is served, and nothing signed, without the key file, or with another.
    let other = key_file(&place, "other.key");
    for command in [["serve", "--listen", "127.0.0.1:0"].as_slice(), &["tls", "renew"]] {
        let refused = place.run(command).ends(2).stderr;
        assert!(
            refused.contains("is encrypted under a key file") && refused.contains("SEENBY_KEY_FILE"),
            "{refused}"
        );
        let refused = Run::of(&mut with_key(place.command(command), &other)).ends(2).stderr;
        assert!(refused.contains("under another key file"), "{refused}");
    }
    let renewed = Run::of(&mut with_key(place.command(["tls", "renew", "--json"]), &file)).ends(0).json();
    assert!(renewed["key_encrypted"] == true && renewed["sha256"] != made["sha256"], "{renewed}");
    assert_eq!(start().stop(), 0);
    let shown = place.run(["tls", "show"]).ends(0).stdout;
    assert!(shown.contains("server.key   (encrypted under the key file)"), "{shown}");
}

/// Keys from before the key file are served with, and warned about until they are encrypted: that of the CA too, which can sign
/// for every host of the certificate.
#[test]
fn keys_of_certificates_from_before_the_key_file_are_encrypted_by_a_renewal() {
    let place = Place::new();
    let file = key_file(&place, "seenby.key");
    let made = place.run(["tls", "init", "--json"]).ends(0).json();
    assert_eq!((&made["key_encrypted"], &made["ca_key_encrypted"]), (&json!(false), &json!(false)));
    let [key, ca_key] = ["key", "ca_key"].map(|name| PathBuf::from(made[name].as_str().expect("a path")));
    let plain = std::fs::read(&ca_key).expect("readable");
    let logged = || {
        let log = place.root.path().join("log");
        let serve = ["serve", "--listen", "127.0.0.1:0"];
        assert_eq!(Server::start_logged(&mut with_key(place.command(serve), &file), &log).stop(), 0);
        std::fs::read_to_string(log).expect("readable")
    };
    let warned =
        |log: &str, name: &str| log.contains(&format!("tls/{name} lies in the data folder in the clear"));
    let log = logged();
    assert!(warned(&log, "server.key") && warned(&log, "ca.key") && log.contains("tls renew"), "{log}");
    let renew = |arguments: &[&str]| {
        let command = ["tls", "renew", "--json"].iter().chain(arguments);
        Run::of(&mut with_key(place.command(command), &file)).ends(0).json()
    };
    let renewed = renew(&[]);
    assert_eq!((&renewed["key_encrypted"], &renewed["ca_key_encrypted"]), (&json!(true), &json!(true)));
    for path in [&key, &ca_key] {
        assert!(holds(path, "BEGIN SEENBY ENCRYPTED KEY") && !holds(path, "BEGIN PRIVATE KEY"), "{path:?}");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    }
    let log = logged();
    assert!(!log.contains("in the clear"), "{log}");
    let shown = place.run(["tls", "show"]).ends(0).stdout;
    assert!(shown.contains("ca.key   (encrypted under the key file; move it off)"), "{shown}");
    // The CA is the same one, and its key still signs.
    assert_eq!(renew(&[])["ca_sha256"], made["ca_sha256"]);
    // One that lies elsewhere is left as it is: it is another program's or another medium's business.
    let elsewhere = place.write("ca.key", &plain);
    std::fs::remove_file(&ca_key).expect("ours");
    std::os::unix::fs::symlink(&elsewhere, &ca_key).expect("made");
    let renewed = renew(&[]);
    assert_eq!(renewed["ca_key_encrypted"], false);
    assert_eq!(std::fs::read(&elsewhere).expect("readable"), plain);
    std::fs::remove_file(&ca_key).expect("ours");
    let renewed = renew(&["--ca-key", elsewhere.to_str().expect("UTF-8")]);
    assert!(renewed.get("ca_key").is_none() && renewed.get("ca_key_encrypted").is_none(), "{renewed}");
    // Nor is a file of that name hidden that is not what has signed.
    std::fs::write(&ca_key, "no key").expect("ours");
    assert_eq!(renew(&["--ca-key", elsewhere.to_str().expect("UTF-8")])["ca_key_encrypted"], false);
    assert_eq!(std::fs::read(&ca_key).expect("readable"), b"no key");
    assert_eq!(std::fs::read(&elsewhere).expect("readable"), plain);
    Run::of(&mut with_key(place.command(["tls", "renew"]), &file)).ends(2);
    assert_eq!(std::fs::read(&ca_key).expect("readable"), b"no key");
}

#[test]
fn keys_are_encrypted_from_the_first_on() {
    let place = Place::new();
    let file = key_file(&place, "seenby.key");
    let server = serve_with(&place, &file);
    let kept = keys(&place);
    assert_eq!((kept.len(), &kept[0]["encrypted"]), (1, &json!(true)));
    // Through the server the command needs no file.
    assert_eq!(place.run(["key", "rotate", "--json"]).ends(0).json()["encrypted"], true);
    assert_eq!(server.stop(), 0);
    // Alone it does, and says so.
    let refused = place.run(["key", "rotate"]).ends(3).stderr;
    assert!(refused.contains("is encrypted") && refused.contains("SEENBY_KEY_FILE"), "{refused}");
    let rotated = Run::of(&mut with_key(place.command(["key", "rotate"]), &file)).ends(0).stdout;
    assert!(rotated.contains("It is kept encrypted."), "{rotated}");
    let directory = place.data.join("directory.redb");
    assert!(holds(&directory, "\"sealed\"") && !holds(&directory, "\"pkcs8\""));
    let table = place.run(["key", "list"]).ends(0).stdout;
    assert!(table.contains("signs     encrypted") && !table.contains("in the clear"), "{table}");
}

#[test]
fn a_server_without_the_key_file_says_what_to_do() {
    let place = Place::new();
    let added = place.run(["app", "add", "soar", "--permission", "Ip.Read.All", "--json"]).ends(0).json();
    let file = key_file(&place, "seenby.key");
    // A key that lay in the clear is encrypted, goes on verifying, and signs no more.
    let url = "[api]\npublic_url = \"https://seenby.example.org\"\n";
    let settings = place.write("plain.toml", url);
    let settings = settings.to_str().expect("UTF-8");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let server = Server::start(&mut place.command(serve.iter().chain(&["--settings", settings])));
    let token = server.token(&added);
    assert_eq!(server.stop(), 0);
    let plain = keys(&place);
    assert_eq!((plain.len(), &plain[0]["encrypted"]), (1, &json!(false)));
    let settings = place.write("s.toml", format!("key_file = {file:?}\n{url}"));
    let settings = settings.to_str().expect("UTF-8");
    let server = Server::start(&mut place.command(serve.iter().chain(&["--settings", settings])));
    let kept = keys(&place);
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|key| key["encrypted"] == true) && kept[0]["kid"] == plain[0]["kid"], "{kept:?}");
    for token in [token, server.token(&added)] {
        assert_eq!(server.get(PATH, Some(&token)).0, 404);
    }
    assert_eq!(server.stop(), 0);

    let refused = place.run(serve).ends(3).stderr;
    for part in ["is encrypted", "key_file", "SEENBY_KEY_FILE", "key rotate --lost-key-file", "key remove"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let other = key_file(&place, "other.key");
    let wrong = Run::of(&mut with_key(place.command(serve), &other)).ends(3).stderr;
    assert!(wrong.contains("encrypted under another key"), "{wrong}");
    // The way out if it is lost: what the lost keys signed ends.
    place.run(["key", "rotate", "--lost-key-file"]).ends(0);
    for key in &kept {
        place.run(["key", "remove", kid(key), "--yes"]).ends(0);
    }
    let server = place.serve();
    assert_eq!(server.get(PATH, Some(&server.token(&added))).0, 404);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_key_file_that_protects_nothing_is_refused() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    let good = std::fs::read(key_file(&place, "good.key")).expect("readable");
    let check = |file: &Path, says: &[&str]| {
        let run = Run::of(&mut with_key(place.command(["serve", "--listen", "127.0.0.1:0"]), file)).ends(2);
        for part in says {
            assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        }
        assert_eq!(run.stdout, "");
    };
    let private = |name: &str, bytes: &[u8]| {
        let path = place.write(name, bytes);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
        path
    };
    check(&place.root.path().join("missing.key"), &["missing.key", "cannot be read", "key new-file"]);
    check(&private("short.key", b"abcdef"), &["has no key in it", "64 hexadecimal digits or base64"]);
    check(&private("text.key", &[b'x'; 64]), &["has no key in it"]);
    let open = private("open.key", &good);
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&open, Permissions::from_mode(mode)).expect("ours");
        check(&open, &["others than its owner", "chmod 600"]);
    }
    let inside = private("data/seenby.key", &good);
    check(&inside, &["lies in the data folder", "backup"]);
    let link = place.root.path().join("link.key");
    std::os::unix::fs::symlink(&inside, &link).expect("made");
    check(&link, &["lies in the data folder"]);
    std::fs::remove_file(&inside).expect("ours");
    // Other commands make no keys, and do not ask for it.
    let list = Run::of(&mut with_key(place.command(["app", "list"]), &link));
    list.ends(0);
}

/// What was changed, alone or through a server, with the newest last.
fn every_line(place: &Place) {
    place.run(["role", "add", "analysts"]).ends(0);
    place.run(["user", "add", "kim", "--role", "analysts"]).ends(0);
    let lines = place.run(["audit", "--json"]).ends(0).json();
    let what: Vec<&str> =
        lines.as_array().expect("a list").iter().filter_map(|line| line["what"].as_str()).collect();
    let newest: Vec<&str> = what[what.len() - 3..].iter().map(|what| &what[..10]).collect();
    assert_eq!(newest, ["added role", "added user", "granted ro"]);
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(lines[what.len() - 1]["actor"], format!("uid {uid} on the command line"));
    let two = place.run(["audit", "-n", "2", "--json"]).ends(0).json();
    assert_eq!(two, json!([lines[what.len() - 2], lines[what.len() - 1]]));
    let text = place.run(["audit", "-n", "1"]).ends(0);
    assert!(text.stdout.starts_with("WHEN") && text.stdout.lines().count() == 2, "{}", text.stdout);
    assert!(text.stdout.contains("granted role") && text.stderr.contains("-n N shows more"));
}

#[test]
fn the_audit_log_alone_and_while_a_server_holds_the_folder() {
    every_line(&Place::new());
    let place = Place::new();
    let server = place.serve();
    every_line(&place);
    let all = place.run(["audit", "--json"]).ends(0).stdout;
    assert!(all.contains("the server, of itself") && all.contains("added signing key"), "{all}");
    assert_eq!(server.stop(), 0);
}
