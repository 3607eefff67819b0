//! Large keys: blocks with bitmaps and with sorted sets, blocks of one key cut in two, several sources at one second,
//! and every kind of window over them, compared with the model or with arithmetic.

mod common;

use std::sync::Arc;

use common::sim::{Dice, Sim};
use common::{now, organisation};
use seenby_index::{IndexStore, Options};
use sighting::model::ModelStore;
use sighting::{
    Address, Answer, Batch, Day, FirstSeen, Identity, IdentityKind, Question, Second, SourceName, Store,
    Window,
};

fn open(disk: &Sim) -> IndexStore {
    IndexStore::open(
        Arc::new(disk.clone()),
        Options { live_rows_max: 1 << 30, background: false, ..Options::default() },
    )
    .expect("opens")
}

fn agent(number: u64) -> Identity {
    Identity::new(IdentityKind::AgentId, &format!("{number:08x}")).expect("a name")
}

fn address(number: u64) -> Address {
    Address::parse(&format!("2001:db8::{number:x}")).expect("an address")
}

fn new_batch(source: &str) -> Batch {
    Batch::new(organisation(0), SourceName::new(source).expect("a name"))
}

fn ask(store: &impl Store, address: Address, since: Second, until: Second) -> Answer {
    let window = Window::new(since, until).expect("in order");
    let question = Question {
        organisation: organisation(0),
        address,
        window,
        kept_since: Second::MIN,
        first_seen: FirstSeen::InWindow,
    };
    now(store.stats(question)).expect("an answer")
}

/// A batch of hot addresses: address 0 is reached by every device, address 1 by every 40th (a sparse set), address 2
/// by one device at very many seconds, the others by few.
fn hot_batch(dice: &mut Dice, source: &str, devices: u64) -> Batch {
    let mut batch = new_batch(source);
    let day = Day::new(200).expect("in range");
    for device in 0..devices {
        let who = batch.identity(agent(device));
        let mut sight = |address: Address, dice: &mut Dice| {
            let second = day.first().plus(dice.roll(2 * 86_400));
            batch.sighted(address, who, second);
        };
        for _ in 0..=dice.roll(3) {
            sight(address(0), dice);
        }
        if device % 40 == 0 {
            for _ in 0..dice.roll(30) {
                sight(address(1), dice);
            }
        }
        if device == 7 {
            for _ in 0..900 {
                sight(address(2), dice);
            }
        }
        sight(address(3 + dice.roll(devices)), dice);
    }
    batch
}

/// Sightings of so many addresses from a number on, each by one device.
fn rare_batch(first: u64, count: u64) -> Batch {
    let mut batch = new_batch("zeek");
    let who = batch.identity(agent(1));
    for number in first..first + count {
        batch.sighted(address(number), who, Second::new(200 * 86_400));
    }
    batch
}

/// Room that a merged segment needs is taken by those that it is made of until they are gone.
#[test]
fn a_segment_gets_its_filter_when_there_is_room() {
    let count = 10_000;
    let options = Options { live_rows_max: 1 << 30, background: false, ..Options::default() };
    // 12 bits each: room for five quarters of them.
    let options = Options { filter_bytes_max: count * 12 / 8 * 5 / 4, ..options };
    let disk = Sim::default();
    let open = || IndexStore::open(Arc::new(disk.clone()), options.clone()).expect("opens");
    let store = open();
    for quarter in 0..4 {
        let _ = store.append_now(&rare_batch(quarter * count / 4, count / 4)).expect("taken");
        store.flush().expect("flushed");
    }
    let figures = store.figures();
    // Its sightings and who reported.
    assert_eq!((figures.segments, figures.segment_rows), (1, count), "merged");
    assert_eq!(figures.unfiltered_segments, 0);
    let day = Day::new(200).expect("in range");
    let seen = |store: &IndexStore, number| {
        matches!(ask(store, address(number), day.first(), day.last()), Answer::Seen(_))
    };
    assert!((0..count).step_by(97).all(|number| seen(&store, number)) && !seen(&store, count));
    // A larger one finds none, and is asked all the same.
    let _ = store.append_now(&rare_batch(count, count)).expect("taken");
    store.flush().expect("flushed");
    assert_eq!((store.figures().segments, store.figures().unfiltered_segments), (2, 1));
    assert!((0..2 * count).step_by(97).all(|number| seen(&store, number)) && !seen(&store, 2 * count));
    drop(store);
    assert_eq!(open().figures().unfiltered_segments, 1);
}

#[test]
fn hot_addresses_equal_the_model() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let (disk, model) = (Sim::default(), ModelStore::new());
        let store = open(&disk);
        for round in 0..3 {
            let batch = hot_batch(&mut dice, if round == 1 { "zeek" } else { "mde" }, 1_500);
            let _ = now(model.append(&batch)).expect("the model takes everything");
            let _ = now(store.append(&batch)).expect("taken");
            if round != 1 {
                store.flush().expect("flushed");
            }
        }
        let start = Day::new(200).expect("in range").first();
        for _ in 0..40 {
            let (a, b) = (dice.roll(2 * 86_400), dice.roll(2 * 86_400));
            let (since, until) = (start.plus(a.min(b)), start.plus(a.max(b)));
            for number in 0..4 {
                let got = ask(&store, address(number), since, until);
                assert_eq!(
                    got,
                    ask(&model, address(number), since, until),
                    "seed {seed}, address {number}, {since} to {until}"
                );
            }
        }
    }
}

#[test]
fn a_key_of_more_than_a_million_facts_is_cut_and_whole() {
    let disk = Sim::default();
    let store = open(&disk);
    let day = Day::new(200).expect("in range");
    let (devices, seconds) = (30u32, 40_000u32);
    let mut batch = new_batch("mde");
    for device in 0..devices {
        let who = batch.identity(agent(u64::from(device)));
        // Each device comes later than the one before it.
        for second in 0..seconds {
            batch.sighted(address(0), who, day.at(device * 1_000 + second));
        }
        batch.sighted(address(1), who, day.at(device));
    }
    let _ = now(store.append(&batch)).expect("taken");
    store.flush().expect("flushed");
    let check = |since: u32, until: u32, expected: Option<(u32, u32, u32)>| {
        let expected = expected.map(|(devices, first, last)| (devices, day.at(first), day.at(last)));
        let got = match ask(&store, address(0), day.at(since), day.at(until)) {
            Answer::Seen(stats) => Some((stats.prevalence.get(), stats.first, stats.last)),
            Answer::Quiet | Answer::Unknown => None,
        };
        assert_eq!(got, expected, "{since} to {until}");
    };
    check(0, 86_399, Some((30, 0, 68_999)));
    check(0, 500, Some((1, 0, 500)));
    check(0, 2_999, Some((3, 0, 2_999)));
    check(68_000, 86_399, Some((1, 68_000, 68_999)));
    // The first device came no later than second 39,999.
    check(40_000, 41_999, Some((29, 40_000, 41_999)));
    check(69_000, 86_399, None);
    assert_eq!(store.figures().segment_rows, u64::from(devices * (seconds + 1)));
}
