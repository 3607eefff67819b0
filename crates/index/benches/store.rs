//! Look-ups and appends of the store on a real folder. `cargo bench -p seenby-index`.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fleet::{DeviceNumber, HotSet, hot_set};
use seenby_index::{DataFolder, IndexStore, Options};
use sighting::{
    Address, Answer, Batch, FirstSeen, Identity, IdentityKind, OrganisationId, Question, Second, SourceName,
    Uuid, Window,
};

const ORGANISATION: OrganisationId = OrganisationId(Uuid::from_u128(1));

fn fill(store: &IndexStore, set: HotSet) {
    let mut batch = new_batch();
    for (address, device, second) in set.sightings() {
        add(&mut batch, address, device, second);
        if batch.sightings().len() == 262_144 {
            let _ = store.append_now(&std::mem::replace(&mut batch, new_batch())).expect("taken");
        }
    }
    let _ = store.append_now(&batch).expect("taken");
    store.flush().expect("flushed");
}

fn new_batch() -> Batch {
    Batch::new(ORGANISATION, SourceName::new("bench").expect("a name"))
}

fn add(batch: &mut Batch, address: Address, device: DeviceNumber, second: Second) {
    let agent = device.agent_id();
    let agent = str::from_utf8(&agent).expect("hexadecimal digits");
    let identity = Identity::new(IdentityKind::AgentId, agent).expect("a name");
    let identity = batch.identity(identity);
    batch.sighted(address, identity, second);
}

fn question(address: Address, until: Second, hours: u32) -> Question {
    let window = Window::look_back(until, hours);
    Question {
        organisation: ORGANISATION,
        address,
        window,
        kept_since: Second::MIN,
        first_seen: FirstSeen::InWindow,
    }
}

fn look_ups(criterion: &mut Criterion) {
    let root = tempfile::tempdir().expect("a folder");
    let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
    let store = folder.store();
    let set = hot_set(7, 50_000, 30);
    fill(&store, set);
    let until = set.last_day.at(43_200);
    let mut group = criterion.benchmark_group("look-up");
    group.bench_function("hot, 50,000 devices, 30 days, warm", |bencher| {
        bencher.iter(|| store.stats_now(black_box(&question(set.hot(), until, 720))).expect("an answer"));
    });
    let mut number = 0u32;
    group.bench_function("rare, one device, warm", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let rare = set.rare(DeviceNumber(number % set.devices), 1 + number % 28, 0);
            let answer = store.stats_now(&question(rare, until, 720)).expect("an answer");
            assert!(matches!(answer, Answer::Seen(_)));
            answer
        });
    });
    group.bench_function("unseen", |bencher| {
        bencher.iter(|| store.stats_now(black_box(&question(set.unseen(), until, 720))).expect("an answer"));
    });
    group.finish();
}

fn appends(criterion: &mut Criterion) {
    let set = hot_set(7, 50_000, 30);
    let mut batch = new_batch();
    for (address, device, second) in set.sightings().take(262_144) {
        add(&mut batch, address, device, second);
    }
    let mut group = criterion.benchmark_group("append");
    group.sample_size(20);
    group.throughput(Throughput::Elements(batch.sightings().len() as u64));
    group.bench_function("262,144 sightings, durable", |bencher| {
        let root = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(root.path(), Options::default()).expect("opens");
        let store = folder.store();
        bencher.iter_batched_ref(
            || (),
            |()| store.append_now(&batch).expect("taken"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, look_ups, appends);
criterion_main!(benches);
