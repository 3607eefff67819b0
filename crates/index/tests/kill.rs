//! `kill -9`: a child process appends and says so, the parent kills it at some moment, again and again on the same
//! folder. What the child said it had appended must be there.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{now, organisation};
use seenby_index::{DataFolder, Options};
use sighting::{
    Address, Answer, Batch, FirstSeen, Identity, IdentityKind, Question, Second, SourceName, Store, Window,
};

const FOLDER: &str = "SEENBY_TEST_KILL_FOLDER";
const FIRST: &str = "SEENBY_TEST_KILL_FIRST";

/// Batch `number` adds device `number` to every one of 50 addresses, at second `number` of each of three days.
fn batch(number: u32) -> Batch {
    let mut batch = Batch::new(organisation(0), SourceName::new("test").expect("a name"));
    let who =
        batch.identity(Identity::new(IdentityKind::AgentId, &format!("device-{number}")).expect("a name"));
    for address in 0..50 {
        for day in 0..3 {
            batch.sighted(numbered(address), who, Second::new(day * 86_400 + number));
        }
    }
    batch
}

fn numbered(address: u32) -> Address {
    Address::parse(&format!("198.51.100.{address}")).expect("an address")
}

fn open(path: &str) -> DataFolder {
    let options = Options { live_rows_max: 2_000, background: true, ..Options::default() };
    DataFolder::open(path.as_ref(), options).expect("the folder opens")
}

/// The child: not a test of its own, it only works when the parent names a folder.
#[test]
fn child() {
    let (Ok(path), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST)) else {
        println!("skipped: this is the child half of the test beside it");
        return;
    };
    let folder = open(&path);
    let first: u32 = first.parse().expect("a number");
    for number in first..40_000 {
        let _ = now(folder.store().append(&batch(number))).expect("taken");
        // Written past the test harness, which keeps what tests print.
        writeln!(std::io::stderr(), "appended {number}").expect("the parent reads");
    }
}

#[test]
fn acknowledged_batches_survive() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().to_str().expect("UTF-8").to_owned();
    let mut acknowledged = 0u32;
    for round in 0..12u32 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, &path)
            .env(FIRST, acknowledged.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the child starts");
        // Somewhere between two batches, in a batch, or while segments are written.
        let kill_after = 3 + round * 17;
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut told = 0;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("appended ") {
                acknowledged = acknowledged.max(number.parse::<u32>().expect("a number") + 1);
                told += 1;
                if told == kill_after {
                    child.kill().expect("killed with SIGKILL");
                }
            }
        }
        child.wait().expect("the child ended");
        check(&path, acknowledged);
    }
    assert!(acknowledged > 1_000, "{acknowledged} batches were appended");
}

#[track_caller]
fn check(path: &str, acknowledged: u32) {
    let folder = open(path);
    for address in 0..50 {
        let question = Question {
            organisation: organisation(0),
            address: numbered(address),
            window: Window::new(Second::MIN, Second::new(3 * 86_400)).expect("in order"),
            kept_since: Second::MIN,
            first_seen: FirstSeen::InWindow,
        };
        let Answer::Seen(stats) = now(folder.store().stats(question)).expect("an answer") else {
            panic!("address {address} is gone")
        };
        let seen = stats.prevalence.get();
        // The batch under way when the child died may be there, whole.
        assert!(
            seen == acknowledged || seen == acknowledged + 1,
            "{seen} devices of {acknowledged} acknowledged batches"
        );
        assert_eq!(stats.last, Second::new(2 * 86_400 + seen - 1));
        assert_eq!(stats.first, Second::new(0));
    }
}
