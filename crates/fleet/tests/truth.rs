//! The truth against a plain map, the promised addresses, and the promise that a seed says everything.

use std::collections::{BTreeMap, BTreeSet};

use seenby_fleet::{DeviceNumber, Event, Fleet, Kind, Sensor, Settings, Truth, zeek_header};
use sighting::{Address, Identity, Second, Window};

fn small(seed: u64) -> Fleet {
    Fleet::new(Settings { seed, devices: 40, days: 3, ..Settings::default() })
}

/// FNV-1a over every byte of every line.
fn fingerprint(fleet: &Fleet) -> u64 {
    let mut lines = Vec::new();
    zeek_header(&mut lines);
    fleet.events().for_each(|event| event.write(&mut lines));
    lines
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn a_seed_gives_the_same_bytes_on_every_machine() {
    assert_ne!(fingerprint(&small(1)), fingerprint(&small(2)));
    // Changes when the simulator changes; never with the machine.
    assert_eq!(fingerprint(&small(1)), 14394943571468546948);
}

#[test]
fn lines_arrive_in_order_and_in_time() {
    let fleet = small(3);
    let (since, until) = (fleet.settings().since(), fleet.settings().until);
    let mut received = BTreeMap::new();
    for event in fleet.events() {
        assert!(since <= event.second && event.second <= event.received() && event.received() <= until);
        if event.delivery == seenby_fleet::Delivery::First {
            let last = received.insert(event.sensor, event.received());
            assert!(last.is_none_or(|last| last <= event.received()));
        }
    }
    assert_eq!(received.len(), 2);
}

type Naive = BTreeMap<Address, BTreeMap<Identity, BTreeSet<Second>>>;

fn naive_stats(naive: &Naive, address: Address, window: Window) -> Option<(u32, Second, Second)> {
    let inside = |seconds: &BTreeSet<Second>| -> Option<(Second, Second)> {
        let mut range = seconds.range(window.since()..=window.until());
        let first = *range.next()?;
        Some((first, range.next_back().copied().unwrap_or(first)))
    };
    let spans: Vec<(Second, Second)> = naive.get(&address)?.values().filter_map(inside).collect();
    let first = spans.iter().map(|span| span.0).min()?;
    Some((spans.len() as u32, first, spans.iter().map(|span| span.1).max()?))
}

#[test]
fn the_truth_agrees_with_a_plain_map() {
    let fleet = Fleet::new(Settings { devices: 200, days: 12, mde_share: 0.6, ..Settings::default() });
    let (mut truth, mut naive) = (Truth::default(), Naive::new());
    let mut everything: BTreeSet<Address> = BTreeSet::new();
    for event in fleet.events() {
        truth.add(&event);
        everything.insert(event.remote);
        if event.kind == Kind::Opened {
            naive.entry(event.remote).or_default().entry(event.identity()).or_default().insert(event.second);
        }
    }
    assert!(truth.facts() > 70_000, "more than fit unsorted: {}", truth.facts());
    assert!(truth.addresses().eq(naive.keys().copied()));
    let until = fleet.settings().until;
    let unsettled = truth.clone();
    truth.settle();
    assert_eq!(truth.facts(), naive.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum::<usize>());
    for (index, address) in everything.iter().enumerate() {
        for hours in [1, 24, 24 * 12] {
            let window = Window::look_back(until.minus(index as u64 % 3 * 50_000), hours);
            let expected = naive_stats(&naive, *address, window);
            assert_eq!(truth.stats(*address, window), expected, "{address} {hours} h");
            if index % 100 == 0 {
                assert_eq!(unsettled.stats(*address, window), expected, "{address} {hours} h, unsettled");
            }
        }
    }
}

#[test]
fn promised_addresses_keep_their_promises() {
    for settings in [
        Settings { devices: 1, days: 1, ..Settings::default() },
        Settings { devices: 2, days: 1, ..Settings::default() },
        Settings { devices: 300, days: 6, ..Settings::default() },
    ] {
        let fleet = Fleet::new(settings);
        let mut truth = Truth::default();
        let mut unseen = true;
        for event in fleet.events() {
            truth.add(&event);
            unseen &= event.remote != fleet.unseen_address();
        }
        let window = Window::new(settings.since(), settings.until).expect("in order");
        let rich = truth.stats(fleet.rich_address(), window).map_or(0, |stats| stats.0);
        assert!(
            settings.devices < 10 || rich * 100 > settings.devices * 95,
            "{rich} of {}",
            settings.devices
        );
        let rare = truth.stats(fleet.rare_address(), window).map(|stats| stats.0);
        assert_eq!(rare, Some(settings.devices.min(2)));
        assert!(unseen);
    }
}

#[test]
fn sensors_share_the_devices_and_never_one_of_them() {
    for (share, expected) in [(0.0, 0), (0.25, 250), (0.5, 500), (1.0, 1_000)] {
        let fleet = Fleet::new(Settings { mde_share: share, ..Settings::default() });
        let by_mde = (0..1_000).filter(|n| fleet.sensor(DeviceNumber(*n)) == Sensor::Mde).count();
        assert_eq!(by_mde, expected);
    }
    let fleet = small(5);
    let consistent = |event: Event| event.sensor == fleet.sensor(event.device);
    assert!(fleet.events().all(consistent));
}
