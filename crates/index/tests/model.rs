//! The store against the model: random batches in any order with repeats, flushes, restarts, joins and retention in
//! between, and every question of the small world compared. A failure prints the steps that led to it.

mod common;

use std::sync::Arc;

use common::sim::Sim;
use common::{Fact, Line, batch, difference, identity, now, organisation, registry_batch, second, source};
use proptest::collection::vec;
use proptest::prelude::*;
use seenby_index::{IndexStore, Options};
use sighting::model::ModelStore;
use sighting::{
    Batch, Coverage, Day, DeviceEntry, Identity, IdentityKind, Label, Network, NetworkKind, RegistryChange,
    Second, Store, TagChange,
};

#[derive(Clone, Debug)]
enum Step {
    Append { whose: u8, source: u8, lines: Vec<Line> },
    Learn { whose: u8, facts: Vec<Fact> },
    Flush,
    Reopen,
    Retain { day: u8, place: u8 },
    Teach { whose: u8, change: RegistryChange },
    Remove { whose: u8 },
}

fn line() -> impl Strategy<Value = Line> {
    (0u8..9, 0u8..6, 0u8..4, 0u8..6, proptest::option::of(0u8..3))
        .prop_map(|(who, whither, day, place, carried)| Line { who, whither, day, place, carried })
}

fn fact() -> impl Strategy<Value = Fact> {
    let moment = || (0u8..4, 0u8..6);
    prop_oneof![
        4 => (6u8..9, 0u8..9, moment(), proptest::option::of(moment()))
            .prop_map(|(what, who, since, until)| Fact::Leased { what, who, since, until }),
        2 => (0u8..5, 0u8..6, moment()).prop_map(|(what, who, at)| Fact::Carried { what, who, at }),
        1 => (0u8..3, 0u8..3, moment()).prop_map(|(from, into, at)| Fact::Merged { from, into, at }),
        1 => (0u8..3, 0u8..2, moment()).prop_map(|(who, group, at)| Fact::Grouped { who, group, at }),
    ]
}

fn merge(from: u8, into: u8) -> RegistryChange {
    RegistryChange::Merge { from: identity(from), into: identity(into) }
}

fn domain(known: bool) -> RegistryChange {
    RegistryChange::Domain(known.then(|| "example.org".to_owned()))
}

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|text| Network::parse(text).expect("a network")).collect()
}

fn gateways(list: &[&str]) -> RegistryChange {
    RegistryChange::Networks(NetworkKind::Nat, networks(list))
}

/// Gateways of every organisation.
fn gateways_of_all() -> Vec<Network> {
    networks(&["10.0.0.6"])
}

fn change() -> impl Strategy<Value = RegistryChange> {
    let label =
        |number: u8| Label::new(if number.is_multiple_of(2) { "red" } else { "blue" }).expect("a label");
    prop_oneof![
        3 => (0u8..9, 0u8..9).prop_map(|(from, into)| merge(from, into)),
        2 => (0u8..9).prop_map(|who| RegistryChange::Split(identity(who))),
        1 => any::<bool>().prop_map(domain),
        1 => any::<bool>().prop_map(|known| gateways(if known { &["10.0.0.5", "192.0.2.0/24"] } else { &[] })),
        1 => (0u8..9, proptest::option::of(0u8..2)).prop_map(move |(who, name)| {
            RegistryChange::Rename { identity: identity(who), name: name.map(label) }
        }),
        1 => (0u8..9, 0u8..2, any::<bool>()).prop_map(move |(who, tag, adds)| {
            let change = if adds { TagChange::Add } else { TagChange::Remove };
            RegistryChange::Tag { identity: identity(who), tag: label(tag), change }
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..2, 0u8..2, vec(line(), 0..12)).prop_map(|(whose, source, lines)| Step::Append { whose, source, lines }),
        3 => Just(Step::Flush),
        2 => Just(Step::Reopen),
        1 => (0u8..4, 0u8..6).prop_map(|(day, place)| Step::Retain { day, place }),
        4 => (0u8..2, vec(fact(), 0..6)).prop_map(|(whose, facts)| Step::Learn { whose, facts }),
        3 => (0u8..2, change()).prop_map(|(whose, change)| Step::Teach { whose, change }),
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
        nat_gateways: gateways_of_all(),
        ..Options::default()
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
    let model = ModelStore::with_gateways(gateways_of_all());
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
            Step::Learn { whose, facts } => {
                // Leases may begin before all that is kept, and end before it; who carried what is told by what is kept.
                let facts: Vec<Fact> = facts
                    .iter()
                    .copied()
                    .filter(|fact| match fact {
                        Fact::Carried { at: (day, place), .. } => second(*day, *place) >= kept_since,
                        _ => true,
                    })
                    .collect();
                let batch = registry_batch(*whose, 0, &facts);
                let _ = now(model.append(&batch)).expect("the model takes everything");
                let _ = now(store.append(&batch)).expect("the store takes it");
            }
            Step::Teach { whose, change } => {
                let expected = now(model.teach(organisation(*whose), change.clone()));
                assert_eq!(now(store.teach(organisation(*whose), change.clone())), expected);
                let whose = organisation(*whose);
                assert_eq!(now(store.registry(whose)), now(model.registry(whose)));
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
        for at in [kept_since.max(second(1, 2)), kept_since.max(second(2, 5)), Second::MAX] {
            let tidied = |devices: Vec<DeviceEntry>| tidied(devices, kept_since);
            let devices = tidied(now(store.devices(whose, None, at)).expect("devices"));
            let expected = tidied(now(model.devices(whose, None, at)).expect("devices"));
            assert_eq!(devices, expected);
        }
        let until = second(3, 3);
        if kept_since <= until {
            assert_eq!(
                now(store.coverage(whose, kept_since, until)),
                now(model.coverage(whose, kept_since, until))
            );
        }
    }
}

/// Devices without what two stores may tell differently.
fn tidied(mut devices: Vec<DeviceEntry>, kept_since: Second) -> Vec<DeviceEntry> {
    for device in &mut devices {
        // Numbers mean nothing outside one store; days outside retention may be gone already, leases that ended before too.
        device.number = 0;
        device.last_reported = device.last_reported.filter(|day| *day >= kept_since.day());
        device.leases.retain(|lease| lease.since >= kept_since.day().first());
    }
    devices.sort_by(|a, b| a.identity.cmp(&b.identity));
    devices
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
        .map(|n| Line { who: n % 9, whither: n / 6 % 6, day: n % 4, place: n / 10, carried: Some(n % 3) })
        .collect();
    let append = || Step::Append { whose: 0, source: 0, lines: lines.clone() };
    let facts: Vec<Fact> = (0..40u8)
        .map(|n| Fact::Leased {
            what: 6 + n % 3,
            who: n % 9,
            since: (n % 4, n / 7),
            until: (n % 2 == 0).then_some((3 - n % 3, n / 7)),
        })
        .collect();
    let learn = || Step::Learn { whose: 0, facts: facts.clone() };
    let all: [&[Step]; 3] = [
        &[
            append(),
            Step::Flush,
            Step::Teach { whose: 0, change: merge(1, 2) },
            append(),
            Step::Flush,
            Step::Reopen,
            Step::Teach { whose: 0, change: domain(true) },
            append(),
            learn(),
            Step::Flush,
            learn(),
            Step::Teach { whose: 0, change: gateways(&["10.0.0.5"]) },
            Step::Reopen,
        ],
        &[append(), learn(), Step::Flush, Step::Retain { day: 2, place: 2 }, Step::Reopen, append(), learn()],
        &[append(), Step::Remove { whose: 0 }, Step::Reopen, append(), Step::Flush, Step::Reopen],
    ];
    for steps in all {
        check(steps, false);
        check(steps, true);
    }
}

/// Two addresses, each of them a host's for hours of one day and nobody's at its end, report on that day.
#[test]
fn who_reported_under_a_leased_address_is_whom_it_was_leased_to() {
    let at = |hour: u32| Day::new(100).expect("in range").first().plus(u64::from(hour) * 3_600);
    let of = |kind, name: &str| Identity::new(kind, name).expect("a name");
    let fill = |leases: &[(&str, &str, u32, Option<u32>)], reporters: &[&str]| {
        let mut batch = Batch::new(organisation(0), source(0));
        for (what, who, since, until) in leases {
            let kind_of = |name: &str| match name {
                name if name.starts_with("10.") => IdentityKind::Address,
                name if name.contains(':') => IdentityKind::Mac,
                _ => IdentityKind::HostName,
            };
            let (what, who) =
                (batch.identity(of(kind_of(what), what)), batch.identity(of(kind_of(who), who)));
            batch.leased(what, who, at(*since), until.map(at));
        }
        for address in reporters {
            let address = batch.identity(of(IdentityKind::Address, address));
            batch.reported(address, at(3));
        }
        batch
    };
    let check = |leases: &[(&str, &str, u32, Option<u32>)], reporters: &[&str], expected: u32| {
        let disk = Sim::default();
        let (store, model) = (open(&disk, 1 << 20), ModelStore::with_gateways(gateways_of_all()));
        let batch = fill(leases, reporters);
        let _ = now(model.append(&batch)).expect("the model takes it");
        let _ = now(store.append(&batch)).expect("the store takes it");
        let reporters = |coverage: Coverage| coverage.reporters.iter().map(|(_, count)| *count).collect();
        let whole = (Second::MIN, Second::MAX);
        let told: Vec<u32> =
            reporters(now(store.coverage(organisation(0), whole.0, whole.1)).expect("covered"));
        let by_model: Vec<u32> =
            reporters(now(model.coverage(organisation(0), whole.0, whole.1)).expect("covered"));
        assert_eq!((told, by_model), (vec![expected], vec![expected]), "{leases:?}");
    };
    let two = ["10.0.0.5", "10.0.0.9"];
    check(&[("10.0.0.5", "pc-1", 8, Some(12)), ("10.0.0.9", "pc-1", 13, Some(17))], &two, 1);
    check(&[("10.0.0.5", "pc-1", 8, Some(12)), ("10.0.0.5", "pc-2", 13, Some(17))], &two[..1], 2);
    // Through a MAC that is one host's, another's, and then nobody's but its own.
    let mac = "00:0d:3a:13:e3:69";
    check(&[("10.0.0.5", mac, 0, Some(12)), (mac, "pc-1", 0, None), (mac, "pc-2", 2, Some(4))], &two[..1], 3);
    // Not on that day at all.
    check(&[("10.0.0.5", "pc-1", 30, Some(31)), ("10.0.0.9", "pc-1", 32, None)], &two, 2);
    check(&[], &two, 2);
}
