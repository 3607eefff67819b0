//! Many hands at once on a real folder: appends side by side, questions between them, segments being written, retention
//! and a removal. Every receipt is visible to its holder at once, and all of it is there at the end and after a restart.
//! Refuses to hold: power cuts and kills (`crash`, `kill`).

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::{address, now, organisation, source};
use seenby_index::{DataFolder, IndexStore, Options};
use sighting::{
    Answer, Batch, FirstSeen, Identity, IdentityKind, Offset, OrganisationId, Question, Second, Store, Window,
};

const APPENDERS: u32 = 4;
const BATCHES: u32 = 150;
const DAY: u32 = 86_400;

/// Device `number` of an appender, seen at one second of each of three days by each of the six addresses.
fn batch(whose: OrganisationId, appender: u32, number: u32) -> Batch {
    let mut batch = Batch::new(whose, source(appender as u8));
    let agent = Identity::new(IdentityKind::AgentId, &format!("{appender}-{number}")).expect("a name");
    let host = Identity::new(IdentityKind::Fqdn, &format!("pc-{appender}-{number}.example.org"));
    let (agent, host) = (batch.identity(agent), batch.identity(host.expect("a name")));
    for day in 100..103 {
        let second = Second::new(day * DAY + appender * 1_000 + number);
        for whither in 0..6 {
            batch.sighted(address(whither), agent, second);
            batch.sighted(address(whither), host, second);
        }
        batch.carried(host, agent, second);
        batch.reported(agent, second);
    }
    batch.set_offset(Offset { key: format!("file-{appender}"), position: u64::from(number) });
    batch
}

fn ask(store: &IndexStore, whose: OrganisationId, whither: u8, since: u32, until: u32) -> Option<u32> {
    let question = Question {
        organisation: whose,
        address: address(whither),
        window: Window::new(Second::new(since), Second::new(until)).expect("in order"),
        kept_since: Second::MIN,
        first_seen: FirstSeen::InWindow,
    };
    match now(store.stats(question)).expect("an answer") {
        Answer::Seen(stats) => Some(stats.prevalence.get()),
        Answer::Quiet | Answer::Unknown => None,
    }
}

/// Appends, and looks at each receipt's own second: its one device must be there, counted once under its two names.
fn append(store: &IndexStore, appender: u32, done: &AtomicU32) {
    for number in 0..BATCHES {
        let whose = organisation((number % 2) as u8);
        let _ = now(store.append(&batch(whose, appender, number))).expect("taken");
        let second = 102 * DAY + appender * 1_000 + number;
        assert_eq!(ask(store, whose, (number % 6) as u8, second, second), Some(1), "{appender}-{number}");
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Asks on and on: what was counted once is never counted less.
fn watch(store: &IndexStore, is_done: &AtomicBool) {
    let mut most = [0; 2];
    while !is_done.load(Ordering::SeqCst) {
        for (number, most) in most.iter_mut().enumerate() {
            let whose = organisation(number as u8);
            let seen = ask(store, whose, 0, 100 * DAY, 103 * DAY).unwrap_or_default();
            assert!(seen >= *most, "{seen} devices, and {most} before");
            *most = seen;
        }
    }
}

/// Segments, retention that touches nothing, and an organisation that comes and goes.
fn disturb(store: &IndexStore, is_done: &AtomicBool) {
    let passing = organisation(7);
    while !is_done.load(Ordering::SeqCst) {
        let _ = now(store.append(&batch(passing, 9, 1))).expect("taken");
        store.flush().expect("flushed");
        now(store.retain(organisation(0), Second::new(100 * DAY))).expect("retained");
        now(store.remove(passing)).expect("removed");
        assert_eq!(ask(store, passing, 0, 0, 103 * DAY), None);
    }
}

fn options(live_rows_max: u64) -> Options {
    Options {
        live_rows_max,
        background: true,
        open_files_max: 3,
        hot_identities_min: 1,
        hot_asked_min: 1,
        ..Options::default()
    }
}

/// Batches of an organisation that is removed in the middle: whoever gets a receipt after the removal began a new one, and
/// what the removal met is gone or refused, never half there.
#[test]
fn a_removal_meets_batches_under_way() {
    let root = tempfile::tempdir().expect("a folder");
    let options = options(300);
    let folder = DataFolder::open(root.path(), options.clone()).expect("opens");
    let store = folder.store();
    let whose = organisation(5);
    std::thread::scope(|scope| {
        for appender in 0..APPENDERS {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for number in 0..BATCHES {
                    match now(store.append(&batch(whose, appender, number))) {
                        Ok(_) => {}
                        Err(error) => assert!(error.to_string().contains("removed meanwhile"), "{error}"),
                    }
                }
            });
        }
        for _ in 0..40 {
            now(store.remove(whose)).expect("removed");
        }
    });
    now(store.remove(whose)).expect("removed");
    assert_eq!(ask(&store, whose, 0, 0, 103 * DAY), None);
    assert!(!store.organisations().contains(&whose));
    drop((store, folder));
    let folder = DataFolder::open(root.path(), options).expect("opens again");
    assert_eq!(ask(&folder.store(), whose, 0, 0, 103 * DAY), None);
    let left = std::fs::read_dir(root.path().join("names")).expect("readable").count();
    assert_eq!(left, 0, "nothing is left of its names");
}

fn check(store: &IndexStore) {
    for number in 0..2u8 {
        let whose = organisation(number);
        let devices = APPENDERS * BATCHES / 2;
        for whither in 0..6 {
            assert_eq!(ask(store, whose, whither, 100 * DAY, 103 * DAY), Some(devices));
        }
        assert_eq!(now(store.devices(whose, None, Second::MAX)).expect("devices").len(), devices as usize);
        for appender in 0..APPENDERS {
            let offset = now(store.offset(whose, source(appender as u8), format!("file-{appender}")));
            assert_eq!(offset, Ok(Some(u64::from(BATCHES - 2 + u32::from(number)))));
        }
    }
    assert_eq!(ask(store, organisation(7), 0, 0, 103 * DAY), None);
}

#[test]
fn many_hands_at_once() {
    let root = tempfile::tempdir().expect("a folder");
    let options = options(1_500);
    let folder = DataFolder::open(root.path(), options.clone()).expect("opens");
    let store = folder.store();
    let (done, is_done) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let appenders: Vec<_> = (0..APPENDERS)
            .map(|appender| {
                let (store, done) = (Arc::clone(&store), &done);
                scope.spawn(move || append(&store, appender, done))
            })
            .collect();
        let others = [scope.spawn(|| watch(&store, &is_done)), scope.spawn(|| disturb(&store, &is_done))];
        let appended: Vec<_> = appenders.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_done.store(true, Ordering::SeqCst);
        let others = others.map(std::thread::ScopedJoinHandle::join);
        assert!(appended.iter().chain(&others).all(Result::is_ok), "a hand failed");
    });
    assert_eq!(done.load(Ordering::SeqCst), APPENDERS * BATCHES);
    let figures = store.figures();
    assert!(figures.segments > 0, "memory went to segments on the way: {figures:?}");
    check(&store);
    drop((store, folder));
    check(&DataFolder::open(root.path(), options).expect("opens again").store());
}
