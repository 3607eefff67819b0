//! Power cuts: the same work is done again and again, and each time the power goes before another operation of the
//! disk. Whatever the disk then holds, every acknowledged step must be there, and of the step under way all or
//! nothing.

mod common;

use std::sync::Arc;

use common::sim::{Dice, Sim};
use common::{Line, batch, difference, identity, now, organisation, second};
use seenby_index::{IndexStore, Options};
use sighting::model::ModelStore;
use sighting::{RegistryChange, Second, Store, StoreError};

fn open(disk: &Sim) -> Result<IndexStore, seenby_index::IndexError> {
    IndexStore::open(Arc::new(disk.clone()), Options { live_rows_max: 30, background: false })
}

/// One step of the work, the same for store and model.
fn step(number: u64, store: &impl Store) -> Result<(), StoreError> {
    let mut dice = Dice(number);
    match number % 11 {
        4 => {
            now(store.teach(organisation(0), RegistryChange::Merge { from: identity(0), into: identity(1) }))
        }
        7 => now(store.retain(organisation(0), kept_since(number))),
        9 if number > 10 => now(store.remove(organisation(1))),
        _ => {
            let lines: Vec<Line> = (0..12)
                .map(|_| Line {
                    who: dice.roll(6) as u8,
                    whither: dice.roll(6) as u8,
                    day: 1 + dice.roll(3) as u8,
                    place: dice.roll(6) as u8,
                    carried: Some(dice.roll(3) as u8),
                })
                .collect();
            now(store.append(batch((number % 2) as u8, 0, &lines))).map(drop)
        }
    }
}

/// Retention moves once, past a day that holds nothing yet and into one that does.
fn kept_since(number: u64) -> Second {
    if number > 12 { second(1, 0) } else { Second::MIN }
}

const STEPS: u64 = 22;

fn model_after(steps: u64) -> ModelStore {
    let model = ModelStore::new();
    for number in 0..steps {
        let _ = step(number, &model);
    }
    model
}

/// Works until the power goes; returns how many steps were acknowledged.
fn work(disk: &Sim) -> u64 {
    let Ok(store) = open(disk) else { return 0 };
    (0..STEPS)
        .take_while(|number| matches!(step(*number, &store), Ok(()) | Err(StoreError::Refused(_))))
        .count() as u64
}

#[test]
fn every_acknowledged_step_survives_a_power_cut_anywhere() {
    let whole = Sim::default();
    assert_eq!(work(&whole), STEPS);
    let operations = whole.operations();
    assert!(operations > 200, "the work is long enough to matter: {operations} operations");
    let models: Vec<ModelStore> = (0..=STEPS).map(model_after).collect();
    for cut in 0..operations {
        let disk = Sim::default();
        disk.cut_before(cut);
        let acknowledged = work(&disk) as usize;
        for seed in 0..6 {
            let left = disk.after_power_cut(&mut Dice(cut * 31 + seed));
            let store = open(&left).unwrap_or_else(|error| panic!("cut {cut}, seed {seed}: {error}"));
            let done = difference(&store, &models[acknowledged], second(1, 0));
            let one_more = models.get(acknowledged + 1).map(|model| difference(&store, model, second(1, 0)));
            assert!(
                done.is_none() || one_more == Some(None),
                "cut {cut}, seed {seed}, {acknowledged} steps acknowledged: {done:?}; with the one under way: {one_more:?}"
            );
        }
    }
    println!("{operations} cuts, 6 outcomes each");
}

#[test]
fn a_second_power_cut_during_recovery_loses_nothing() {
    for cut in (0..260).step_by(7) {
        let disk = Sim::default();
        disk.cut_before(cut);
        let acknowledged = work(&disk) as usize;
        let mut left = disk.after_power_cut(&mut Dice(cut));
        for second_cut in 0..12 {
            left.cut_before(second_cut);
            let _ = open(&left);
            left = left.after_power_cut(&mut Dice(cut + second_cut));
        }
        let store = open(&left).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
        let done = difference(&store, &model_after(acknowledged as u64), second(1, 0));
        let one_more = difference(&store, &model_after(acknowledged as u64 + 1), second(1, 0));
        assert!(done.is_none() || one_more.is_none(), "cut {cut}: {done:?}");
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_nothing_never_another_answer() {
    let whole = Sim::default();
    assert_eq!(work(&whole), STEPS);
    drop(open(&whole).expect("opens").flush());
    let model = model_after(STEPS);
    let mut refused = 0;
    for seed in 0..600u64 {
        let mut dice = Dice(seed);
        let disk = whole.after_power_cut(&mut dice);
        let paths: Vec<String> = disk.paths().into_iter().filter(|path| path != "manifest.new").collect();
        let path = &paths[dice.roll(paths.len() as u64) as usize];
        disk.flip(path, dice.roll(1 << 20) as usize, dice.roll(8) as u8);
        let Ok(store) = open(&disk) else {
            refused += 1;
            continue;
        };
        for question in (0..2).flat_map(|whose| common::questions(whose, second(1, 0))) {
            match now(store.stats(question)) {
                Ok(answer) => assert_eq!(Ok(answer), now(model.stats(question)), "seed {seed}, {path}"),
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
        }
    }
    assert!(refused > 300, "only {refused} of 600 flipped bits were noticed");
}
