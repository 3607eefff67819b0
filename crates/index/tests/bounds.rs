//! What is more than one record of the journal holds: refused with a reason, nothing half taken, and whatever was acknowledged is there
//! after a restart. Refuses to hold: bounds of what is in memory (the modules' own tests).

mod common;

use std::sync::Arc;

use common::sim::Sim;
use common::{Line, batch, now, organisation, questions, source};
use seenby_index::{IndexStore, Options};
use sighting::{Answer, Batch, Identity, IdentityKind, Second, Store, StoreError};

fn open(disk: &Sim) -> IndexStore {
    let options = Options { background: false, journal_record_bytes_max: 4_096, ..Options::default() };
    IndexStore::open(Arc::new(disk.clone()), options).expect("the folder opens")
}

/// As many sightings as are asked for, all of one device.
fn sightings(count: usize) -> Batch {
    let line = |n: usize| Line { who: 0, whither: 0, day: (n % 4) as u8, place: 0, carried: None };
    let mut all = batch(0, 0, &(0..4.min(count)).map(line).collect::<Vec<_>>());
    let who = all.identity(common::identity(0));
    for n in 4..count as u32 {
        all.sighted(common::address(0), who, common::second(0, 0).plus(u64::from(n)));
    }
    all
}

/// Agents that were merged into one: much to say, and hardly a row.
fn merges(count: usize) -> Batch {
    let mut batch = Batch::new(organisation(0), source(0));
    let agent = |name: String| Identity::new(IdentityKind::AgentId, &name).expect("a name");
    let into = batch.identity(agent("into".to_owned()));
    for number in 0..count {
        let from = batch.identity(agent(format!("an agent with a long name and number {number}")));
        batch.merged(from, into, Second::new(5));
    }
    batch
}

fn answers(store: &IndexStore) -> Vec<Answer> {
    let ask = |question| now(store.stats(question)).expect("answered");
    questions(0, Second::MIN).into_iter().map(ask).collect()
}

#[test]
fn a_batch_that_is_too_large_is_refused_and_others_are_taken() {
    let disk = Sim::default();
    let store = open(&disk);
    let refused = now(store.append(&sightings(1_000)));
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("4096 bytes")), "{refused:?}");
    let _ = now(store.append(&sightings(4))).expect("taken");
    let _ = now(store.append(&merges(10))).expect("taken");
    let expected = answers(&store);
    assert!(expected.iter().any(|answer| matches!(answer, Answer::Seen(_))));
    assert!(!store.figures().is_stopped);
    drop(store);
    assert_eq!(answers(&open(&disk)), expected);
}

#[test]
fn names_that_fit_into_no_record_stop_the_writing_and_lose_nothing() {
    let disk = Sim::default();
    let store = open(&disk);
    let _ = now(store.append(&sightings(4))).expect("taken");
    let expected = answers(&store);
    let refused = now(store.append(&merges(200)));
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("4096 bytes")), "{refused:?}");
    assert!(store.figures().is_stopped);
    // No record may follow that builds on names which are in none.
    let stopped = now(store.append(&sightings(4)));
    assert!(matches!(&stopped, Err(StoreError::Unavailable(_))), "{stopped:?}");
    assert_eq!(answers(&store), expected);
    drop(store);
    let store = open(&disk);
    assert_eq!(answers(&store), expected);
    let _ = now(store.append(&merges(10))).expect("it writes again");
}
