//! The store against the model: random batches in any order with repeats, flushes, restarts, joins and retention in
//! between, and every question of the small world compared. A failure prints the steps that led to it.

mod common;

use std::sync::Arc;

use common::sim::Sim;
use common::{Line, batch, difference, identity, now, organisation, second};
use proptest::collection::vec;
use proptest::prelude::*;
use seenby_index::{IndexStore, Options};
use sighting::model::ModelStore;
use sighting::{RegistryChange, Second, Store};

#[derive(Clone, Debug)]
enum Step {
    Append { whose: u8, source: u8, lines: Vec<Line> },
    Flush,
    Reopen,
    Retain { day: u8, place: u8 },
    Merge { whose: u8, from: u8, into: u8 },
    Domain { whose: u8, known: bool },
    Remove { whose: u8 },
}

fn line() -> impl Strategy<Value = Line> {
    (0u8..6, 0u8..6, 0u8..4, 0u8..6, proptest::option::of(0u8..3))
        .prop_map(|(who, whither, day, place, carried)| Line { who, whither, day, place, carried })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..2, 0u8..2, vec(line(), 0..12)).prop_map(|(whose, source, lines)| Step::Append { whose, source, lines }),
        3 => Just(Step::Flush),
        2 => Just(Step::Reopen),
        1 => (0u8..4, 0u8..6).prop_map(|(day, place)| Step::Retain { day, place }),
        1 => (0u8..2, 0u8..6, 0u8..6).prop_map(|(whose, from, into)| Step::Merge { whose, from, into }),
        1 => (0u8..2, any::<bool>()).prop_map(|(whose, known)| Step::Domain { whose, known }),
        1 => (0u8..2).prop_map(|whose| Step::Remove { whose }),
    ]
}

fn open(disk: &Sim, hot_bytes_max: u64) -> IndexStore {
    let options = Options {
        live_rows_max: 60,
        background: false,
        open_files_max: 2,
        hot_identities_min: 1,
        hot_asked_min: 1,
        hot_bytes_max,
        // Room for the filters of a few segments, so that others have none.
        filter_bytes_max: 2_000,
    };
    IndexStore::open(Arc::new(disk.clone()), options).expect("the folder opens")
}

/// With `asks_between`, every question is asked after every step too: what the store keeps in memory of what was asked is then of
/// before the next step.
fn check(steps: &[Step], asks_between: bool) {
    let disk = Sim::default();
    // Room for all that is asked for, so that it is met by what comes later; or for a few, so that most are forgotten again.
    let hot_bytes_max = if asks_between { 1 << 20 } else { 150_000 };
    let mut store = open(&disk, hot_bytes_max);
    let model = ModelStore::new();
    let mut kept_since = Second::MIN;
    for step in steps {
        match step {
            Step::Append { whose, source, lines } => {
                // What is too old never gets here.
                let lines: Vec<Line> =
                    lines.iter().copied().filter(|line| second(line.day, line.place) >= kept_since).collect();
                let _ =
                    now(model.append(&batch(*whose, *source, &lines))).expect("the model takes everything");
                let _ = now(store.append(&batch(*whose, *source, &lines))).expect("the store takes it");
            }
            Step::Flush => store.flush().expect("the store flushes"),
            Step::Reopen => {
                drop(store);
                store = open(&disk, hot_bytes_max);
            }
            Step::Retain { day, place } => {
                kept_since = kept_since.max(second(*day, *place));
                for whose in 0..2 {
                    now(store.retain(organisation(whose), kept_since)).expect("the store retains");
                    now(model.retain(organisation(whose), kept_since)).expect("the model retains");
                    let nothing = now(store.outside(organisation(whose), kept_since)).expect("counted");
                    assert_eq!(nothing.dropped, 0);
                }
            }
            Step::Merge { whose, from, into } => {
                let change = RegistryChange::Merge { from: identity(*from), into: identity(*into) };
                let expected = now(model.teach(organisation(*whose), change.clone()));
                assert_eq!(now(store.teach(organisation(*whose), change)), expected);
            }
            Step::Domain { whose, known } => {
                let change = RegistryChange::Domain(known.then(|| "example.org".to_owned()));
                now(model.teach(organisation(*whose), change.clone())).expect("the model learns");
                now(store.teach(organisation(*whose), change)).expect("the store learns");
            }
            Step::Remove { whose } => {
                now(model.remove(organisation(*whose))).expect("the model removes");
                now(store.remove(organisation(*whose))).expect("the store removes");
            }
        }
        if asks_between {
            assert_eq!(difference(&store, &model, kept_since), None);
            assert_eq!(difference(&store, &model, Second::MIN), None);
        }
    }
    assert_eq!(difference(&store, &model, kept_since), None);
    // What retention deleted is gone for good, to whomever asks.
    assert_eq!(difference(&store, &model, Second::MIN), None);
    for whose in 0..2 {
        let whose = organisation(whose);
        let mut devices = now(store.devices(whose, None)).expect("devices");
        let mut expected = now(model.devices(whose, None)).expect("devices");
        for device in devices.iter_mut().chain(&mut expected) {
            // Numbers mean nothing outside one store; days outside retention may be gone already.
            device.number = 0;
            device.last_reported = device.last_reported.filter(|day| *day >= kept_since.day());
        }
        devices.sort_by(|a, b| a.identity.cmp(&b.identity));
        expected.sort_by(|a, b| a.identity.cmp(&b.identity));
        assert_eq!(devices, expected);
        let until = second(3, 3);
        if kept_since <= until {
            assert_eq!(
                now(store.coverage(whose, kept_since, until)),
                now(model.coverage(whose, kept_since, until))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn equals_the_model(steps in vec(step(), 1..25), asks_between: bool) {
        check(&steps, asks_between);
    }
}

#[test]
fn every_question_after_each_kind_of_step() {
    let lines: Vec<Line> = (0..60u8)
        .map(|n| Line { who: n % 6, whither: n / 6 % 6, day: n % 4, place: n / 10, carried: Some(n % 3) })
        .collect();
    let append = || Step::Append { whose: 0, source: 0, lines: lines.clone() };
    let all: [&[Step]; 3] = [
        &[
            append(),
            Step::Flush,
            Step::Merge { whose: 0, from: 1, into: 2 },
            append(),
            Step::Flush,
            Step::Reopen,
            Step::Domain { whose: 0, known: true },
            append(),
        ],
        &[append(), Step::Flush, Step::Retain { day: 2, place: 2 }, Step::Reopen, append()],
        &[append(), Step::Remove { whose: 0 }, Step::Reopen, append(), Step::Flush, Step::Reopen],
    ];
    for steps in all {
        check(steps, false);
        check(steps, true);
    }
}
