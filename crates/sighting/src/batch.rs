//! What one source told in one go: the unit that is appended, journalled and acknowledged. Refuses to hold: bytes of
//! a log, reasons for refusals, and any decision on what is too old or in the future (made before a record gets here).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Address, Day, Identity, IdentityKind, Label, Mention, NAME_BYTES_MAX, OrganisationId, Second};

/// Identities that are kept from one batch to the next: of 65,000 devices each has two names.
const IDENTITIES_KEPT_MAX: usize = 1 << 18;
/// Bytes of spellings that are kept likewise: many may lead to one identity, or to none.
const SPELLED_BYTES_KEPT_MAX: usize = 1 << 24;

/// The name of a source: who told us. At most [`NAME_BYTES_MAX`] bytes, not empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceName(Box<str>);

impl SourceName {
    /// `None` if the name is empty, too long or holds control characters.
    pub fn new(name: &str) -> Option<SourceName> {
        let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
        fits.then(|| SourceName(name.into()))
    }

    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a source has been read: a position under a key of the source's own choosing (a file's identity, a
/// partition), stored with the batch that it belongs to and never without it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Offset {
    /// Which part of the source.
    pub key: String,
    /// Everything before this position is in the store.
    pub position: u64,
}

impl Offset {
    /// In place of a position: the key is forgotten.
    pub const FORGOTTEN: u64 = u64::MAX - 1;
}

/// One sighting of a batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BatchSighting {
    /// The remote address.
    pub address: Address,
    /// The device's strongest identity: an index into [`Batch::identities`].
    pub identity: u32,
    /// When the connection was opened.
    pub second: Second,
}

/// A registry fact: an agent carried a name at a second, or a machine an address of a unique network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Carrier {
    /// The weaker identity (a host name, an address): an index into [`Batch::identities`].
    pub name: u32,
    /// Who carried it: an index into [`Batch::identities`].
    pub agent: u32,
    /// When.
    pub second: Second,
}

/// A registry fact: an address or MAC was an identity's for a while, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Lease {
    /// The address or MAC: an index into [`Batch::identities`].
    pub what: u32,
    /// Whose it was: an index into [`Batch::identities`]. What is leased to itself is nobody's, and somebody's
    /// if another lease of it begins in the same second.
    pub who: u32,
    /// From when on.
    pub since: Second,
    /// Until when, unless somebody else's lease of the same address begins before; without, until any lease of it begins.
    pub until: Option<Second>,
}

/// A registry fact: the product says that an agent's device is another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProductMerge {
    /// The agent that gave up its device: an index into [`Batch::identities`].
    pub from: u32,
    /// The agent whose device stays: an index into [`Batch::identities`].
    pub into: u32,
    /// When it said so. Of several targets the one that was first told last counts.
    pub second: Second,
}

/// A registry fact: the product counts an agent's device to a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Grouped {
    /// The agent: an index into [`Batch::identities`].
    pub agent: u32,
    /// When it said so: the latest counts.
    pub second: Second,
    /// The group.
    pub group: Label,
}

/// Sightings of one organisation from one source, with the identities they mention. Sightings are a set: a batch
/// may repeat itself, and appending it twice changes nothing.
#[derive(Clone, Debug)]
pub struct Batch {
    organisation: OrganisationId,
    source: SourceName,
    offsets: Vec<Offset>,
    identities: Vec<Identity>,
    sightings: Vec<BatchSighting>,
    carriers: Vec<Carrier>,
    leases: Vec<Lease>,
    merges: Vec<ProductMerge>,
    groups: Vec<Grouped>,
    reporters: Vec<(u32, Day)>,
    /// For each identity, whether a sighting, a fact or a report names it.
    used: Vec<bool>,
    lookup: Lookup,
    numbering: Noted,
}

/// What a store noted; a copy of a batch begins without.
#[derive(Debug, Default)]
struct Noted(Mutex<Numbering>);

impl Clone for Noted {
    fn clone(&self) -> Noted {
        Noted::default()
    }
}

/// The numbers by which a store knows the identities of a batch, noted there so that it need not look for them again in those
/// that come after it ([`Batch::emptied`]). Not part of what a batch says.
#[derive(Debug, Default)]
pub struct Numbering {
    /// Whose numbers these are.
    giver: u64,
    numbers: Vec<Option<u32>>,
}

impl Numbering {
    /// The numbers that `giver` noted, by the batch's index, room for `count` of them: none, where another gave them. A giver
    /// is never 0, and never gives an identity another number.
    pub fn of(&mut self, giver: u64, count: usize) -> &mut [Option<u32>] {
        if self.giver != giver {
            *self = Numbering { giver, numbers: Vec::new() };
        }
        self.numbers.resize(count, None);
        &mut self.numbers
    }

    /// The number that was noted for an index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<u32> {
        self.numbers.get(index as usize).copied().flatten()
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Batch) -> bool {
        self.organisation == other.organisation
            && self.source == other.source
            && self.offsets == other.offsets
            && self.identities == other.identities
            && self.sightings == other.sightings
            && self.carriers == other.carriers
            && self.leases == other.leases
            && self.merges == other.merges
            && self.groups == other.groups
            && self.reporters == other.reporters
    }
}

/// From spellings to identities: built while a batch is filled, not part of what it says. The hashes are seeded: names
/// come from outside, and whoever chooses them must not choose collisions.
#[derive(Clone, Debug, Default)]
struct Lookup {
    /// Every spelling met, by kind: the hot path, one look-up and no canonical form.
    written: [HashMap<Box<str>, Option<u32>, foldhash::fast::RandomState>; IdentityKind::ALL.len()],
    /// The bytes of those.
    written_bytes: usize,
    canonical: HashMap<Identity, u32, foldhash::fast::RandomState>,
    /// The last day on which each identity was noted as reporting, to skip repeats.
    last_reported: Vec<Option<Day>>,
}

impl Batch {
    /// An empty batch.
    pub fn new(organisation: OrganisationId, source: SourceName) -> Batch {
        Batch {
            organisation,
            source,
            offsets: Vec::new(),
            identities: Vec::new(),
            sightings: Vec::new(),
            carriers: Vec::new(),
            leases: Vec::new(),
            merges: Vec::new(),
            groups: Vec::new(),
            reporters: Vec::new(),
            used: Vec::new(),
            lookup: Lookup::default(),
            numbering: Noted::default(),
        }
    }

    /// A batch of another source, or of the same, that says nothing yet: as [`Batch::new`], but what was mentioned before keeps its
    /// index and is found again without a canonical form of its name. Where that became very much, it is new.
    pub fn emptied(self, source: SourceName) -> Batch {
        let is_much =
            self.identities.len() > IDENTITIES_KEPT_MAX || self.lookup.written_bytes > SPELLED_BYTES_KEPT_MAX;
        if is_much {
            return Batch::new(self.organisation, source);
        }
        let mut batch = Batch { source, ..self };
        batch.offsets.clear();
        batch.sightings.clear();
        batch.carriers.clear();
        batch.leases.clear();
        batch.merges.clear();
        batch.groups.clear();
        batch.reporters.clear();
        batch.used.fill(false);
        batch.lookup.last_reported.fill(None);
        batch
    }

    /// The index of the identity that a record mentions, adding it if it is new here; `None` if the mention names
    /// nothing (see [`Identity::new`]).
    pub fn mention(&mut self, mention: Mention<'_>) -> Option<u32> {
        let spellings = &mut self.lookup.written[mention.kind as usize];
        if let Some(known) = spellings.get(mention.written) {
            return *known;
        }
        let identity = Identity::new(mention.kind, mention.written);
        let index = identity.map(|identity| self.identity(identity));
        // What is longer is no name, or has blanks around it: it may be looked at each time.
        if mention.written.len() <= NAME_BYTES_MAX {
            self.lookup.written_bytes += mention.written.len();
            self.lookup.written[mention.kind as usize].insert(mention.written.into(), index);
        }
        index
    }

    /// The index of an identity, adding it if it is new here.
    pub fn identity(&mut self, identity: Identity) -> u32 {
        if let Some(known) = self.lookup.canonical.get(&identity) {
            return *known;
        }
        let index = u32::try_from(self.identities.len()).expect("a batch holds fewer than 2^32 identities");
        self.identities.push(identity.clone());
        self.used.push(false);
        self.lookup.last_reported.push(None);
        self.lookup.canonical.insert(identity, index);
        index
    }

    /// Adds a sighting. `identity` is an index that this batch gave.
    pub fn sighted(&mut self, address: Address, identity: u32, second: Second) {
        self.used[identity as usize] = true;
        self.sightings.push(BatchSighting { address, identity, second });
    }

    /// Adds the fact that `agent` carried `name` at a second: an agent a host name, or whoever is known by an agent id or a
    /// name an address of a network where that is one machine at a time. Both are indices that this batch gave.
    pub fn carried(&mut self, name: u32, agent: u32, second: Second) {
        // Records of one device come in bursts: the same fact twice in a row says nothing new.
        let fact = Carrier { name, agent, second };
        if self.carriers.last() != Some(&fact) {
            self.used[name as usize] = true;
            self.used[agent as usize] = true;
            self.carriers.push(fact);
        }
    }

    /// Adds the fact that an address or MAC was `who`'s from `since` until `until`, both included, or until somebody else's lease
    /// of it begins; without an end, until the next one begins. Leased to itself, it was nobody's. Both are indices that this batch gave. What is no address
    /// and no MAC is not leased, and a lease that ends before it begins never was: those say nothing.
    pub fn leased(&mut self, what: u32, who: u32, since: Second, until: Option<Second>) {
        let can_be_leased = self.identities[what as usize].is_address();
        if !can_be_leased || until.is_some_and(|until| until < since) {
            return;
        }
        // No second is later than the last of all: a lease until then has no end.
        let until = until.filter(|until| *until != Second::MAX);
        let fact = Lease { what, who, since, until };
        if self.leases.last() != Some(&fact) {
            self.used[what as usize] = true;
            self.used[who as usize] = true;
            self.leases.push(fact);
        }
    }

    /// Adds the fact that the product counts `from` as `into`, as it said at a second. Both are indices that this batch
    /// gave; only two agents are merged so.
    pub fn merged(&mut self, from: u32, into: u32, second: Second) {
        let is_agent = |index: u32| self.identities[index as usize].kind() == IdentityKind::AgentId;
        if from != into && is_agent(from) && is_agent(into) {
            self.used[from as usize] = true;
            self.used[into as usize] = true;
            self.merges.push(ProductMerge { from, into, second });
        }
    }

    /// Adds the fact that the product counts an identity's device to a group. It is an index that this batch gave.
    pub fn grouped(&mut self, agent: u32, group: Label, second: Second) {
        self.used[agent as usize] = true;
        self.groups.push(Grouped { agent, second, group });
    }

    /// Notes that an identity reported at all on the day of `second`, be it with a record that was ignored.
    pub fn reported(&mut self, identity: u32, second: Second) {
        let day = second.day();
        let last = &mut self.lookup.last_reported[identity as usize];
        if *last != Some(day) {
            *last = Some(day);
            self.used[identity as usize] = true;
            self.reporters.push((identity, day));
        }
    }

    /// Sets how far the source has been read, once this batch is durable.
    pub fn set_offset(&mut self, offset: Offset) {
        self.offsets.retain(|known| known.key != offset.key);
        self.offsets.push(offset);
    }

    /// What a store noted of the identities; nobody else needs it.
    pub fn numbering(&self) -> MutexGuard<'_, Numbering> {
        // What was noted before a panic is true all the same.
        self.numbering.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose batch it is.
    pub const fn organisation(&self) -> OrganisationId {
        self.organisation
    }

    /// Who told it.
    pub const fn source(&self) -> &SourceName {
        &self.source
    }

    /// How far the source has been read.
    pub fn offsets(&self) -> &[Offset] {
        &self.offsets
    }

    /// The distinct identities mentioned, in the order of their first mention.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// Whether a sighting, a registry fact or a report names an identity. One that was only mentioned, such as an address
    /// beside an agent's id, teaches nothing and is not kept.
    pub fn is_used(&self, index: u32) -> bool {
        self.used.get(index as usize).copied().unwrap_or_default()
    }

    /// The sightings, in the order of arrival, possibly repeated.
    pub fn sightings(&self) -> &[BatchSighting] {
        &self.sightings
    }

    /// The registry facts, in the order of arrival, possibly repeated.
    pub fn carriers(&self) -> &[Carrier] {
        &self.carriers
    }

    /// The leases, in the order of arrival, possibly repeated.
    pub fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// What the product merged, in the order of arrival, possibly repeated.
    pub fn merges(&self) -> &[ProductMerge] {
        &self.merges
    }

    /// The groups of the product, in the order of arrival, possibly repeated.
    pub fn groups(&self) -> &[Grouped] {
        &self.groups
    }

    /// Which identities reported on which day, possibly repeated.
    pub fn reporters(&self) -> &[(u32, Day)] {
        &self.reporters
    }

    /// Whether appending it would change nothing at all.
    pub fn is_empty(&self) -> bool {
        self.sightings.is_empty()
            && self.carriers.is_empty()
            && self.leases.is_empty()
            && self.merges.is_empty()
            && self.groups.is_empty()
            && self.reporters.is_empty()
            && self.offsets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn batch() -> Batch {
        Batch::new(OrganisationId(Uuid::nil()), SourceName::new("mde").expect("a name"))
    }

    #[test]
    fn spellings_of_one_name_are_one_identity() {
        let mut batch = batch();
        let host = |written| Mention { kind: IdentityKind::HostName, written };
        let first = batch.mention(host("PC-17.example.org"));
        assert_eq!(batch.mention(host("pc-17.EXAMPLE.org.")), first);
        assert_eq!(batch.mention(Mention { kind: IdentityKind::Fqdn, written: "pc-17.example.org" }), first);
        assert_ne!(
            batch.mention(Mention { kind: IdentityKind::AgentId, written: "pc-17.example.org" }),
            first
        );
        assert_eq!(batch.mention(host("-")), None);
        assert_eq!(batch.mention(host("-")), None);
        assert_eq!(batch.identities().len(), 2);
    }

    #[test]
    fn an_emptied_batch_says_nothing_and_knows_every_name() {
        let mut batch = batch();
        let host = |written| Mention { kind: IdentityKind::HostName, written };
        let first = batch.mention(host("pc-1")).expect("an identity");
        let second = batch.mention(host("pc-2")).expect("an identity");
        batch.sighted(Address::parse("192.0.2.1").expect("an address"), first, Second::new(5));
        batch.carried(second, first, Second::new(5));
        batch.reported(first, Second::new(5));
        batch.set_offset(Offset { key: "k".to_owned(), position: 1 });
        let other = SourceName::new("zeek").expect("a name");
        let mut batch = batch.emptied(other.clone());
        assert!(batch.is_empty() && !batch.is_used(first) && !batch.is_used(second));
        assert_eq!(batch.source(), &other);
        assert_eq!(batch.mention(host("PC-2")), Some(second));
        batch.reported(second, Second::new(6));
        assert_eq!(batch.reporters().len(), 1, "it was not reported in this batch yet");
        assert!(batch.is_used(second) && !batch.is_used(first));
        for number in 0..=IDENTITIES_KEPT_MAX {
            let written = format!("h{number}");
            batch.mention(Mention { kind: IdentityKind::HostName, written: &written });
        }
        assert!(batch.emptied(other).identities().is_empty());
    }

    #[test]
    fn spellings_are_kept_within_bounds() {
        let mut batch = batch();
        let mut mention = |kind, written: &str| batch.mention(Mention { kind, written });
        let first = mention(IdentityKind::HostName, "pc");
        // Each of them leads to the same name, and one that is too long to be kept does too.
        for blanks in [1, 100, 300, 30_000] {
            assert_eq!(mention(IdentityKind::HostName, &format!("PC{:>blanks$}", ' ')), first);
        }
        assert!(batch.lookup.written_bytes < 200, "{}", batch.lookup.written_bytes);
        for number in 0..SPELLED_BYTES_KEPT_MAX / 200 + 1 {
            let written = format!("{number:>200}-");
            assert_eq!(batch.mention(Mention { kind: IdentityKind::Mac, written: &written }), None);
        }
        let source = batch.source().clone();
        let batch = batch.emptied(source);
        assert_eq!((batch.identities().len(), batch.lookup.written_bytes), (0, 0));
    }

    #[test]
    fn numbers_are_those_of_one_giver() {
        let mut batch = batch();
        let first = batch.mention(Mention { kind: IdentityKind::HostName, written: "a" }).expect("a name");
        batch.numbering().of(1, 1)[0] = Some(77);
        let source = batch.source().clone();
        let batch = batch.emptied(source);
        assert_eq!(batch.numbering().get(first), Some(77));
        assert_eq!(batch.numbering().of(1, 2), [Some(77), None]);
        assert_eq!(batch.numbering().of(2, 2), [None, None], "another store's");
        assert_eq!(batch.clone().numbering().get(first), None);
    }

    #[test]
    fn a_device_reports_once_a_day() {
        let mut batch = batch();
        let identity =
            batch.mention(Mention { kind: IdentityKind::AgentId, written: "a" }).expect("an identity");
        for second in [5, 6, 86_399, 86_400, 86_401] {
            batch.reported(identity, Second::new(second));
        }
        assert_eq!(batch.reporters().len(), 2);
    }
}
