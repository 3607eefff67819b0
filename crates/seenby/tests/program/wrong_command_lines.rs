//! A wrong command line ends with 2, changes nothing, and says what to type instead.

use crate::support::{Place, now, zeek};

#[track_caller]
fn check(place: &Place, arguments: &[&str], says: &[&str]) {
    let run = place.run(arguments).ends(2);
    for part in says {
        assert!(run.stderr.contains(part), "{arguments:?}: {:?} lacks {part:?}", run.stderr);
    }
    assert_eq!(run.stdout, "", "{arguments:?}");
}

#[test]
fn what_to_type_instead() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    for (arguments, says) in [
        (&["stat", "1.1.1.1"][..], &["similar subcommand", "stats"][..]),
        (&["stats", "--jsn", "1.1.1.1"], &["--json"]),
        (&["stats"], &["<IP|->", "Usage"]),
        (&["stats", "256.1.1.1"], &["'256.1.1.1' is not an IP address", "0 to 255"]),
        (&["stats", "10.0.0.0/8"], &["without the prefix length"]),
        (&["stats", "10.0.0.1:443"], &["without port"]),
        (&["stats", "evil.example.org"], &["looks like a name"]),
        (&["stats", "1.1.1.1", "--last", "7"], &["48h, 7d or 4w"]),
        (&["stats", "1.1.1.1", "--last", "-1h"], &["'-1h'", "48h, 7d or 4w"]),
        (&["stats", "1.1.1.1", "--last", "7d", "--look-back-hours", "5"], &["cannot be used with"]),
        (&["stats", "1.1.1.1", "--look-back-hours", "0"], &["--look-back-hours is '0'", "1 to 720"]),
        (&["stats", "1.1.1.1", "--look-back-hours", "721"], &["1 to 720 (what the API"]),
        (&["stats", "1.1.1.1", "--look-back-hours", "-5"], &["'-5'", "1 to 720"]),
        (&["stats", "1.1.1.1", "--look-back-hours", "+5"], &["1 to 720"]),
        (&["stats", "1.1.1.1", "--last", "31d"], &["--last is '744 hours'", "1 to 720"]),
        (&["stats", "1.1.1.1", "--as-of", "yesterday"], &["2024-04-29T21:00:00Z"]),
        (&["ingest"], &["FILE|FOLDER|-"]),
        (&["ingest", "/no/such/file"], &["/no/such/file", "name a file or folder"]),
        (&["ingest", "--format", "pcap", "-"], &["zeek-tsv", "mde", "sysmon"]),
        (&["ingest", "--local-networks", "10/8", "-"], &["10.0.0.0/8,fd00::/8"]),
        (&["ingest", "--columns", "when=ts", "-"], &["the keys are time, device, ip"]),
        (&["ingest", "--source", "", "-"], &["1 to 255 bytes"]),
        (&["serve", "--listen", "localhost"], &["127.0.0.1:8787"]),
        (&["serve", "--tls-certificate", "a.pem"], &["--tls-key <FILE>"]),
        (&["serve", "--no-tls", "--tls-certificate", "a", "--tls-key", "b"], &["cannot be used with"]),
        (&["tls", "init", "--host", "*.example.org"], &["seenby.example.org", "no pattern"]),
        (&["tls", "init", "--host", "https://seenby.example.org"], &["no URL"]),
        (&["tls", "show"], &["seenby tls init"]),
        (&["tls", "renew"], &["ca.pem cannot be read", "tls init"]),
        (&["retention", "set", "0"], &["1 to 2147483647", "forever"]),
        (&["app", "add", "x", "--permission", "Ip.Write"], &["Ip.Read.All"]),
        (&["app", "remove", "nobody", "--yes"], &["no application 'nobody'", "seenby app list"]),
        (&["app", "rotate", "x", "--overlap-hours", "1.5"], &["whole number of hours", "24"]),
        (&["app", "rotate", "x", "--overlap-hours", "-1"], &["whole number of hours"]),
        (&["app", "rotate", "nobody"], &["no application 'nobody'"]),
        (&["app", "show", "nobody"], &["no application 'nobody'", "seenby app list"]),
        (&["app", "limit", "nobody", "--per-hour", "off"], &["no application 'nobody'"]),
        (&["app", "limit", "x"], &["--per-minute"]),
        (&["role", "add", "x", "--permission", "see"], &["view-data", "write-sightings"]),
        (&["role", "show", "nobody"], &["no role 'nobody'", "seenby role list"]),
        (&["role", "grant", "x"], &["--user"]),
        (&["role", "grant", "x", "--user", "a", "--group", "b"], &["cannot be used with"]),
        (
            &["role", "grant", "x", "--user", "kim@example.org"],
            &["no account 'kim@example.org'", "seenby user add"],
        ),
        (
            &["role", "grant", "x", "--user", "kim@example.org", "--issuer", "https://login.example.org"],
            &["oid", "never a name or an e-mail address"],
        ),
        (&["role", "grant", "x", "--user", "a", "--issuer", "entra"], &["built-in, or the URL", "iss"]),
        (&["role", "change", "x"], &["--new-name"]),
        (&["user", "remove", "--user", "nobody", "--yes"], &["has no role", "seenby user list"]),
        (&["user", "remove"], &["--user <NAME|ID>", "--group <ID>"]),
        (&["user", "remove", "kim", "--user", "kim"], &["cannot be used with"]),
        (&["user", "remove", "nobody", "--yes"], &["no account 'nobody'", "seenby user list"]),
        (&["user", "show", "nobody"], &["no account 'nobody'"]),
        (&["user", "password", "nobody"], &["no account 'nobody'"]),
        (&["user", "add", ""], &["1 to 255 bytes"]),
        (&["user", "add", "5ad73df1-700c-4c65-8d46-ce4ec1dd1e00"], &["looks like a GUID"]),
        (&["user", "add", "x", "--role", "nobody"], &["no role 'nobody'"]),
        (&["user", "add", "x", "--password-stdin"], &["at least 12 characters"]),
        (&["app", "add", "x", "--redirect-uri", "http://soar.example"], &["https URL", "http on localhost"]),
        (&["app", "add", "x", "--delegated", "Ip.Write"], &["Ip.Read.All", "Seenby.Manage"]),
        (&["app", "add", "x", "--public", "--certificate", "a.pem"], &["cannot be used with"]),
        (&["app", "add", "x", "--secret"], &["--certificate <FILE>"]),
        (&["app", "add", "x", "--certificate", "no.pem"], &["no.pem cannot be read"]),
        (&["app", "change", "nobody", "--device-code"], &["no application 'nobody'"]),
        (&["app", "change", "x", "--device-code", "--no-device-code"], &["cannot be used with"]),
        (&["app", "certificate", "list", "nobody"], &["no application 'nobody'"]),
        (&["app", "certificate", "remove", "x", "12:34"], &["8 to 64 hexadecimal digits"]),
        (&["key", "remove", "-nobody-", "--yes"], &["no signing key '-nobody-'", "seenby key list"]),
        (&["key", "new-file", "data/key"], &["lies in the data folder"]),
        (&["audit", "-n", "0"], &["whole number from 1"]),
        (&["audit", "-n", "-5"], &["whole number from 1"]),
        (&["app", "limit", "x", "--per-minute", "0"], &["from 1, such as 300", "'off'", "'default'"]),
        (&["app", "limit", "x", "--per-hour", "-1"], &["from 1, such as 300"]),
        (&["app", "limit", "x", "--per-hour", "1.5"], &["from 1, such as 300"]),
        (&["org", "remove", "nobody", "--yes"], &["no organisation 'nobody'", "'default'"]),
        (&["org", "add", "DEFAULT"], &["the name 'DEFAULT' is taken"]),
        (&["org", "add", "5ad73df1-700c-4c65-8d46-ce4ec1dd1e00"], &["looks like a GUID", "another name"]),
        (&["org", "rename", "default", "5ad73df1700c4c658d46ce4ec1dd1e00"], &["looks like a GUID"]),
        (&["app", "add", "5ad73df1-700c-4c65-8d46-ce4ec1dd1e00"], &["looks like a GUID"]),
        (&["org", "add", "x", "--id", "nonsense"], &["0123456789ab"]),
        (&["org", "add", ""], &["1 to 255 bytes"]),
        (&["stats", "1.1.1.1", "--organisation", "nobody"], &["no organisation 'nobody'", "'default'"]),
        (&["device", "domain", "not a domain"], &["corp.example.org"]),
        (&["init", "--retention-hours", "99"], &["seenby retention set 99"]),
        (&["init", "--organisation-id", "no-guid"], &["--organisation-id", "0123456789ab", "leave it out"]),
        (&["init", "--organisation-name", "Other"], &["seenby org add", "seenby org rename default Other"]),
        (&["init", "--retention-hours", "-5"], &["1 to 2147483647", "forever"]),
        (&["device", "merge", "nobody", "nothing", "--yes"], &["no device 'nobody'", "seenby device list"]),
    ] {
        check(&place, arguments, says);
    }
}

#[test]
fn a_wrong_address_in_a_list_is_found_before_anything_is_answered() {
    let place = Place::new();
    let run = place.feed(["stats", "-"], b"1.1.1.1\n# a remark\n\n1.1.1.1/32\n").ends(2);
    assert!(run.stderr.contains("standard input, line 4"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

#[test]
fn a_list_of_addresses_tells_all_that_is_wrong_with_it() {
    let place = Place::new();
    for nothing in [&b""[..], b"\n\n", b"# only a remark\n", b"\xef\xbb\xbf"] {
        let run = place.feed(["stats", "-"], nothing).ends(2);
        assert!(run.stderr.contains("no address") && run.stderr.contains("one a line"), "{}", run.stderr);
    }
    let run = place.feed(["stats", "-"], b"1.1.1.1\n\xff\xfe\n256.1.1.1\n2.2.2.2\n").ends(2);
    for part in ["line 2: is not UTF-8", "line 3: '256.1.1.1'"] {
        assert!(run.stderr.contains(part), "{} lacks {part}", run.stderr);
    }
    assert_eq!(run.stdout, "");
    let run = place.feed(["stats", "-"], "nonsense\n".repeat(1_023).as_bytes()).ends(2);
    assert!(run.stderr.contains("line 20:") && !run.stderr.contains("line 21:"), "{}", run.stderr);
    assert!(run.stderr.contains("and 1,003 more"), "{}", run.stderr);
    let marked = place.feed(["stats", "-", "--json"], b"\xef\xbb\xbf1.1.1.1\r\n2.2.2.2").ends(1);
    assert_eq!(marked.stdout.lines().count(), 2, "{}", marked.stdout);
}

#[test]
fn a_wrong_settings_file_says_where() {
    let place = Place::new();
    let path = place.write("s.toml", "[api]\nunkown_ip = 'zero'\n");
    let path = path.to_str().expect("UTF-8");
    check(
        &place,
        &["stats", "1.1.1.1", "--settings", path],
        &["s.toml", "unkown_ip", "unknown_ip", "line 2"],
    );
    for (text, says) in [
        ("[log]\nlevel = 'loud'\n", &["log.level is 'loud'", "info,seenby_api=debug"][..]),
        ("[log]\nlevel = 'info,seenby_api=loud'\n", &["log.level", "info,seenby_api=debug"]),
        ("[serve]\nlisten = 'foo'\n", &["line 2", "127.0.0.1:8787"]),
        ("[ingest]\nthreads = 257\n", &["ingest.threads is 257", "1 to 256"]),
        ("[ingest]\nthreads = 0\n", &["ingest.threads is 0", "1 to 256"]),
    ] {
        place.write("s.toml", text);
        check(&place, &["stats", "1.1.1.1", "--settings", path], says);
    }
    check(&place, &["stats", "1.1.1.1", "--settings", "/no/such.toml"], &["/no/such.toml", "cannot be read"]);
}

#[test]
fn several_organisations_must_be_told_apart() {
    let place = Place::new();
    place.run(["org", "add", "Contoso"]).ends(0);
    check(&place, &["stats", "1.1.1.1"], &["--organisation NAME", "'default'", "'Contoso'"]);
    let log = place.write("a.log", zeek(now(), "10.0.0.1", "198.51.100.20"));
    check(&place, &["ingest", log.to_str().expect("UTF-8")], &["--organisation NAME"]);
    place.run(["stats", "1.1.1.1", "--organisation", "contoso"]).ends(1);
}

#[test]
fn every_command_has_help() {
    let place = Place::new();
    for command in [
        "init",
        "ingest",
        "stats",
        "serve",
        "demo",
        "org",
        "app",
        "retention",
        "device",
        "org add",
        "org list",
        "org rename",
        "org remove",
        "app add",
        "app list",
        "app show",
        "app limit",
        "app rotate",
        "app remove",
        "app change",
        "app certificate",
        "app certificate add",
        "app certificate list",
        "app certificate remove",
        "role",
        "role add",
        "role list",
        "role show",
        "role change",
        "role grant",
        "role revoke",
        "role remove",
        "user",
        "user add",
        "user password",
        "user show",
        "user list",
        "user remove",
        "key",
        "key list",
        "key rotate",
        "key remove",
        "key new-file",
        "audit",
        "retention show",
        "retention set",
        "device list",
        "device show",
        "device merge",
        "device domain",
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let run = place.run(&arguments).ends(0);
        assert!(run.stdout.contains("Usage: seenby"), "{command}");
        assert!(run.stdout.contains("Example"), "{command}: {}", run.stdout);
    }
    assert!(!place.data.exists(), "help touches nothing");
    place.run(["--version"]).ends(0);
}

#[test]
fn what_nobody_is_there_to_confirm_is_not_done() {
    let place = Place::new();
    place.run(["init"]).ends(0);
    place.run(["app", "add", "x"]).ends(0);
    for arguments in [&["org", "remove", "default"][..], &["app", "remove", "x"]] {
        let run = place.run(arguments).ends(5);
        assert!(run.stderr.contains("--yes") && run.stderr.contains("nothing was changed"), "{}", run.stderr);
    }
    place.run(["app", "remove", "x", "--yes"]).ends(0);
}
