//! Roles and who has them, by the real program, on a folder of its own and through a server.

use serde_json::{Value, json};

use crate::support::{HOSTILE, Place, check_text};

const ISSUER: &str = "https://login.example.org/t/v2.0";

/// Everything that can be done with roles.
fn every_command(place: &Place) {
    let run = |arguments: &[&str]| place.run(arguments).ends(0);
    let nothing = run(&["role", "add", "admins"]);
    assert!(nothing.stderr.contains("--permission view-data"), "{}", nothing.stderr);
    let added = run(&["role", "add", "analysts", "--permission", "view-data", "--json"]).json();
    assert_eq!(
        run(&["role", "change", "admins", "--permission", "manage-roles", "--permission", "view-data"])
            .stdout,
        "Members of 'admins' may do: view-data manage-roles.\n"
    );
    let account = run(&["user", "add", "kim@example.org", "--json"]).json();
    let kim = account["user"].as_str().expect("an id");
    let granted = run(&["role", "grant", "analysts", "--user", "KIM@example.org"]).stdout;
    assert_eq!(granted, "User 'kim@example.org' has the role 'analysts'.\n");
    run(&["role", "grant", "admins", "--user", &kim.to_uppercase()]);
    run(&["role", "grant", "analysts", "--group", "g1", "--issuer", ISSUER]);
    let shown = run(&["role", "show", "ANALYSTS", "--json"]).json();
    let user = json!({"kind": "user", "id": kim, "issuer": "built-in", "name": "kim@example.org"});
    let group = json!({"kind": "group", "id": "g1", "issuer": ISSUER, "name": null});
    assert_eq!((&shown["role"], &shown["members"]), (&added["role"], &json!([user, group])));
    let users = run(&["user", "list", "--json"]).json();
    let everything = json!(["view-data", "manage-roles"]);
    assert_eq!((&users[0]["roles"], &users[0]["permissions"]), (&json!(["admins", "analysts"]), &everything));
    assert_eq!((&users[1]["id"], &users[1]["permissions"]), (&json!("g1"), &json!(["view-data"])));
    run(&["role", "revoke", "admins", "--user", kim]);
    place.run(["role", "revoke", "admins", "--user", kim]).ends(2);
    let refused = place.run(["user", "remove", "--user", kim]).ends(5);
    assert!(refused.stderr.contains("has 1 role. Take them away?"), "{}", refused.stderr);
    run(&["user", "remove", "--user", "kim@example.org", "--yes"]);
    // The account stays.
    let users = run(&["user", "list", "--json"]).json();
    assert_eq!((&users[0]["id"], &users[0]["roles"]), (&json!(kim), &json!([])));
    assert_eq!(users.as_array().map(Vec::len), Some(2));
    run(&["role", "change", "analysts", "--new-name", "readers", "--no-permissions"]);
    let list = run(&["role", "list", "--json"]).json();
    assert_eq!((&list[1]["name"], &list[1]["permissions"]), (&json!("readers"), &json!([])));
    run(&["role", "remove", "readers", "--yes"]);
    assert_eq!(run(&["user", "list", "--json"]).json().as_array().map(Vec::len), Some(1));
    let text = run(&["role", "list"]).stdout;
    assert!(text.contains("admins") && !text.contains("readers"), "{text}");
}

#[test]
fn roles_alone_and_while_a_server_holds_the_folder() {
    every_command(&Place::new());
    let place = Place::new();
    let server = place.serve();
    every_command(&place);
    assert_eq!(server.stop(), 0);
    assert_eq!(place.run(["role", "list", "--json"]).ends(0).json()[0]["name"], "admins");
}

#[test]
fn organisations_have_their_own_roles() {
    let place = Place::new();
    place.run(["org", "add", "Contoso"]).ends(0);
    for organisation in ["default", "Contoso"] {
        place.run(["role", "add", "analysts", "--organisation", organisation]).ends(0);
    }
    let kim = ["user", "add", "kim", "--role", "analysts", "--organisation"];
    place.run(kim.iter().chain(&["Contoso"])).ends(0);
    // Somebody of one organisation is nobody in another.
    let strange = place.run(["role", "grant", "analysts", "--user", "kim", "--organisation", "default"]);
    assert!(strange.ends(2).stderr.contains("'default' has no account 'kim'"));
    let list = place.run(["user", "list", "--json", "--organisation", "default"]).ends(0).json();
    assert_eq!(list, Value::Array(Vec::new()));
    place.run(["role", "add", "analysts"]).ends(2);
}

#[test]
fn hostile_names_of_roles_and_members() {
    let place = Place::new();
    let name = "evil\u{202e}\u{2066}";
    place.run(["role", "add", name]).ends(0);
    place.run(["role", "grant", name, "--group", name]).ends(0);
    for arguments in
        [&["role", "list"][..], &["role", "show", name], &["user", "list"], &["user", "list", "--json"]]
    {
        check_text(&arguments.join(" "), &place.run(arguments).ends(0).stdout);
    }
    for arguments in [["role", "add", HOSTILE], ["role", "show", HOSTILE]] {
        check_text(&arguments.join(" "), &place.run(arguments).ends(2).stderr);
    }
    check_text("an id", &place.run(["role", "grant", name, "--user", HOSTILE]).ends(2).stderr);
}
