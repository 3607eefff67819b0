//! What can end the work: the power goes, the process dies, an operation of the disk fails. The same work is done again
//! and again, and each time it ends before another operation. Whatever the disk then holds, every acknowledged step must
//! be there, and of the step under way all or nothing.

mod common;

use std::sync::Arc;

use common::sim::{Dice, Sim};
use common::{Fact, Line, batch, difference, identity, now, organisation, registry_batch, second};
use seenby_index::{IndexStore, Options};
use sighting::model::ModelStore;
use sighting::{Answer, Question, RegistryChange, Second, Store, StoreError, Window};

fn open(disk: &Sim) -> Result<IndexStore, seenby_index::IndexError> {
    IndexStore::open(
        Arc::new(disk.clone()),
        Options {
            live_rows_max: 30,
            background: false,
            open_files_max: 2,
            hot_identities_min: 1,
            hot_asked_min: 1,
            ..Options::default()
        },
    )
}

/// One step of the work, the same for store and model.
fn step(number: u64, store: &impl Store) -> Result<(), StoreError> {
    let mut dice = Dice(number);
    match number % 11 {
        4 => {
            now(store.teach(organisation(0), RegistryChange::Merge { from: identity(0), into: identity(1) }))
        }
        2 | 6 => now(store.append(&registry_batch((number % 2) as u8, 0, &facts(&mut dice)))).map(drop),
        7 => now(store.retain(organisation(0), kept_since(number + 1))),
        9 if number > 10 => now(store.remove(organisation(1))),
        _ => {
            let lines: Vec<Line> = (0..12)
                .map(|_| Line {
                    who: dice.roll(9) as u8,
                    whither: dice.roll(6) as u8,
                    day: 1 + dice.roll(3) as u8,
                    place: dice.roll(6) as u8,
                    carried: Some(dice.roll(3) as u8),
                })
                // What is too old never gets to a store.
                .filter(|line| second(line.day, line.place) >= kept_since(number))
                .collect();
            now(store.append(&batch((number % 2) as u8, 0, &lines))).map(drop)
        }
    }
}

/// Leases whenever they are, and a word of the product.
fn facts(dice: &mut Dice) -> Vec<Fact> {
    let mut roll = |sides| dice.roll(sides) as u8;
    let mut facts = vec![Fact::Merged { from: roll(3), into: roll(3), at: (1, 1) }];
    for _ in 0..6 {
        let until = (roll(2) == 0).then(|| (roll(4), roll(6)));
        facts.push(Fact::Leased { what: 6 + roll(3), who: roll(9), since: (roll(4), roll(6)), until });
    }
    facts
}

/// What is kept once so many steps were begun. Retention moves with step 18, over a whole day and into the next.
fn kept_since(steps: u64) -> Second {
    if steps > 18 { second(2, 2) } else { Second::MIN }
}

const STEPS: u64 = 26;

/// The model after some of the steps.
fn model_of(steps: impl IntoIterator<Item = u64>) -> ModelStore {
    let model = ModelStore::new();
    for number in steps {
        let _ = step(number, &model);
    }
    model
}

/// Whether a step was acknowledged. One that makes no sense was understood.
fn is_acknowledged(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Ok(()) | Err(StoreError::Refused(_)))
}

/// Works on from a step until the work ends; returns how many steps were acknowledged in all.
fn work_on(disk: &Sim, from: u64, to: u64) -> u64 {
    let Ok(store) = open(disk) else { return from };
    from + (from..to).take_while(|number| is_acknowledged(&step(*number, &store))).count() as u64
}

fn work(disk: &Sim) -> u64 {
    work_on(disk, 0, STEPS)
}

/// How many operations of the disk the whole work takes.
fn operations() -> u64 {
    let whole = Sim::default();
    assert_eq!(work(&whole), STEPS);
    let operations = whole.operations();
    assert!(operations > 250, "the work is long enough to matter: {operations} operations");
    operations
}

/// Opens what a disk holds and compares it with the acknowledged steps, or with those and the one under way.
#[track_caller]
fn check(disk: &Sim, acknowledged: &[u64], under_way: Option<u64>, what: &str) {
    let store = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let begun = acknowledged.iter().copied().chain(under_way).max().map_or(0, |last| last + 1);
    let kept_since = kept_since(begun);
    let done = difference(&store, &model_of(acknowledged.iter().copied()), kept_since);
    if done.is_none() {
        return;
    }
    let one_more = under_way.map(|step| {
        let mut steps: Vec<u64> = acknowledged.iter().copied().chain([step]).collect();
        steps.sort_unstable();
        difference(&store, &model_of(steps), kept_since)
    });
    assert_eq!(one_more, Some(None), "{what}, {acknowledged:?} acknowledged: {done:?}");
}

fn first_steps(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn every_acknowledged_step_survives_a_power_cut_anywhere() {
    let operations = operations();
    for cut in 0..operations {
        let disk = Sim::default();
        disk.cut_before(cut);
        let acknowledged = work(&disk);
        for seed in 0..4 {
            let left = disk.after_power_cut(&mut Dice(cut * 31 + seed));
            let what = format!("cut {cut}, seed {seed}");
            check(&left, &first_steps(acknowledged), Some(acknowledged), &what);
        }
    }
    println!("{operations} cuts, 4 outcomes each");
}

#[test]
fn what_a_dead_process_left_can_be_built_on() {
    for killed in 0..operations() {
        let disk = Sim::default();
        disk.cut_before(killed);
        let acknowledged = work(&disk);
        // The next process sees what was written and does the step under way again, and a few more.
        disk.next_process();
        let to = (acknowledged + 3).min(STEPS);
        assert_eq!(work_on(&disk, acknowledged, to), to, "killed before {killed}");
        for seed in 0..2 {
            let left = disk.after_power_cut(&mut Dice(killed * 17 + seed));
            check(&left, &first_steps(to), None, &format!("killed before {killed}, seed {seed}"));
        }
    }
}

#[test]
fn an_operation_that_fails_loses_nothing_that_was_acknowledged() {
    for failing in 0..operations() {
        let disk = Sim::default();
        disk.fail_once(failing);
        let mut acknowledged = Vec::new();
        let mut under_way = None;
        // Whatever the store still takes after the failure counts too.
        if let Ok(store) = open(&disk) {
            for number in 0..STEPS {
                match step(number, &store) {
                    outcome if is_acknowledged(&outcome) => acknowledged.push(number),
                    _ => drop(under_way.get_or_insert(number)),
                }
            }
        }
        let what = format!("operation {failing} fails");
        check(&disk, &acknowledged, under_way, &what);
        let cut = disk.after_power_cut(&mut Dice(failing));
        check(&cut, &acknowledged, under_way, &format!("{what}, then the power"));
    }
}

#[test]
fn a_second_power_cut_during_recovery_loses_nothing() {
    for cut in (0..operations()).step_by(7) {
        let disk = Sim::default();
        disk.cut_before(cut);
        let acknowledged = work(&disk);
        let mut left = disk.after_power_cut(&mut Dice(cut));
        for second_cut in 0..16 {
            left.cut_before(second_cut);
            let _ = open(&left);
            left = left.after_power_cut(&mut Dice(cut + second_cut));
        }
        check(&left, &first_steps(acknowledged), Some(acknowledged), &format!("cut {cut}"));
    }
}

#[test]
fn a_folder_without_its_manifest_is_not_taken_for_a_new_one() {
    let disk = Sim::default();
    assert_eq!(work(&disk), STEPS);
    seenby_index::storage::Storage::remove(&disk, "manifest").expect("it is there");
    let paths = disk.paths();
    let Err(error) = open(&disk) else { panic!("it opened") };
    assert!(error.to_string().contains("restore the whole data folder from a backup"), "{error}");
    assert_eq!(disk.paths(), paths, "nothing was removed");
}

#[test]
fn damage_inside_a_journal_is_told() {
    let disk = Sim::default();
    let store = IndexStore::open(Arc::new(disk.clone()), Options::default()).expect("opens");
    for number in 0..4 {
        step(number, &store).expect("taken");
    }
    let journal = disk.paths().into_iter().find(|path| path.ends_with(".journal")).expect("a journal");
    // The last frame has nothing behind it that could tell damage from a torn write.
    let whole = disk.len_of(&journal);
    step(5, &store).expect("taken");
    drop(store);
    for byte in 0..whole {
        let damaged = disk.after_power_cut(&mut Dice(1));
        damaged.flip(&journal, byte, byte as u8);
        let Err(error) = open(&damaged) else { panic!("byte {byte}: it opened") };
        assert!(error.to_string().contains("damaged"), "byte {byte}: {error}");
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_nothing_never_another_answer() {
    let whole = Sim::default();
    assert_eq!(work(&whole), STEPS);
    drop(open(&whole).expect("opens").flush());
    let model = model_of(0..STEPS);
    let kept = kept_since(STEPS);
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
        for question in (0..2).flat_map(|whose| common::questions(whose, kept)) {
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

/// Damage is the business of questions that meet it: one about another day is answered however often it is asked, though a hot
/// address is read as a whole then.
#[test]
fn damage_on_one_day_is_nothing_to_a_question_about_another() {
    let whole = Sim::default();
    let store = open(&whole).expect("opens");
    let line = |who, day| Line { who, whither: 0, day, place: 4, carried: None };
    let lines: Vec<Line> = (0..6).flat_map(|who| [line(who, 1), line(who, 3)]).collect();
    let _ = now(store.append(&batch(0, 0, &lines))).expect("taken");
    store.flush().expect("flushed");
    drop(store);
    let questions = common::questions(0, second(3, 0));
    let of_day_3 = questions
        .into_iter()
        .rfind(|question| question.address == common::address(0) && question.window.since() >= second(3, 0));
    let question = of_day_3.expect("one of them");
    let whole_answer = now(open(&whole).expect("opens").stats(question)).expect("answered");
    assert!(matches!(whole_answer, Answer::Seen(_)));
    let (mut answered, mut damaged) = (0, 0);
    for path in whole.paths().iter().filter(|path| path.ends_with(".segment")) {
        for byte in 0..whole.len_of(path) {
            let disk = whole.after_power_cut(&mut Dice(0));
            disk.flip(path, byte, 3);
            let Ok(store) = open(&disk) else { continue };
            if now(store.stats(question)) != Ok(whole_answer) {
                continue;
            }
            answered += 1;
            for _ in 0..3 {
                assert_eq!(now(store.stats(question)), Ok(whole_answer), "{path}, byte {byte}");
            }
            let window = Window::new(Second::MIN, Second::MAX).expect("a window");
            let all = Question { window, kept_since: Second::MIN, ..question };
            damaged += u32::from(now(store.stats(all)).is_err());
        }
    }
    assert!(
        answered > 100 && damaged > 10,
        "{answered} answered, to whom {damaged} times a longer window was not"
    );
}
