//! Look-ups in this process: the hot address, rare ones, one that nobody reached, each in its distribution. Refuses to
//! hold: the way over HTTP.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fleet::{DeviceNumber, HotSet};
use index::IndexStore;
use sighting::{Address, Answer, FirstSeen, OrganisationId, Question, Questions, Second, Uuid, Window};

use crate::quantiles::Quantiles;
use crate::results::{Better, Results};
use crate::{Given, hot_store};

/// Addresses of a batch.
const BATCH: u32 = 100_000;
const ORGANISATION: OrganisationId = OrganisationId(Uuid::from_u128(1));

/// Measures all three on 30 days of segments with some of the newest facts still in memory.
pub(crate) fn measure(given: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    let Given { work, scale, .. } = given;
    let root = tempfile::tempdir_in(work)?;
    let folder = hot_store::open(&root.path().join("data"))?;
    let store = folder.store();
    let set = hot_store::hot_set(1);
    results.say("look-ups: an address of 50,000 devices on 30 days among 1.5 million rare ones");
    // In two halves, so that segments and memory both hold part of the newest days.
    let newest = set.last_day.first().minus(86_400);
    // It is noon: nothing is told before it happens.
    let until = set.last_day.at(43_200);
    let told = || set.sightings().filter(|(_, _, second)| *second <= until);
    let fill = |sightings: &mut dyn Iterator<Item = _>| {
        hot_store::fill_with(&store, hot_store::joined_batches(ORGANISATION, sightings))
    };
    fill(&mut told().filter(|(_, _, second)| *second < newest))?;
    store.flush()?;
    fill(&mut told().filter(|(_, _, second)| *second >= newest))?;
    let prevalence = devices_of(&store, set.hot(), until)?;
    // Without the joins there would be a tenth more.
    let are_joined = prevalence <= set.devices && prevalence > set.devices - set.devices / 20;
    anyhow::ensure!(are_joined, "{prevalence} devices are not those of the set");
    warm_up(&store, ORGANISATION, set.hot(), until)?;
    // Windows of all lengths, so that nothing is the same question twice.
    let mut hot = times(scale.questions / 100, |number| {
        let hours = 1 + number * 337 % 720;
        is_seen(&store, ORGANISATION, set.hot(), until.plus(u64::from(number % 60)), hours)
    })?;
    let mut whole = times(scale.questions / 100, |number| {
        // Another second each time: one and a half days at the ends of the window are always judged fact by fact.
        is_seen(&store, ORGANISATION, set.hot(), until.plus(u64::from(number % 3_600)), 720)
    })?;
    let mut rare = times(scale.questions, |number| {
        let mixed = number.wrapping_mul(0x9e37_79b1);
        let address = set.rare(DeviceNumber(mixed % set.devices), 1 + mixed / set.devices % 28, 0);
        is_seen(&store, ORGANISATION, address, until, 720)
    })?;
    let mut unseen =
        times(scale.questions, |_| Ok(!is_seen(&store, ORGANISATION, set.unseen(), until, 720)?))?;
    let batch = many(&store, &set, until)?;
    results.add("batch.100k.warm", batch, "s", Better::Lower, ("promise", 1.0));
    for (name, promise, times) in [
        ("hot.process.720h", 100.0, &mut whole),
        ("hot.process.any", 100.0, &mut hot),
        ("rare.process", 20.0, &mut rare),
        ("unseen.process", 20.0, &mut unseen),
    ] {
        let (p50, p99) = (times.micros(500), times.micros(990));
        results.add(format!("{name}.p50"), p50, "us", Better::Lower, ("promise", promise));
        results.add(format!("{name}.p99"), p99, "us", Better::Lower, ("promise", promise));
    }
    Ok(())
}

/// Seconds for 100,000 addresses at once, half of which nobody reached; the best of three.
fn many(store: &IndexStore, set: &HotSet, until: Second) -> anyhow::Result<f64> {
    let rare = |number: u32| {
        let mixed = number.wrapping_mul(0x9e37_79b1);
        set.rare(DeviceNumber(mixed % set.devices), 1 + mixed / set.devices % 28, 0)
    };
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(batch(store, ORGANISATION, rare, until)?);
    }
    Ok(best)
}

/// Seconds for 100,000 addresses at once, of which every other one was reached by somebody.
pub(crate) fn batch(
    store: &IndexStore,
    organisation: OrganisationId,
    reached: impl Fn(u32) -> Address,
    until: Second,
) -> anyhow::Result<f64> {
    let address = |number: u32| match number.is_multiple_of(2) {
        true => reached(number),
        // 240.0.0.0/4 is nobody's.
        false => Address::from(Ipv4Addr::from(0xf000_0000 | number.wrapping_mul(0x9e37_79b1) >> 4)),
    };
    let questions = Questions {
        organisation,
        addresses: (0..BATCH).map(address).collect(),
        window: Window::look_back(until, 720),
        kept_since: Second::MIN,
        first_seen: FirstSeen::InWindow,
    };
    let begun_at = Instant::now();
    let answers = store.stats_of_now(&questions)?;
    let took = begun_at.elapsed().as_secs_f64();
    let seen = answers.iter().filter(|answer| matches!(answer, Answer::Seen(_))).count();
    anyhow::ensure!(seen == BATCH as usize / 2, "{seen} of {BATCH} addresses were seen");
    Ok(took)
}

/// Asks for the hot address until it is held in memory.
pub(crate) fn warm_up(
    store: &IndexStore,
    organisation: OrganisationId,
    hot: Address,
    until: Second,
) -> anyhow::Result<()> {
    let begun_at = Instant::now();
    while store.figures().hot_addresses == 0 {
        anyhow::ensure!(
            begun_at.elapsed() < Duration::from_secs(60),
            "the hot address is not held in memory"
        );
        is_seen(store, organisation, hot, until, 720)?;
    }
    Ok(())
}

/// How many devices reached an address in 30 days.
fn devices_of(store: &IndexStore, address: Address, until: Second) -> anyhow::Result<u32> {
    match store.stats_now(&question(ORGANISATION, address, until, 720))? {
        Answer::Seen(stats) => Ok(stats.prevalence.get()),
        Answer::Quiet | Answer::Unknown => Ok(0),
    }
}

fn question(organisation: OrganisationId, address: Address, until: Second, hours: u32) -> Question {
    Question {
        organisation,
        address,
        window: Window::look_back(until, hours),
        kept_since: Second::MIN,
        first_seen: FirstSeen::InWindow,
    }
}

/// Whether anybody reached an address.
pub(crate) fn is_seen(
    store: &IndexStore,
    organisation: OrganisationId,
    address: Address,
    until: Second,
    hours: u32,
) -> anyhow::Result<bool> {
    let answer = store.stats_now(&question(organisation, address, until, hours))?;
    Ok(matches!(answer, Answer::Seen(_)))
}

/// How long each question took; a few before the first make everything warm. Each must be answered as expected.
pub(crate) fn times(count: u32, ask: impl Fn(u32) -> anyhow::Result<bool>) -> anyhow::Result<Quantiles> {
    for number in 0..count.min(64) {
        ask(number)?;
    }
    let mut times = Quantiles::default();
    for number in 0..count {
        let begun_at = Instant::now();
        let is_expected = ask(number)?;
        times.add(begun_at.elapsed());
        anyhow::ensure!(is_expected, "question {number} has a wrong answer");
    }
    Ok(times)
}
