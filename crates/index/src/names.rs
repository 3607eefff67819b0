//! The names of one organisation: identities, sources and their numbers, which agent ever carried which name, what was
//! merged, called, tagged and grouped, and how far each source was read. Numbers are given once, in order, and never again.
//! Refuses to hold: sightings, the times of carrying (the `Carriers` table), leases (`leases`), files and locks.
//!
//! Every change is an [`Entry`]. All but carriers and offsets are numbered in one order, in the names
//! part of journal records and in the names file, so that a replay skips what it has seen. Carriers and offsets have no
//! numbers: taking them in again changes nothing, and in the journal they are the batch's own rows and offsets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, RandomState};
use sighting::{
    Identity, IdentityKind, Label, Network, NetworkKind, Offset, RegistryChange, RegistrySettings, Second,
    SourceName, TagChange,
};

use crate::codec::{CodecError, Reader, put_identity, put_text, put_varint, take_identity};
use crate::row::SOURCES_MAX;

/// One thing learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// The next identity number is this identity's.
    Identity(Identity),
    /// The next source number is this source's.
    Source(SourceName),
    /// This agent carried this name at least once.
    Carrier { name: u32, agent: u32 },
    /// By an operator's word.
    Merge { from: u32, into: u32 },
    /// Short host names belong to this domain.
    Domain(Option<String>),
    /// How far a source was read.
    Offset { source: u16, key: String, position: u64 },
    /// By the product's word, first told at a second.
    ProductMerge { from: u32, into: u32, second: Second },
    /// A merge is taken back by an operator's word.
    Split { from: u32 },
    /// What an operator calls a device.
    DisplayName { of: u32, name: Option<Label> },
    /// An operator tagged a device, or took a tag off.
    Tag { of: u32, tag: Label, change: TagChange },
    /// The product counts a device to a group, since a second.
    Group { of: u32, group: Label, second: Second },
    /// The networks of a kind.
    Networks { kind: NetworkKind, list: Vec<Network> },
}

impl Entry {
    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Entry::Identity(identity) => {
                bytes.push(0);
                put_identity(bytes, identity);
            }
            Entry::Source(name) => {
                bytes.push(1);
                put_text(bytes, name.as_str());
            }
            Entry::Carrier { name, agent } => {
                bytes.push(2);
                put_varint(bytes, u64::from(*name));
                put_varint(bytes, u64::from(*agent));
            }
            Entry::Merge { from, into } => {
                bytes.push(3);
                put_varint(bytes, u64::from(*from));
                put_varint(bytes, u64::from(*into));
            }
            Entry::Domain(domain) => {
                bytes.push(4);
                put_text(bytes, domain.as_deref().unwrap_or_default());
            }
            Entry::Offset { source, key, position } => {
                bytes.push(5);
                put_varint(bytes, u64::from(*source));
                put_text(bytes, key);
                put_varint(bytes, *position);
            }
            Entry::ProductMerge { from, into, second } => {
                bytes.push(6);
                put_varint(bytes, u64::from(*from));
                put_varint(bytes, u64::from(*into));
                put_varint(bytes, u64::from(second.unix()));
            }
            Entry::Split { from } => {
                bytes.push(7);
                put_varint(bytes, u64::from(*from));
            }
            Entry::DisplayName { of, name } => {
                bytes.push(8);
                put_varint(bytes, u64::from(*of));
                put_text(bytes, name.as_ref().map_or("", Label::as_str));
            }
            Entry::Tag { of, tag, change } => {
                bytes.push(9);
                put_varint(bytes, u64::from(*of));
                put_text(bytes, tag.as_str());
                bytes.push(u8::from(*change == TagChange::Add));
            }
            Entry::Group { of, group, second } => {
                bytes.push(10);
                put_varint(bytes, u64::from(*of));
                put_text(bytes, group.as_str());
                put_varint(bytes, u64::from(second.unix()));
            }
            Entry::Networks { kind, list } => {
                bytes.push(11);
                bytes.push(u8::from(*kind == NetworkKind::Nat));
                put_varint(bytes, list.len() as u64);
                list.iter().for_each(|network| put_text(bytes, &network.to_string()));
            }
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Entry, CodecError> {
        Ok(match reader.byte()? {
            0 => Entry::Identity(take_identity(reader)?),
            1 => Entry::Source(SourceName::new(reader.text()?).ok_or(CodecError("not a source name"))?),
            2 => Entry::Carrier { name: reader.varint_u32()?, agent: reader.varint_u32()? },
            3 => Entry::Merge { from: reader.varint_u32()?, into: reader.varint_u32()? },
            4 => Entry::Domain(Some(reader.text()?.to_owned()).filter(|domain| !domain.is_empty())),
            5 => Entry::Offset {
                source: u16::try_from(reader.varint()?).map_err(|_| CodecError("a source out of range"))?,
                key: reader.text()?.to_owned(),
                position: reader.varint()?,
            },
            6 => Entry::ProductMerge {
                from: reader.varint_u32()?,
                into: reader.varint_u32()?,
                second: Second::new(reader.varint_u32()?),
            },
            7 => Entry::Split { from: reader.varint_u32()? },
            8 => Entry::DisplayName { of: reader.varint_u32()?, name: Label::new(reader.text()?) },
            9 => Entry::Tag {
                of: reader.varint_u32()?,
                tag: take_label(reader)?,
                change: if reader.byte()? == 0 { TagChange::Remove } else { TagChange::Add },
            },
            10 => Entry::Group {
                of: reader.varint_u32()?,
                group: take_label(reader)?,
                second: Second::new(reader.varint_u32()?),
            },
            11 => {
                let kind = if reader.byte()? == 0 { NetworkKind::Unique } else { NetworkKind::Nat };
                let count = reader.count(2)?;
                let list = (0..count).map(|_| take_network(reader)).collect::<Result<_, _>>()?;
                Entry::Networks { kind, list }
            }
            _ => return Err(CodecError("unknown kind of names entry")),
        })
    }
}

fn take_label(reader: &mut Reader<'_>) -> Result<Label, CodecError> {
    Label::new(reader.text()?).ok_or(CodecError("not a label"))
}

fn take_network(reader: &mut Reader<'_>) -> Result<Network, CodecError> {
    Network::parse(reader.text()?).map_err(|_| CodecError("not a network"))
}

/// Agents into which the product may merge one agent: each is known for good, and no machine was ever enrolled so often.
/// One more is passed over, and counted.
const MERGE_TARGETS_MAX: usize = 256;

/// What the product merged one agent into.
#[derive(Debug, Default)]
struct Targets {
    /// When each was first told.
    first_told: HashMap<u32, Second, FixedState>,
    /// The one that counts: which was first told last, of several the greatest identity.
    last: Option<u32>,
}

impl Targets {
    /// Whether a merge is new, or older than was known.
    fn is_news(&self, into: u32, second: Second) -> bool {
        self.first_told.get(&into).is_none_or(|first_told| second < *first_told)
    }

    fn has_room_for(&self, into: u32) -> bool {
        self.first_told.len() < MERGE_TARGETS_MAX || self.first_told.contains_key(&into)
    }

    fn tell(&mut self, into: u32, second: Second, identities: &[Identity]) {
        let first_told = self.first_told.entry(into).or_insert(second);
        *first_told = second.min(*first_told);
        // Being told of an earlier second, the last one may be the last no more.
        let rivals: Vec<u32> = match self.last {
            Some(last) if last != into => vec![last, into],
            _ => self.first_told.keys().copied().collect(),
        };
        self.last =
            rivals.into_iter().max_by_key(|id| (self.first_told.get(id), identities.get(*id as usize)));
    }
}

/// Tells these names from all others of this process, whose numbers mean something else.
#[derive(Debug)]
struct NamesId(u64);

impl Default for NamesId {
    fn default() -> NamesId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NamesId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Everything learned of one organisation.
#[derive(Debug, Default)]
pub(crate) struct Names {
    id: NamesId,
    identities: Vec<Identity>,
    /// Seeded, unlike the others: names come from outside, and whoever chooses them must not choose collisions.
    numbers: HashMap<Identity, u32, RandomState>,
    sources: Vec<SourceName>,
    carriers: HashMap<u32, Vec<u32>, FixedState>,
    carrier_pairs: HashSet<(u32, u32), FixedState>,
    /// By an operator's word: into which, or into none.
    merges: HashMap<u32, Option<u32>, FixedState>,
    /// By the product's.
    product_merges: HashMap<u32, Targets, FixedState>,
    /// Merges of the product that found no room, since the start.
    merges_dropped: u64,
    /// What anything was ever merged into.
    merge_targets: HashSet<u32, FixedState>,
    /// Addresses and MACs that were leased at all.
    leased: HashSet<u32, FixedState>,
    /// All addresses and MACs, rising.
    addresses: Vec<u32>,
    display_names: HashMap<u32, Label, FixedState>,
    tags: HashMap<u32, BTreeSet<Label>, FixedState>,
    groups: HashMap<u32, (Second, Label), FixedState>,
    settings: RegistrySettings,
    offsets: BTreeMap<(u16, String), u64>,
    /// Identities whose owner may have changed, in the order of the changes: joins that were derived up to some place
    /// in it are brought up to date from there.
    joins_log: Vec<Touched>,
    /// Numbered entries learned since the folder was made.
    learned: u64,
    /// Learned, and in no journal record yet.
    unjournalled: Vec<Entry>,
    /// In the journal but not in the names file: numbered entries and carriers, in order.
    unfiled: Vec<Entry>,
    /// In the journal but not in the names file: how far sources were read, the newest of each key.
    unfiled_offsets: BTreeMap<(u16, String), u64>,
}

/// What a change of joins can have touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touched {
    /// This identity, and whatever leads to it.
    Identity(u32),
    /// Possibly every identity.
    All,
}

/// What of the names is in finished journals and not yet in the names file, fixed at a moment when no batch was under
/// way. What is learned later belongs to a later journal.
pub(crate) struct Filing {
    /// Numbered entries learned by then, those in the file included.
    learned: u64,
    entries: usize,
    offsets: BTreeMap<(u16, String), u64>,
}

impl Names {
    /// Unlike that of any other names in this process, later ones of the same organisation included.
    pub(crate) fn id(&self) -> u64 {
        self.id.0
    }

    /// The number of an identity, if it has one.
    pub(crate) fn number(&self, identity: &Identity) -> Option<u32> {
        self.numbers.get(identity).copied()
    }

    /// The identity of a number.
    pub(crate) fn identity(&self, number: u32) -> Option<&Identity> {
        self.identities.get(number as usize)
    }

    /// How many identities there are: their numbers are below this.
    pub(crate) fn identity_count(&self) -> u32 {
        self.identities.len() as u32
    }

    /// Every source's name, in the order of their numbers.
    pub(crate) fn sources(&self) -> &[SourceName] {
        &self.sources
    }

    /// The number of a source, if it has one.
    pub(crate) fn source(&self, name: &SourceName) -> Option<u16> {
        self.sources.iter().position(|known| known == name).map(|index| index as u16)
    }

    /// Agents that ever carried a name.
    pub(crate) fn carriers(&self, name: u32) -> &[u32] {
        self.carriers.get(&name).map_or(&[], Vec::as_slice)
    }

    /// Whether this agent is known to have carried this name.
    pub(crate) fn knows_carrier(&self, name: u32, agent: u32) -> bool {
        self.carrier_pairs.contains(&(name, agent))
    }

    /// Names that any agent carried.
    pub(crate) fn carried(&self) -> impl Iterator<Item = u32> {
        self.carriers.keys().copied()
    }

    /// What an identity was merged into: by an operator's word, else by the product's, of whose words the one that it first
    /// said last.
    pub(crate) fn merged_into(&self, from: u32) -> Option<u32> {
        if let Some(word) = self.merges.get(&from) {
            return *word;
        }
        self.product_merges.get(&from)?.last
    }

    /// Whether anything was ever merged into an identity.
    pub(crate) fn is_merged_into(&self, into: u32) -> bool {
        self.merge_targets.contains(&into)
    }

    /// Identities that were merged into others, or ever were.
    pub(crate) fn merged(&self) -> impl Iterator<Item = u32> {
        self.merges.keys().chain(self.product_merges.keys()).copied()
    }

    /// Learns a merge that the product told, if it is news and has room.
    pub(crate) fn learn_product_merge(&mut self, from: u32, into: u32, second: Second) {
        let known = self.product_merges.get(&from);
        if known.is_some_and(|known| !known.is_news(into, second)) {
            return;
        }
        if known.is_some_and(|known| !known.has_room_for(into)) {
            self.merges_dropped += 1;
            return;
        }
        self.learn(Entry::ProductMerge { from, into, second });
    }

    /// Merges of the product that found no room, since the start.
    pub(crate) fn merges_dropped(&self) -> u64 {
        self.merges_dropped
    }

    /// Whether an address or MAC was leased at all.
    pub(crate) fn is_leased(&self, what: u32) -> bool {
        self.leased.contains(&what)
    }

    /// Addresses and MACs that were leased at all.
    pub(crate) fn leased(&self) -> impl Iterator<Item = u32> {
        self.leased.iter().copied()
    }

    /// All addresses and MACs, rising.
    pub(crate) fn addresses(&self) -> &[u32] {
        &self.addresses
    }

    /// Whether an identity is an address or a MAC.
    pub(crate) fn is_address(&self, number: u32) -> bool {
        self.identity(number).is_some_and(Identity::is_address)
    }

    /// What an operator calls an identity's device.
    pub(crate) fn display_name(&self, of: u32) -> Option<&Label> {
        self.display_names.get(&of)
    }

    /// What an operator tagged an identity's device with.
    pub(crate) fn tags(&self, of: u32) -> impl Iterator<Item = &Label> {
        self.tags.get(&of).into_iter().flatten()
    }

    /// The group to which the product counts an identity's device.
    pub(crate) fn group(&self, of: u32) -> Option<&Label> {
        self.groups.get(&of).map(|(_, group)| group)
    }

    /// Whether a group is another one than was known, and told later.
    pub(crate) fn is_group_news(&self, of: u32, group: &Label, second: Second) -> bool {
        self.groups.get(&of).is_none_or(|(since, known)| known != group && *since < second)
    }

    /// The domain of short host names.
    pub(crate) fn domain(&self) -> Option<&str> {
        self.settings.domain.as_deref()
    }

    /// What an operator said of the registry as a whole.
    pub(crate) fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    /// How far a source was read under a key.
    pub(crate) fn offset(&self, source: &SourceName, key: &str) -> Option<u64> {
        self.offsets.get(&(self.source(source)?, key.to_owned())).copied()
    }

    /// The same under every key, sorted.
    pub(crate) fn offsets(&self, source: &SourceName) -> Vec<Offset> {
        let Some(source) = self.source(source) else { return Vec::new() };
        let from = (source, String::new());
        let own = self.offsets.range(from..).take_while(|((of, _), _)| *of == source);
        own.map(|((_, key), position)| Offset { key: key.clone(), position: *position }).collect()
    }

    /// Notes how far a source was read; the batch's own record carries it.
    pub(crate) fn set_offset(&mut self, source: u16, key: String, position: u64) {
        self.unfiled_offsets.insert((source, key.clone()), position);
        self.keep_offset(source, key, position);
    }

    fn keep_offset(&mut self, source: u16, key: String, position: u64) {
        match position {
            Offset::FORGOTTEN => self.offsets.remove(&(source, key)),
            position => self.offsets.insert((source, key), position),
        };
    }

    /// Notes that an agent carried a name at least once; the rows of the batch say when, and are in the journal.
    pub(crate) fn carried_by(&mut self, name: u32, agent: u32) {
        if !self.knows_carrier(name, agent) {
            self.admit(Entry::Carrier { name, agent });
            self.unfiled.push(Entry::Carrier { name, agent });
        }
    }

    /// Notes that an address or MAC was leased at least once; the rows say when and to whom.
    pub(crate) fn leased_once(&mut self, what: u32) {
        if self.leased.insert(what) {
            self.joins_log.push(Touched::Identity(what));
        }
    }

    /// Learns something new: it must reach a journal record before anything that refers to it.
    pub(crate) fn learn(&mut self, entry: Entry) {
        self.admit(entry.clone());
        self.learned += 1;
        self.unjournalled.push(entry);
    }

    /// The number of an identity, giving it one if it is new.
    pub(crate) fn number_or_learn(&mut self, identity: &Identity) -> u32 {
        if let Some(known) = self.number(identity) {
            return known;
        }
        self.learn(Entry::Identity(identity.clone()));
        self.identity_count() - 1
    }

    /// The number of a source, giving it one if it is new; `None` if there are too many.
    pub(crate) fn source_or_learn(&mut self, name: &SourceName) -> Option<u16> {
        if let Some(known) = self.source(name) {
            return Some(known);
        }
        let number =
            u16::try_from(self.sources.len()).ok().filter(|number| u32::from(*number) < SOURCES_MAX)?;
        self.learn(Entry::Source(name.clone()));
        Some(number)
    }

    /// What a registry change says in numbers; an error names the identity that does not exist.
    pub(crate) fn change_entry(&self, change: &RegistryChange) -> Result<Entry, Identity> {
        match change {
            RegistryChange::Domain(domain) => Ok(Entry::Domain(domain.clone())),
            RegistryChange::Merge { from, into } => {
                Ok(Entry::Merge { from: self.existing(from)?, into: self.existing(into)? })
            }
            RegistryChange::Split(from) => Ok(Entry::Split { from: self.existing(from)? }),
            RegistryChange::Rename { identity, name } => {
                Ok(Entry::DisplayName { of: self.existing(identity)?, name: name.clone() })
            }
            RegistryChange::Tag { identity, tag, change } => {
                Ok(Entry::Tag { of: self.existing(identity)?, tag: tag.clone(), change: *change })
            }
            RegistryChange::Networks(kind, list) => Ok(Entry::Networks { kind: *kind, list: list.clone() }),
        }
    }

    fn existing(&self, identity: &Identity) -> Result<u32, Identity> {
        self.number(identity).ok_or_else(|| identity.clone())
    }

    /// What the next journal record must carry: the number of its first entry and the entries.
    pub(crate) fn unjournalled(&self) -> (u64, &[Entry]) {
        (self.learned - self.unjournalled.len() as u64, &self.unjournalled)
    }

    /// A journal record carries it: no other does, so it must be the next one written.
    pub(crate) fn journalled(&mut self) {
        self.unfiled.append(&mut self.unjournalled);
    }

    /// What the names file lacks of the journals so far. To be asked while no batch is under way.
    pub(crate) fn filing(&self) -> Filing {
        Filing {
            learned: self.learned - self.unjournalled.len() as u64,
            entries: self.unfiled.len(),
            offsets: self.unfiled_offsets.clone(),
        }
    }

    /// The entries of a filing, behind the count of numbered entries that the file then stands for.
    pub(crate) fn entries_of(&self, filing: &Filing) -> (u64, Vec<Entry>) {
        let mut entries = self.unfiled.get(..filing.entries).unwrap_or_default().to_vec();
        let offset = |((source, key), position): (&(u16, String), &u64)| Entry::Offset {
            source: *source,
            key: key.clone(),
            position: *position,
        };
        entries.extend(filing.offsets.iter().map(offset));
        (filing.learned, entries)
    }

    /// The filing is in the names file, and the manifest says so.
    pub(crate) fn filed(&mut self, filing: &Filing) {
        self.unfiled.drain(..filing.entries);
        self.unfiled_offsets.retain(|key, position| filing.offsets.get(key) != Some(position));
    }

    /// Takes in an entry of a journal record, unless the names file had it. `false`: entries before it are missing.
    pub(crate) fn replay_journalled(&mut self, number: u64, entry: Entry) -> bool {
        if number == self.learned {
            self.admit(entry.clone());
            self.learned += 1;
            self.unfiled.push(entry);
        }
        number < self.learned
    }

    /// Takes in an entry of the names file.
    pub(crate) fn replay_filed(&mut self, entry: Entry) {
        self.admit(entry);
    }

    /// How many numbered entries were learned since the folder was made.
    pub(crate) fn learned(&self) -> u64 {
        self.learned
    }

    /// Sets how many numbered entries the names file stands for.
    pub(crate) fn set_learned(&mut self, learned: u64) {
        self.learned = learned;
    }

    /// How many changes of joins there were: what was derived from fewer is stale.
    pub(crate) fn joins_version(&self) -> usize {
        self.joins_log.len()
    }

    /// What the changes since a version touched.
    pub(crate) fn touched_since(&self, version: usize) -> &[Touched] {
        self.joins_log.get(version..).unwrap_or_default()
    }

    fn admit(&mut self, entry: Entry) {
        match entry {
            Entry::Identity(identity) => {
                let number = self.identity_count();
                if self.settings.domain.is_some()
                    && matches!(identity.kind(), IdentityKind::Fqdn | IdentityKind::HostName)
                {
                    // A new full name may be what a short one was waiting for, and the other way round.
                    self.joins_log.push(Touched::Identity(number));
                }
                if identity.is_address() {
                    self.addresses.push(number);
                }
                self.numbers.insert(identity.clone(), number);
                self.identities.push(identity);
            }
            Entry::Source(name) => self.sources.push(name),
            Entry::Carrier { name, agent } => {
                if self.carrier_pairs.insert((name, agent)) {
                    self.carriers.entry(name).or_default().push(agent);
                    self.joins_log.push(Touched::Identity(name));
                }
            }
            Entry::Merge { from, into } => {
                self.merges.insert(from, Some(into));
                self.merge_targets.insert(into);
                self.joins_log.push(Touched::All);
            }
            Entry::Split { from } => {
                self.merges.insert(from, None);
                self.joins_log.push(Touched::All);
            }
            Entry::ProductMerge { from, into, second } => {
                self.product_merges.entry(from).or_default().tell(into, second, &self.identities);
                self.merge_targets.insert(into);
                self.joins_log.push(Touched::All);
            }
            Entry::DisplayName { of, name: Some(name) } => drop(self.display_names.insert(of, name)),
            Entry::DisplayName { of, name: None } => drop(self.display_names.remove(&of)),
            Entry::Tag { of, tag, change } => {
                let tags = self.tags.entry(of).or_default();
                match change {
                    TagChange::Add => tags.insert(tag),
                    TagChange::Remove => tags.remove(&tag),
                };
            }
            Entry::Group { of, group, second } => drop(self.groups.insert(of, (second, group))),
            Entry::Networks { kind: NetworkKind::Unique, list } => self.settings.unique_networks = list,
            Entry::Networks { kind: NetworkKind::Nat, list } => {
                self.settings.nat_gateways = list;
                self.joins_log.push(Touched::All);
            }
            Entry::Domain(domain) => {
                self.settings.domain = domain;
                self.joins_log.push(Touched::All);
            }
            Entry::Offset { source, key, position } => self.keep_offset(source, key, position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Names of so many agents, whose numbers are not in the order of their names.
    fn agents(count: u32) -> Names {
        let mut names = Names::default();
        for number in 0..count {
            let name = format!("{:03}", number * 7 % count);
            names.number_or_learn(&Identity::new(IdentityKind::AgentId, &name).expect("a name"));
        }
        names
    }

    proptest! {
        /// A merge counts from the second at which it was first told, in whatever order that is heard.
        #[test]
        fn the_merge_that_was_first_told_last_counts(told in prop::collection::vec((1u32..6, 0u32..10), 1..20)) {
            let mut names = agents(6);
            for (into, second) in &told {
                names.learn_product_merge(0, *into, Second::new(*second));
            }
            let first_told = |id: u32| told.iter().filter(|it| it.0 == id).map(|it| it.1).min();
            let last = (1..6).max_by_key(|id| (first_told(*id), names.identity(*id)));
            prop_assert_eq!(names.merged_into(0), last);
        }
    }

    #[test]
    fn one_agent_is_merged_into_so_many_others_at_most() {
        let all = MERGE_TARGETS_MAX as u32 + 10;
        let mut names = agents(all + 1);
        for _ in 0..2 {
            for into in 1..=all {
                names.learn_product_merge(0, into, Second::new(1_000 + into));
            }
        }
        assert_eq!(names.merged_into(0), Some(MERGE_TARGETS_MAX as u32));
        assert_eq!(names.merges_dropped(), 20, "each time that they are told");
        let learned = names.learned();
        // What has room is still heard.
        names.learn_product_merge(0, 256, Second::new(5));
        assert_eq!((names.merged_into(0), names.learned()), (Some(255), learned + 1));
    }
}
