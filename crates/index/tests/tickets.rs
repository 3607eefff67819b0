//! Tickets in the data folder: the same as the model's, over restarts; one of many who try at once succeeds; what was
//! acknowledged survives a power cut anywhere.

mod common;

use std::sync::Arc;

use common::now;
use common::sim::{Dice, Sim};
use proptest::prelude::*;
use seenby_index::{DataFolder, FolderDirectory, Options};
use sighting::model::ModelDirectory;
use sighting::{Directory, DirectoryError, Second, Ticket, TicketKey, TicketKind};

const NOW: Second = Second::new(1_000);

fn key(kind: TicketKind, byte: u8) -> TicketKey {
    TicketKey { kind, sha256: [byte; 32] }
}

fn ticket(expires_at: u32, content: &[u8]) -> Ticket {
    Ticket { expires_at: Second::new(expires_at), content: content.to_vec() }
}

/// Something done with a ticket.
#[derive(Clone, Debug)]
enum Deed {
    Add(TicketKey, Ticket),
    Replace(TicketKey, Ticket),
    Look(TicketKey),
    Take(TicketKey),
    Sweep,
}

/// What came of it, as text.
fn do_it(directory: &impl Directory, deed: &Deed, at: Second) -> Result<String, DirectoryError> {
    Ok(match deed.clone() {
        Deed::Add(key, ticket) => format!("{:?}", now(directory.add_ticket(key, ticket, at))?),
        Deed::Replace(key, ticket) => format!("{:?}", now(directory.replace_ticket(key, ticket, at))?),
        Deed::Look(key) => format!("{:?}", now(directory.ticket(key, at))?),
        Deed::Take(key) => format!("{:?}", now(directory.take_ticket(key, at))?),
        Deed::Sweep => format!("{:?}", now(directory.sweep_tickets(at))?),
    })
}

fn keys() -> impl Strategy<Value = TicketKey> {
    let kinds = prop::sample::select(TicketKind::ALL.to_vec());
    (kinds, 0..2_u8).prop_map(|(kind, byte)| key(kind, byte))
}

fn deeds() -> impl Strategy<Value = Deed> {
    let tickets = || (995..1_010_u32, prop::collection::vec(any::<u8>(), 0..40));
    let made = |(expires_at, content): (u32, Vec<u8>)| ticket(expires_at, &content);
    prop_oneof![
        (keys(), tickets()).prop_map(move |(key, parts)| Deed::Add(key, made(parts))),
        (keys(), tickets()).prop_map(move |(key, parts)| Deed::Replace(key, made(parts))),
        keys().prop_map(Deed::Look),
        keys().prop_map(Deed::Take),
        Just(Deed::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Time goes on by a second with every fifth deed, and the folder is opened anew with every tenth.
    #[test]
    fn tickets_are_the_models(deeds in prop::collection::vec(deeds(), 0..60)) {
        let disk = Sim::default();
        let open = || FolderDirectory::open(Arc::new(disk.clone())).expect("opens");
        let (model, mut directory) = (ModelDirectory::default(), open());
        for (number, deed) in (0_u64..).zip(&deeds) {
            let at = NOW.plus(number / 5);
            let expected = do_it(&model, deed, at).expect("the model never fails");
            prop_assert_eq!(do_it(&directory, deed, at), Ok(expected), "{:?}", deed);
            if number % 10 == 9 {
                drop(directory);
                directory = open();
            }
        }
    }
}

/// Thirty-two threads at once do something with one folder.
fn at_once<T: Send>(work: impl Fn(&FolderDirectory, u8) -> T + Sync) -> Vec<T> {
    let root = tempfile::tempdir().expect("a folder");
    let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
    let directory = folder.directory();
    // What is there already has expired.
    let expired = ticket(999, b"expired");
    assert_eq!(directory.add_ticket_now(key(TicketKind::Assertion, 1), &expired, Second::new(500)), Ok(true));
    let good = ticket(2_000, b"good");
    assert_eq!(directory.add_ticket_now(key(TicketKind::Code, 1), &good, NOW), Ok(true));
    let start = std::sync::Barrier::new(32);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32)
            .map(|number| {
                let (directory, work, start) = (&directory, &work, &start);
                scope.spawn(move || {
                    start.wait();
                    work(directory, number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn of_many_who_add_one_ticket_at_once_one_succeeds() {
    let added = at_once(|directory, number| {
        let mine = ticket(1_500, &[number]);
        let added = directory.add_ticket_now(key(TicketKind::Assertion, 1), &mine, NOW).expect("a disk");
        let kept =
            directory.ticket_now(key(TicketKind::Assertion, 1), NOW).expect("a disk").expect("one is there");
        (added, kept.content == [number])
    });
    assert_eq!(added.iter().filter(|(added, _)| *added).count(), 1);
    assert!(added.iter().all(|(added, is_mine)| added == is_mine), "{added:?}");
}

#[test]
fn of_many_who_take_one_ticket_at_once_one_gets_it() {
    let taken = at_once(|directory, _| {
        directory.take_ticket_now(key(TicketKind::Code, 1), NOW).expect("a disk").is_some()
    });
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_anywhere() {
    let (code, used) = (key(TicketKind::Code, 1), key(TicketKind::Assertion, 1));
    let (refresh, long) = (key(TicketKind::RefreshToken, 2), vec![9; 20_000]);
    let work = [
        Deed::Add(code, ticket(2_000, b"code")),
        Deed::Add(used, ticket(900, b"expired already")),
        Deed::Add(used, ticket(1_100, b"used")),
        Deed::Add(refresh, ticket(3_000, b"first")),
        Deed::Take(code),
        Deed::Replace(refresh, ticket(3_000, &long)),
        Deed::Sweep,
        Deed::Take(refresh),
    ];
    let seen = |directory: &FolderDirectory| {
        [code, used, refresh].map(|key| now(directory.ticket(key, NOW)).expect("readable"))
    };
    // What there is after so many deeds.
    let whole = Sim::default();
    let directory = FolderDirectory::open(Arc::new(whole.clone())).expect("opens");
    let mut expected = vec![seen(&directory)];
    for deed in &work {
        do_it(&directory, deed, NOW).expect("a sound disk");
        expected.push(seen(&directory));
    }
    drop(directory);
    assert_eq!(expected[work.len()], [None, Some(ticket(1_100, b"used")), None]);
    for cut in 0..whole.operations() {
        let disk = Sim::default();
        disk.cut_before(cut);
        let done = FolderDirectory::open(Arc::new(disk.clone())).map_or(0, |directory| {
            work.iter().take_while(|deed| do_it(&directory, deed, NOW).is_ok()).count()
        });
        let left = disk.after_power_cut(&mut Dice(cut));
        let directory = FolderDirectory::open(Arc::new(left))
            .unwrap_or_else(|error| panic!("cut {cut}, {done} done: {error}"));
        let found = seen(&directory);
        let fits = found == expected[done] || found == expected[(done + 1).min(work.len())];
        assert!(fits, "cut {cut}, {done} done");
    }
}
