//! What was typed comes back as text, and what is to be typed next can be pasted as it is.

use std::path::Path;

use crate::support::{HOSTILE, Place, Run, check_text, seenby};

#[test]
fn a_wrong_command_line_is_quoted_as_text() {
    let place = Place::new();
    let option = format!("--{HOSTILE}");
    let with_value = format!("--last={HOSTILE}");
    let columns = format!("time={HOSTILE},{HOSTILE}");
    for arguments in [
        &["stats", "1.2.3.4", "--last", HOSTILE][..],
        &["stats", "1.2.3.4", &with_value],
        &["stats", "1.2.3.4", "--as-of", HOSTILE],
        &["stats", "1.2.3.4", &option],
        &["stats", "1.2.3.4", "--look-back-hours", HOSTILE],
        &["stats", HOSTILE],
        &[HOSTILE],
        &["org", HOSTILE],
        &["org", "list", HOSTILE],
        &["org", "add", "x", "--id", HOSTILE],
        &["org", "add", "x", "--source-tenants", HOSTILE],
        &["org", "add", "x", "--retention-hours", HOSTILE],
        &["init", "--organisation-id", HOSTILE],
        &["init", "--retention-hours", HOSTILE],
        &["app", "add", "x", "--permission", HOSTILE],
        &["app", "rotate", "x", "--overlap-hours", HOSTILE],
        &["app", "add", "x", "--redirect-uri", HOSTILE],
        &["app", "add", "x", "--certificate", HOSTILE],
        &["app", "change", HOSTILE, "--public"],
        &["app", "certificate", "remove", "x", HOSTILE],
        &["role", "grant", "x", "--user", HOSTILE],
        &["user", "add", HOSTILE],
        &["user", "show", HOSTILE],
        &["user", "remove", HOSTILE],
        &["key", "remove", HOSTILE],
        &["audit", "-n", HOSTILE],
        &["demo", "--devices", HOSTILE],
        &["ingest", "--format", HOSTILE, "-"],
        &["ingest", "--source", HOSTILE, "-"],
        &["ingest", "--local-networks", HOSTILE, "-"],
        &["ingest", "--columns", HOSTILE, "-"],
        &["ingest", "--columns", &columns, "-"],
        &["serve", "--listen", HOSTILE],
        &["serve", "--operator-listen", HOSTILE],
        &["serve", "--tls-certificate", HOSTILE],
        &["serve", "--tls-certificate", HOSTILE, "--tls-key", HOSTILE],
        &["tls", "init", "--host", HOSTILE],
        &["tls", "renew", "--out", HOSTILE],
        &["tls", "renew", "--ca-key", HOSTILE],
        &["tls", "show", "--out", HOSTILE],
        &["retention", "set", HOSTILE],
        &["device", "domain", HOSTILE],
        &["stats", "1.2.3.4", "--organisation", HOSTILE],
        &["stats", "1.2.3.4", "--settings", HOSTILE],
    ] {
        let run = place.run(arguments).ends(2);
        check_text(&format!("{arguments:?}"), &run.stderr);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
    let run = place.run(["stats", "1.2.3.4", "--last", HOSTILE]).ends(2);
    assert!(
        run.stderr.contains(r"'\u{1b}]0;x\u{7}\n|=CEF:0\u{202e}\u{2066}evil' for '--last <TIME>'"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("error: ") && run.stderr.contains("48h, 7d or 4w"), "{}", run.stderr);
    // Nor does help show what the environment holds.
    let mut help = seenby(place.root.path());
    let help = Run::of(help.args(["stats", "--help"]).env("SEENBY_DATA", HOSTILE)).ends(0);
    check_text("help", &help.stdout);
}

/// The command between the first backticks that says what to do next.
fn hint(message: &str) -> &str {
    message.split('`').nth(1).unwrap_or_else(|| panic!("no hint in {message:?}"))
}

#[track_caller]
fn paste(home: &Path, command: &str) -> Run {
    // Nothing of what was in force but what the hint repeats; another working folder.
    let mut shell = std::process::Command::new("sh");
    shell.env_remove("SEENBY_DATA").env("HOME", home).current_dir("/").arg("-c").arg(command);
    Run::of(&mut shell)
}

#[test]
fn hints_can_be_pasted() {
    let place = Place::new();
    let home = place.root.path();
    let folder = "it's a folder";
    let typed = |arguments: &[&str]| {
        let mut command = seenby(home);
        Run::of(command.args(arguments).args(["--data-dir", folder]))
    };
    typed(&["init", "--organisation-name", "Con toso"]).ends(0);
    let other = typed(&["init", "--retention-hours", "2160"]).ends(2);
    paste(home, hint(&other.stderr)).ends(0);
    assert!(typed(&["retention", "show"]).ends(0).stdout.contains("2,160 hours"));
    typed(&["org", "add", "Fabrikam"]).ends(0);
    let nobody = typed(&["app", "remove", "nobody", "--yes", "--organisation", "Con toso"]).ends(2);
    paste(home, hint(&nobody.stderr)).ends(0);
    let nothing = typed(&["device", "show", "nobody", "--organisation", "Con toso"]).ends(1);
    paste(home, hint(&nothing.stderr)).ends(0);
    // The environment counts as in force: it may have been set for this one command.
    let mut command = seenby(home);
    command
        .args(["app", "remove", "nobody", "--yes", "--organisation", "Con toso"])
        .env("SEENBY_DATA", folder);
    paste(home, hint(&Run::of(&mut command).ends(2).stderr)).ends(0);
    let old = typed(&["stats", "1.1.1.1", "--organisation", "Fabrikam", "--as-of", "2009-11-20T00:00:00Z"]);
    let shown = paste(home, hint(&old.ends(1).stdout)).ends(0);
    assert!(shown.stdout.contains("'Fabrikam' keeps"), "{}", shown.stdout);
}
