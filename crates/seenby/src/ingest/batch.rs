//! From decoded records to batches: what is too old, in the future or another tenant's is decided here, where the
//! line number is known, and every record is counted once. Refuses to hold: bytes, and how a batch becomes durable.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use formats::{
    DeviceFacts, Ignored, Leased, Lesson, Mentions, Opened, Passed, Refusal, Sink, Taught, Warning,
};
use sighting::{
    Batch, Book, IdentityKind, Label, Mention, Network, Offset, Organisation, OrganisationId, Receipt,
    Retention, SECONDS_PER_HOUR, Second, SourceName, Uuid,
};

use super::Reading;
use super::tally::Tally;
use crate::clock;

/// Records in a batch before it is appended: a journal record of a few MB, one disk sync for each.
const BATCH_RECORDS_MAX: u64 = 262_144;

/// Facts of the registry for each record, on average, before they fill a batch: an ordinary one brings no more than it has
/// names, and one of a product's merges up to 257.
const FACTS_EACH: u64 = formats::MENTIONS_MAX as u64;

/// How far ahead of our clock a record's may be, in seconds: the specification's 5 minutes.
const AHEAD_SECONDS_MAX: u64 = 300;

/// What an organisation takes.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    organisation: OrganisationId,
    retention: Retention,
    /// Tenant ids of other organisations of this store, and what those list as their sources; sorted.
    foreign: Vec<Uuid>,
    /// The only tenant ids that are taken; empty takes every other.
    listed: Vec<Uuid>,
    /// How old a record of this source may be, where that is less than what is kept.
    back_dating_hours: Option<NonZeroU32>,
    /// Where a local address is one machine at a time.
    unique: Vec<Network>,
}

impl Rules {
    /// For an organisation of a store.
    pub(crate) fn new(organisation: &Organisation, book: &Book) -> Rules {
        let others = book.organisations.values().filter(|other| other.id != organisation.id);
        let mut foreign: Vec<Uuid> =
            others.flat_map(|other| other.source_tenants.iter().copied().chain([other.id.0])).collect();
        foreign.sort_unstable();
        Rules {
            organisation: organisation.id,
            retention: organisation.retention,
            foreign,
            listed: organisation.source_tenants.clone(),
            back_dating_hours: None,
            unique: Vec::new(),
        }
    }

    /// The same for a source whose records may only be so old.
    pub(crate) fn bounded(self, back_dating_hours: Option<NonZeroU32>) -> Rules {
        Rules { back_dating_hours, ..self }
    }

    /// With networks in which a local address is one machine at a time.
    pub(crate) fn with_unique_networks(self, unique: Vec<Network>) -> Rules {
        Rules { unique, ..self }
    }

    /// The first seconds that are kept, and that this source may tell of.
    pub(crate) fn since(&self, now: Second) -> (Second, Second) {
        let kept = self.retention.since(now);
        let hours = self.back_dating_hours.map(|hours| u64::from(hours.get()) * u64::from(SECONDS_PER_HOUR));
        (kept, hours.map_or(kept, |seconds| kept.max(now.minus(seconds))))
    }

    /// Whether a record of this tenant is not ours to take.
    pub(crate) fn is_foreign(&self, tenant: &str) -> bool {
        let Ok(tenant) = Uuid::try_parse(tenant.trim()) else {
            // No tenant of this store is called so; but where there is a list, it is not on it.
            return !self.listed.is_empty();
        };
        if self.listed.is_empty() {
            return self.foreign.binary_search(&tenant).is_ok();
        }
        !self.listed.contains(&tenant)
    }
}

/// The last second that a clock of somebody else's may say by now.
pub(crate) fn latest(now: Second) -> Second {
    now.plus(AHEAD_SECONDS_MAX)
}

/// Why a record from after that is refused.
pub(crate) fn ahead_reason(second: Second) -> String {
    format!("the time {second} is more than 5 minutes ahead of this machine's clock")
}

/// Why a record of a tenant that is not ours is refused.
pub(crate) fn foreign_reason(tenant: &str) -> String {
    format!("the record is of tenant {}, which is not this organisation's", sighting::escape(tenant))
}

/// Fills batches from records, on one thread.
pub(crate) struct Filler {
    rules: Arc<Rules>,
    tally: Tally,
    batch: Option<Batch>,
    /// The one before, which knows many names.
    before: Option<Batch>,
    records_in_batch: u64,
    records_max: u64,
    /// The chunk that is being decoded.
    reading: Option<Arc<Reading>>,
    damage: Option<&'static str>,
    records: u64,
    refused: u64,
    other_events: u64,
    /// Kept are the seconds from the first to the last.
    kept: (Second, Second),
    /// Before this one the source may not tell of any.
    told_since: Second,
    /// The newest second of a sighting.
    newest: Option<Second>,
    /// The last tenant met and whether it is foreign: it hardly ever changes.
    tenant: (String, bool),
}

impl Filler {
    pub(crate) fn new(rules: Arc<Rules>) -> Filler {
        let no_tenant = (String::new(), rules.is_foreign(""));
        Filler {
            tally: Tally::default(),
            batch: None,
            before: None,
            records_in_batch: 0,
            records_max: BATCH_RECORDS_MAX,
            reading: None,
            damage: None,
            records: 0,
            refused: 0,
            other_events: 0,
            kept: (Second::MIN, Second::MAX),
            told_since: Second::MIN,
            newest: None,
            tenant: no_tenant,
            rules,
        }
    }

    /// The rules of the batches from now on; only between two of them.
    pub(crate) fn change_rules(&mut self, rules: Arc<Rules>) {
        debug_assert!(self.batch.is_none(), "a batch is filled by the rules that it began with");
        // What is kept of a batch is its organisation's.
        self.before = self.before.take().filter(|before| before.organisation() == rules.organisation);
        self.tenant = (String::new(), rules.is_foreign(""));
        self.rules = rules;
    }

    /// The batch so far, if what comes next is another source's.
    pub(crate) fn change_source(&mut self, source: &SourceName) -> Option<Batch> {
        let full = if self.batch.as_ref().is_some_and(|batch| batch.source() != source) {
            self.take()
        } else {
            None
        };
        if self.batch.is_none() {
            let new = || Batch::new(self.rules.organisation, source.clone());
            let before = self.before.take();
            self.batch = Some(before.map_or_else(new, |before| before.emptied(source.clone())));
        }
        full
    }

    /// A chunk of an input begins.
    pub(crate) fn begin(&mut self, reading: &Arc<Reading>, damage: Option<&'static str>) {
        // Standard input may be read for days: each chunk is measured against the clock of its time.
        let now = clock::now();
        let (kept_since, told_since) = self.rules.since(now);
        self.kept = (kept_since, latest(now));
        self.told_since = told_since;
        self.reading = Some(Arc::clone(reading));
        self.damage = damage;
        (self.records, self.refused, self.other_events) = (0, 0, 0);
    }

    /// The chunk has ended.
    pub(crate) fn end(&mut self, reading: &Reading) {
        reading.records.fetch_add(self.records, Ordering::Relaxed);
        reading.refused.fetch_add(self.refused, Ordering::Relaxed);
        reading.other_events.fetch_add(self.other_events, Ordering::Relaxed);
    }

    /// Notes how far a part of the source has been read with what is in the batch, once that has begun.
    pub(crate) fn set_offset(&mut self, offset: Offset) {
        if let Some(batch) = &mut self.batch {
            batch.set_offset(offset);
        }
    }

    /// Whether a batch that was begun should be appended before more comes in.
    pub(crate) fn is_full(&self) -> bool {
        let facts = |batch: &Batch| batch.carriers().len() + batch.leases().len() + batch.merges().len();
        let facts = self.batch.as_ref().map_or(0, facts) as u64;
        self.records_in_batch.max(facts / FACTS_EACH) >= self.records_max
    }

    /// The batch, if it is full.
    pub(crate) fn take_full(&mut self) -> Option<Batch> {
        if self.is_full() { self.take() } else { None }
    }

    /// The batch, if it holds anything.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        self.records_in_batch = 0;
        self.batch.take().filter(|batch| !batch.is_empty())
    }

    /// A batch is in the store.
    pub(crate) fn receipt(&mut self, batch: Batch, receipt: Receipt) {
        self.tally.sighted += receipt.sightings;
        // Its names are for the next one. Where that has begun, because it is another source's, they would be kept twice.
        self.before = self.batch.is_none().then_some(batch);
    }

    /// The counts since they were last taken.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The counts.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    /// With batches of so many records at most.
    pub(crate) fn with_batches_of(self, records_max: u64) -> Filler {
        Filler { records_max, ..self }
    }

    /// The newest second of a sighting so far.
    pub(crate) fn newest(&self) -> Option<Second> {
        self.newest
    }

    /// A batch that knows many names, for the first one.
    pub(crate) fn remember(&mut self, before: Batch) {
        self.before = Some(before);
    }

    /// The same for somebody else, at the end.
    pub(crate) fn remembered(&mut self) -> Option<Batch> {
        self.before.take()
    }

    /// The input that was begun ends in damage, which counts as a record that was refused.
    pub(crate) fn damaged(&mut self, code: &'static str, error: &io::Error) {
        self.records += 1;
        self.refuse(code, 1, || format!("{} ({error})", super::framing::damage_reason(code)));
    }

    fn is_foreign(&mut self, tenant: Option<&str>) -> bool {
        let Some(tenant) = tenant else { return false };
        if self.tenant.0 != tenant {
            self.tenant = (tenant.to_owned(), self.rules.is_foreign(tenant));
        }
        self.tenant.1
    }

    fn refuse(&mut self, code: &'static str, line: u64, reason: impl FnOnce() -> String) {
        self.refused += 1;
        let Some(reading) = &self.reading else { return };
        self.tally.refuse(code, (reading.index, &reading.name), line, reason);
    }

    fn refuse_ahead(&mut self, second: Second, line: u64) {
        self.refuse("in_future", line, || ahead_reason(second));
    }

    fn refuse_foreign(&mut self, tenant: Option<&str>, line: u64) {
        self.refuse("foreign_tenant", line, || foreign_reason(tenant.unwrap_or_default()));
    }

    /// Adds an opened connection of an acceptable tenant and time; `false` if its device has no usable name.
    fn add(&mut self, record: &Opened<'_>) -> bool {
        let Some(batch) = &mut self.batch else { return false };
        let Some((strongest, kind)) = strongest(batch, &record.device) else { return false };
        batch.sighted(record.remote, strongest, record.second);
        batch.reported(strongest, record.second);
        if kind == IdentityKind::AgentId {
            carry_names(batch, &record.device, strongest, record.second);
        }
        let is_machine = matches!(kind, IdentityKind::AgentId | IdentityKind::Mac) || is_name(kind);
        if is_machine && !self.rules.unique.is_empty() {
            carry_addresses(batch, &record.device, strongest, (record.second, &self.rules.unique));
        }
        true
    }

    /// The first second at which a lease of this source may begin. One that began before all that is kept may end another one, or last
    /// until now, so only a source that is bounded is held to its bound. It is not moved to the bound: when it began says whom it ends.
    fn leased_since(&self) -> Second {
        if self.told_since > self.kept.0 { self.told_since } else { Second::MIN }
    }

    /// Adds a lease; `false` if it names nobody who can have one.
    fn lease(&mut self, lease: &Leased<'_>) -> bool {
        let Some(batch) = &mut self.batch else { return false };
        let Some(what) = batch.mention(lease.what) else { return false };
        let mut holders: Vec<u32> = Vec::new();
        for mention in lease.holders.iter() {
            let Some(index) = batch.mention(mention) else { continue };
            // What is written as a name may be an address, which says nothing of who has this one.
            if batch.identities()[index as usize].kind() != IdentityKind::Address {
                holders.push(index);
            }
        }
        let mut owned = what;
        for holder in &holders {
            batch.leased(owned, *holder, lease.since, lease.until);
            owned = *holder;
        }
        if let Some(from) = lease.free_from {
            batch.leased(what, what, from, None);
        }
        !holders.is_empty() || lease.free_from.is_some()
    }

    /// Adds what a product says of a device; `false` if it names none.
    fn device(&mut self, facts: &DeviceFacts<'_>) -> bool {
        let Some(batch) = &mut self.batch else { return false };
        let Some((agent, IdentityKind::AgentId)) = strongest(batch, &facts.device) else { return false };
        batch.reported(agent, facts.second);
        carry_names(batch, &facts.device, agent, facts.second);
        let id = |written| Mention { kind: IdentityKind::AgentId, written };
        if let Some(into) = facts.merged_into.and_then(|written| batch.mention(id(written))) {
            batch.merged(agent, into, facts.second);
        }
        for written in facts.merged_from() {
            if let Some(from) = batch.mention(id(written)) {
                batch.merged(from, agent, facts.second);
            }
        }
        if let Some(group) = facts.group.and_then(Label::new) {
            batch.grouped(agent, group, facts.second);
        }
        true
    }
}

/// Notes that an agent carried the host names of its record.
fn carry_names(batch: &mut Batch, device: &Mentions<'_>, agent: u32, second: Second) {
    for mention in device_names(device) {
        let Some(index) = batch.mention(mention) else { continue };
        // What is written as a name may be an address.
        if is_name(batch.identities()[index as usize].kind()) {
            batch.carried(index, agent, second);
        }
    }
}

/// Notes that a machine carried those of its record's addresses that are one machine's at a time.
fn carry_addresses(
    batch: &mut Batch,
    device: &Mentions<'_>,
    machine: u32,
    (second, unique): (Second, &[Network]),
) {
    for mention in device.iter().filter(|mention| mention.kind == IdentityKind::Address) {
        let Some(index) = batch.mention(mention) else { continue };
        if batch.identities()[index as usize].is_in(unique) {
            batch.carried(index, machine, second);
        }
    }
}

/// What is written as a name: hardly any record needs more of its mentions than the agent and these.
fn device_names<'m>(device: &'m Mentions<'m>) -> impl Iterator<Item = Mention<'m>> {
    device.iter().filter(|mention| is_name(mention.kind))
}

fn is_name(kind: IdentityKind) -> bool {
    matches!(kind, IdentityKind::Fqdn | IdentityKind::HostName)
}

/// The strongest identity of a record, as its index in the batch; the first of several of one kind.
fn strongest(batch: &mut Batch, device: &Mentions<'_>) -> Option<(u32, IdentityKind)> {
    // Nothing is stronger than an agent, and nothing else becomes one: the others need no look.
    let mut agents = device.iter().filter(|mention| mention.kind == IdentityKind::AgentId);
    if let Some(agent) = agents.find_map(|mention| batch.mention(mention)) {
        return Some((agent, IdentityKind::AgentId));
    }
    let mut strongest: Option<(u32, IdentityKind)> = None;
    for mention in device.iter() {
        let Some(index) = batch.mention(mention) else { continue };
        let kind = batch.identities()[index as usize].kind();
        if strongest.is_none_or(|(_, known)| kind < known) {
            strongest = Some((index, kind));
        }
    }
    strongest
}

impl Sink for Filler {
    fn opened(&mut self, record: &Opened<'_>) {
        self.records += 1;
        self.records_in_batch += 1;
        if self.is_foreign(record.tenant) {
            self.refuse_foreign(record.tenant, record.line);
        } else if record.second > self.kept.1 {
            self.refuse_ahead(record.second, record.line);
        } else if record.second < self.kept.0 {
            self.tally.ignore("too_old");
        } else if record.second < self.told_since {
            self.tally.ignore("back_dated");
        } else if self.add(record) {
            self.newest = self.newest.max(Some(record.second));
        } else {
            let refusal = Refusal::NoDevice;
            self.refuse(refusal.code(), record.line, || refusal.to_string());
        }
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        self.records_in_batch += 1;
        if !matches!(record.why, Ignored::Header | Ignored::Blank) {
            self.records += 1;
        }
        if self.is_foreign(record.tenant) {
            return self.refuse_foreign(record.tenant, record.line);
        }
        self.tally.ignore(record.why.code());
        self.other_events += u64::from(record.why == Ignored::OtherEvent);
        let Some(reporter) = &record.reporter else { return };
        if !(self.told_since..=self.kept.1).contains(&reporter.second) {
            return;
        }
        if let Some(batch) = &mut self.batch
            && let Some((identity, _)) = strongest(batch, &reporter.device)
        {
            batch.reported(identity, reporter.second);
        }
    }

    fn taught(&mut self, record: &Taught<'_>) {
        self.records += 1;
        self.records_in_batch += 1;
        if self.is_foreign(record.tenant) {
            return self.refuse_foreign(record.tenant, record.line);
        }
        let second = match &record.lesson {
            Lesson::Leased(lease) => lease.since,
            Lesson::Device(facts) => facts.second,
        };
        if second > self.kept.1 {
            return self.refuse_ahead(second, record.line);
        }
        let is_taken = match &record.lesson {
            Lesson::Leased(lease) if lease.since < self.leased_since() => {
                return self.tally.ignore("back_dated");
            }
            Lesson::Leased(lease) => self.lease(lease),
            Lesson::Device(facts) if facts.second < self.kept.0 => return self.tally.ignore("too_old"),
            Lesson::Device(facts) if facts.second < self.told_since => {
                return self.tally.ignore("back_dated");
            }
            Lesson::Device(facts) => self.device(facts),
        };
        if is_taken {
            self.tally.ignore(Ignored::Registry.code());
        } else {
            let refusal = Refusal::NoDevice;
            self.refuse(refusal.code(), record.line, || refusal.to_string());
        }
    }

    fn refused(&mut self, refusal: Refusal, line: u64, field: Option<&'static str>) {
        self.records += 1;
        self.records_in_batch += 1;
        // What looks like a cut line is the end of a cut file, where we know that it was cut.
        if let (Refusal::Truncated, Some(code), Some(reading)) = (refusal, self.damage, self.reading.clone())
        {
            reading.cut_is_told.store(true, Ordering::Relaxed);
            return self.refuse(code, line, || super::framing::damage_reason(code).to_owned());
        }
        self.refuse(refusal.code(), line, || match field {
            Some(field) => format!("{refusal} ({field})"),
            None => refusal.to_string(),
        });
    }

    fn warned(&mut self, warning: Warning, line: u64) {
        let Some(reading) = &self.reading else { return };
        self.tally.warn(warning, (reading.index, &reading.name), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sighting::{Address, Change, RETENTION_DEFAULT};

    fn organisation(id: u128, source_tenants: &[u128]) -> Organisation {
        Organisation {
            id: OrganisationId(Uuid::from_u128(id)),
            name: format!("o{id}"),
            retention: RETENTION_DEFAULT,
            source_tenants: source_tenants.iter().copied().map(Uuid::from_u128).collect(),
        }
    }

    fn rules(ours: &Organisation, others: &[Organisation]) -> Rules {
        let mut book = Book::default();
        for organisation in others.iter().chain([ours]) {
            book.apply(&Change::AddOrganisation(organisation.clone())).expect("new");
        }
        Rules::new(ours, &book)
    }

    fn reading() -> Arc<Reading> {
        Arc::new(Reading::new(0, "a.log".to_owned(), Vec::new()))
    }

    #[test]
    fn whose_tenant_it_is() {
        let open = rules(&organisation(1, &[]), &[organisation(2, &[7])]);
        let guid = |id: u128| Uuid::from_u128(id).to_string();
        assert!(!open.is_foreign(&guid(1)) && !open.is_foreign(&guid(9)) && !open.is_foreign("no guid"));
        assert!(open.is_foreign(&guid(2)), "another organisation of this store");
        assert!(open.is_foreign(&guid(7)), "a source of another organisation of this store");
        let listed = rules(&organisation(1, &[8]), &[organisation(2, &[])]);
        assert!(!listed.is_foreign(&guid(8)));
        assert!(listed.is_foreign(&guid(9)) && listed.is_foreign("no guid"));
    }

    #[test]
    fn how_old_a_source_may_tell_of() {
        let now = Second::new(4_000_000);
        let check = |hours: u32, since: (u32, u32)| {
            let rules = rules(&organisation(1, &[]), &[]).bounded(NonZeroU32::new(hours));
            assert_eq!(rules.since(now), (Second::new(since.0), Second::new(since.1)), "{hours}");
        };
        check(0, (1_408_000, 1_408_000));
        check(100, (1_408_000, 3_640_000));
        check(9_999, (1_408_000, 1_408_000));
    }

    /// Gives records to a filler and says what became of them.
    fn fill(records: &[(Second, &[Mention<'_>], Option<&str>)]) -> (Batch, Tally) {
        let rules = rules(&organisation(1, &[]), &[organisation(2, &[])]);
        let mut filler = Filler::new(Arc::new(rules));
        let reading = reading();
        assert_eq!(filler.change_source(&SourceName::new("test").expect("a name")), None);
        filler.begin(&reading, None);
        for (line, (second, names, tenant)) in (1..).zip(records) {
            let mut device = Mentions::new();
            for name in *names {
                device.push(*name);
            }
            let remote = Address::parse("198.51.100.20").expect("an address");
            filler.opened(&Opened { second: *second, remote, device, tenant: *tenant, line });
        }
        filler.end(&reading);
        assert_eq!(reading.records.load(Ordering::Relaxed), records.len() as u64);
        let batch = filler.batch.take().expect("a batch");
        (batch, filler.into_tally())
    }

    #[test]
    fn the_strongest_name_is_kept_and_the_host_names_beside_an_agent_are_facts() {
        let now = clock::now();
        let agent = Mention { kind: IdentityKind::AgentId, written: "A1" };
        let host = Mention { kind: IdentityKind::HostName, written: "PC-1.example.org" };
        let address = Mention { kind: IdentityKind::Address, written: "10.0.0.1" };
        let (batch, tally) = fill(&[(now, &[host, agent, address], None), (now, &[address, host], None)]);
        let kept: Vec<&str> =
            batch.sightings().iter().map(|it| batch.identities()[it.identity as usize].name()).collect();
        assert_eq!(kept, ["a1", "pc-1.example.org"]);
        assert_eq!(batch.carriers().len(), 1);
        assert_eq!(batch.reporters().len(), 2);
        assert_eq!(tally.refused_total(), 0);
    }

    #[test]
    fn what_the_clock_and_the_tenant_decide() {
        let now = clock::now();
        let name = [Mention { kind: IdentityKind::HostName, written: "pc" }];
        let nothing = [Mention { kind: IdentityKind::HostName, written: "-" }];
        let foreign = Uuid::from_u128(2).to_string();
        let (batch, tally) = fill(&[
            (now.plus(200), &name, None),
            (now.plus(1_000), &name, None),
            (now.minus(721 * 3_600), &name, None),
            (now, &name, Some(&foreign)),
            (now, &nothing, None),
        ]);
        assert_eq!(batch.sightings().len(), 1);
        assert_eq!(tally.ignored.iter().collect::<Vec<_>>(), [(&"too_old", &1)]);
        let refused: Vec<(&str, u64)> = tally.refused.iter().map(|(code, count)| (*code, *count)).collect();
        assert_eq!(refused, [("foreign_tenant", 1), ("in_future", 1), ("no_device", 1)]);
        let lines: Vec<u64> = tally.refused_in[&0].first.iter().map(|record| record.line).collect();
        assert_eq!(lines, [2, 4, 5]);
    }

    #[test]
    fn facts_fill_a_batch_as_records_do() {
        let rules = rules(&organisation(1, &[]), &[]);
        let mut filler = Filler::new(Arc::new(rules)).with_batches_of(10);
        assert_eq!(filler.change_source(&SourceName::new("test").expect("a name")), None);
        filler.begin(&reading(), None);
        let device = Mentions::one(Mention { kind: IdentityKind::AgentId, written: "A1" });
        let tell = |filler: &mut Filler, merged: &str| {
            let facts = DeviceFacts {
                second: clock::now(),
                device,
                merged_into: None,
                merged: Some(merged),
                group: None,
            };
            filler.taught(&Taught { lesson: Lesson::Device(facts), tenant: None, line: 1 });
            filler.is_full()
        };
        let ids = |count: u32| (0..count).map(|number| format!("m{number}")).collect::<Vec<_>>().join(",");
        assert!(!tell(&mut filler, &ids(39)));
        assert!(tell(&mut filler, "m40"));
        assert!(filler.take_full().is_some_and(|batch| batch.merges().len() == 40) && !filler.is_full());
    }

    #[test]
    fn what_leases_and_products_teach() {
        let ours = organisation(1, &[]);
        let rules = rules(&ours, &[organisation(2, &[])]);
        let mut filler = Filler::new(Arc::new(rules));
        assert_eq!(filler.change_source(&SourceName::new("test").expect("a name")), None);
        filler.begin(&reading(), None);
        let now = clock::now();
        let mention = |kind, written| Mention { kind, written };
        let mut holders = Mentions::one(mention(IdentityKind::Mac, "000D3A13E369"));
        holders.push(mention(IdentityKind::HostName, "PC-1"));
        let what = mention(IdentityKind::Address, "10.0.0.5");
        // One of before all that is kept may last until now.
        let (since, until) = (now.minus(800 * 3_600), Some(now.minus(790 * 3_600)));
        let lease = Leased { what, holders, since, until, free_from: until };
        let nobody = Leased { holders: Mentions::new(), free_from: None, ..lease };
        let unnamed =
            Leased { holders: Mentions::one(mention(IdentityKind::HostName, "10.0.0.6")), ..nobody };
        let facts = DeviceFacts {
            second: now,
            device: Mentions::one(mention(IdentityKind::AgentId, "A1")),
            merged_into: Some("A2"),
            merged: Some("[\"A3\"]"),
            group: Some("Desks"),
        };
        let lessons = [
            Lesson::Leased(lease),
            Lesson::Leased(nobody),
            Lesson::Leased(unnamed),
            Lesson::Leased(Leased { since: now.plus(1_000), until: None, ..lease }),
            Lesson::Device(facts),
            Lesson::Device(DeviceFacts { second: since, ..facts }),
        ];
        let foreign = Uuid::from_u128(2).to_string();
        for (line, lesson) in (1..).zip(lessons) {
            filler.taught(&Taught { lesson, tenant: None, line });
        }
        filler.taught(&Taught { lesson: Lesson::Leased(lease), tenant: Some(&foreign), line: 7 });
        let batch = filler.batch.take().expect("a batch");
        let tally = filler.into_tally();
        let name = |index: u32| batch.identities()[index as usize].name();
        let leases: Vec<_> =
            batch.leases().iter().map(|it| (name(it.what), name(it.who), it.since)).collect();
        let mac = "00:0d:3a:13:e3:69";
        assert_eq!(
            leases,
            [
                ("10.0.0.5", mac, since),
                (mac, "pc-1", since),
                ("10.0.0.5", "10.0.0.5", now.minus(790 * 3_600))
            ]
        );
        let merges: Vec<_> = batch.merges().iter().map(|it| (name(it.from), name(it.into))).collect();
        assert_eq!(merges, [("a1", "a2"), ("a3", "a1")]);
        assert_eq!(batch.groups().len(), 1);
        assert_eq!(tally.ignored.iter().collect::<Vec<_>>(), [(&"registry", &2), (&"too_old", &1)]);
        let refused: Vec<(&str, u64)> = tally.refused.iter().map(|(code, count)| (*code, *count)).collect();
        assert_eq!(refused, [("foreign_tenant", 1), ("in_future", 1), ("no_device", 2)]);
    }
}
