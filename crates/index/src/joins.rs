//! The device registry: from (identity, moment) to the identity that owns the device, with all that is known now.
//! Refuses to hold: the facts themselves (names in `names`, times of carrying in the `Carriers` table, leases in `leases`),
//! and answers.
//!
//! An agent owns a device. An address or MAC belongs to whom it was leased to at the moment. A name belongs to the agent that
//! carried it last at or before the moment, before its first carrier to that first one; an address of a unique network
//! likewise, but before its first carrier to nobody. Carried in the same second: by the greatest. A short name without
//! carriers joins its full name in the organisation's one domain. What was merged follows what it was merged
//! into. Joins that close a circle belong to the least identity in it.

use sighting::{Identity, IdentityKind, Network, Second};

use crate::ids::IdSet;
use crate::names::{Names, Touched};

/// What is derived from the joins of an organisation, so that a question need not walk them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joins {
    /// The version of the names it was derived from.
    version: usize,
    /// Identities that may belong to another's device.
    pub(crate) joined: IdSet,
    /// For each identity up to the last joined one: its owner, itself, or [`TIMED`].
    owners: Vec<u32>,
    /// Addresses and MACs that stand for one device at most, if they own one.
    pub(crate) alone: IdSet,
    /// Addresses that stand for one device or more.
    pub(crate) gateways: IdSet,
    /// How many of the names' addresses are in one of the two.
    addresses: usize,
}

/// In place of an owner: it depends on the moment. No identity has this number.
const TIMED: u32 = u32::MAX;

/// Who owns an identity's device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// Always the same.
    Fixed(u32),
    /// It depends on the moment: whoever asks has to [`walk`].
    Timed,
}

impl Joins {
    /// Whether nothing was joined since this was derived.
    pub(crate) fn is_current(&self, names: &Names) -> bool {
        self.version == names.joins_version() && self.addresses == names.addresses().len()
    }

    /// Brings it up to date. Cost: that of what was touched; everything, if a domain or a merge was, or what something
    /// was merged into.
    pub(crate) fn update(&mut self, names: &Names, gateways: &[Network]) {
        let mut one_by_one = Vec::new();
        for change in names.touched_since(self.version) {
            let Touched::Identity(id) = *change else { return *self = Joins::derive(names, gateways) };
            // Only its short name and what was merged into one of the two lead to a name.
            let both = [Some(id), short_name(names, id)];
            if both.into_iter().flatten().any(|id| names.is_merged_into(id)) {
                return *self = Joins::derive(names, gateways);
            }
            one_by_one.extend(both.into_iter().flatten());
        }
        for id in one_by_one {
            self.judge(names, id);
        }
        self.sort_addresses(names, gateways);
        self.version = names.joins_version();
    }

    /// Tells new addresses from gateways.
    fn sort_addresses(&mut self, names: &Names, gateways: &[Network]) {
        let taught = &names.settings().nat_gateways;
        let is_gateway = |identity: &Identity| identity.is_in(taught) || identity.is_in(gateways);
        for id in names.addresses().iter().skip(self.addresses) {
            let is_gateway = names.identity(*id).is_some_and(is_gateway);
            if is_gateway { self.gateways.insert(*id) } else { self.alone.insert(*id) }
        }
        self.addresses = names.addresses().len();
    }

    fn derive(names: &Names, gateways: &[Network]) -> Joins {
        let mut joins = Joins { version: names.joins_version(), ..Joins::default() };
        let short = (0..names.identity_count()).filter(|_| names.domain().is_some());
        for id in names.carried().chain(names.merged()).chain(names.leased()).chain(short) {
            joins.judge(names, id);
        }
        joins.sort_addresses(names, gateways);
        joins
    }

    /// Finds out who owns one identity's device.
    fn judge(&mut self, names: &Names, id: u32) {
        if matches!(step(names, id), Step::None) {
            return;
        }
        let place = id as usize;
        if self.owners.len() <= place {
            let len = self.owners.len() as u32;
            self.owners.extend(len..=id);
        }
        self.joined.insert(id);
        let next_of = |current| match step(names, current) {
            Step::None => Ok(None),
            Step::To(next) => Ok(Some(next)),
            Step::Timed => Err(DependsOnMoment),
        };
        self.owners[place] = walk(id, next_of).map_or(TIMED, |path| path.owner(names));
    }

    /// Who owns an identity's device.
    pub(crate) fn owner(&self, id: u32) -> Owner {
        match self.owners.get(id as usize) {
            Some(&TIMED) => Owner::Timed,
            Some(&owner) => Owner::Fixed(owner),
            None => Owner::Fixed(id),
        }
    }
}

/// Where a join leads cannot be told without a moment.
struct DependsOnMoment;

/// Where a walk along joins ended.
pub(crate) enum Path {
    End(u32),
    /// They close a circle of these.
    Circle(Vec<u32>),
}

impl Path {
    /// A circle belongs to the least identity in it.
    pub(crate) fn owner(self, names: &Names) -> u32 {
        match self {
            Path::End(id) => id,
            Path::Circle(ids) => ids.into_iter().min_by_key(|id| names.identity(*id)).unwrap_or(TIMED),
        }
    }
}

/// When which agent carried a name, for look-ups by time.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Rising seconds, each with the agent that decides from then on.
    changes: Vec<(Second, u32)>,
}

impl Timeline {
    /// From facts in any order; agents of the same second: the greatest identity decides.
    pub(crate) fn new(mut facts: Vec<(Second, u32)>, names: &Names) -> Timeline {
        facts.sort_unstable();
        facts.dedup();
        facts.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| names.identity(a.1).cmp(&names.identity(b.1))));
        let mut changes: Vec<(Second, u32)> = Vec::new();
        for (second, agent) in facts {
            match changes.last_mut() {
                Some(last) if last.0 == second => last.1 = agent,
                // The same agent again changes nothing from then on.
                Some(last) if last.1 == agent => {}
                _ => changes.push((second, agent)),
            }
        }
        Timeline { changes }
    }

    /// When another one begins to decide.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Second> {
        self.changes.iter().map(|(second, _)| *second)
    }

    /// Who carried the name at a moment; before its first carrier, that first one.
    pub(crate) fn at(&self, at: Second) -> Option<u32> {
        self.since(at).or_else(|| self.changes.first().map(|(_, agent)| *agent))
    }

    /// Who carried it last at or before a moment.
    pub(crate) fn since(&self, at: Second) -> Option<u32> {
        let behind = self.changes.partition_point(|(second, _)| *second <= at);
        self.changes.get(behind.checked_sub(1)?).map(|(_, agent)| *agent)
    }
}

/// Follows joins to their end; `next_of` says where one leads. Cost: a step for each join, a few times as many where they end in
/// a circle: what is met again is looked for at one place alone, which moves on after 1, 2, 4 … steps (Brent's way), so a long chain of
/// merges is no more than long.
pub(crate) fn walk<E>(id: u32, mut next_of: impl FnMut(u32) -> Result<Option<u32>, E>) -> Result<Path, E> {
    let mut path = vec![id];
    let (mut current, mut marked, mut reach) = (id, 0, 1);
    while let Some(next) = next_of(current)? {
        if path.get(marked) == Some(&next) {
            return Ok(Path::Circle(path.split_off(marked)));
        }
        path.push(next);
        current = next;
        if path.len() > marked + reach {
            (marked, reach) = (path.len() - 1, reach * 2);
        }
    }
    Ok(Path::End(current))
}

/// One step along the joins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    None,
    To(u32),
    /// It depends on the moment.
    Timed,
}

/// Where the joins of an identity lead next.
pub(crate) fn step(names: &Names, id: u32) -> Step {
    if names.is_leased(id) { Step::Timed } else { step_without_lease(names, id) }
}

/// Where they lead at a moment at which it is leased to nobody.
pub(crate) fn step_without_lease(names: &Names, id: u32) -> Step {
    match names.carriers(id) {
        [] => full_name(names, id).or_else(|| names.merged_into(id)).map_or(Step::None, Step::To),
        // Whoever was the only one to carry a name always owned it.
        [agent] if !names.is_address(id) => Step::To(*agent),
        _ => Step::Timed,
    }
}

/// The identity a merge of which leads on from here, if it is one.
pub(crate) fn is_merge(names: &Names, id: u32) -> bool {
    full_name(names, id).is_none() && names.merged_into(id).is_some()
}

fn full_name(names: &Names, id: u32) -> Option<u32> {
    let domain = names.domain()?;
    let short = names.identity(id).filter(|identity| identity.kind() == IdentityKind::HostName)?;
    let full = Identity::new(IdentityKind::Fqdn, &format!("{}.{domain}", short.name()))?;
    names.number(&full)
}

/// The short name that a full one of the organisation's domain is waited for by.
fn short_name(names: &Names, id: u32) -> Option<u32> {
    let domain = names.domain()?;
    let full = names.identity(id).filter(|identity| identity.kind() == IdentityKind::Fqdn)?;
    let domain = domain.trim_end_matches('.').to_lowercase();
    let short = full.name().strip_suffix(domain.as_str())?.strip_suffix('.')?;
    names.number(&Identity::new(IdentityKind::HostName, short)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Entry;
    use proptest::prelude::*;
    use sighting::Identity;
    use std::collections::BTreeSet;

    fn identity(number: u32) -> Identity {
        let (kind, name) = match number % 3 {
            _ if number >= 30 => (IdentityKind::Address, format!("10.0.0.{number}")),
            0 => (IdentityKind::AgentId, format!("a{number}")),
            1 => (IdentityKind::Fqdn, format!("pc{}.example.org", number / 3)),
            _ => (IdentityKind::HostName, format!("pc{}", number / 3)),
        };
        Identity::new(kind, &name).expect("a name")
    }

    #[derive(Clone, Debug)]
    enum Change {
        Lease(u32),
        Identity(u32),
        Carrier(u32, u32),
        Merge(u32, u32),
        Domain(bool),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            2 => (30u32..36).prop_map(Change::Lease),
            6 => (0u32..30).prop_map(Change::Identity),
            6 => (0u32..30, 0u32..30).prop_map(|(name, agent)| Change::Carrier(name, agent)),
            1 => (0u32..36, 0u32..36).prop_map(|(from, into)| Change::Merge(from, into)),
            1 => any::<bool>().prop_map(Change::Domain),
        ]
    }

    fn make(names: &mut Names, change: &Change) {
        let number = |names: &mut Names, id: u32| names.number_or_learn(&identity(id));
        match change {
            Change::Lease(id) => {
                let what = number(names, *id);
                names.leased_once(what);
            }
            Change::Identity(id) => {
                number(names, *id);
            }
            Change::Carrier(name, agent) => {
                let (name, agent) = (number(names, name / 3 * 3 + 1), number(names, agent / 3 * 3));
                names.carried_by(name, agent);
            }
            Change::Merge(from, into) => {
                let (from, into) = (number(names, *from), number(names, *into));
                names.learn(Entry::Merge { from, into });
            }
            Change::Domain(known) => names.learn(Entry::Domain(known.then(|| "example.org".to_owned()))),
        }
    }

    proptest! {
        #[test]
        fn brought_up_to_date_is_derived_anew(changes in prop::collection::vec((change(), any::<bool>()), 1..60)) {
            let (mut names, mut joins) = (Names::default(), Joins::default());
            for (change, look) in &changes {
                make(&mut names, change);
                if *look {
                    joins.update(&names, &[]);
                }
            }
            joins.update(&names, &[]);
            let anew = Joins::derive(&names, &[]);
            prop_assert!(joins.is_current(&names));
            for id in 0..names.identity_count() {
                prop_assert_eq!(joins.owner(id), anew.owner(id), "{}", id);
                prop_assert_eq!(joins.joined.contains(id), anew.joined.contains(id), "{}", id);
                prop_assert_eq!(joins.alone.contains(id), anew.alone.contains(id), "{}", id);
            }
        }
    }

    proptest! {
        #[test]
        fn walks_end_or_find_all_of_a_circle(leads in prop::collection::vec(prop::option::of(0usize..40), 40)) {
            for start in 0..leads.len() {
                let mut path = vec![start];
                let expected = loop {
                    let Some(next) = leads[*path.last().expect("a start")] else { break None };
                    if let Some(first) = path.iter().position(|visited| *visited == next) {
                        break Some(path[first..].iter().map(|id| *id as u32).collect::<BTreeSet<u32>>());
                    }
                    path.push(next);
                };
                let next_of = |id: u32| Ok::<_, ()>(leads[id as usize].map(|next| next as u32));
                match walk(start as u32, next_of).expect("nothing fails") {
                    Path::End(end) => {
                        prop_assert_eq!((Some(&(end as usize)), &expected), (path.last(), &None));
                    }
                    Path::Circle(circle) => {
                        let found = circle.iter().copied().collect::<BTreeSet<u32>>();
                        prop_assert_eq!(circle.len(), found.len(), "each once");
                        prop_assert_eq!(Some(found), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn who_carried_a_name_when() {
        let mut names = Names::default();
        let (a, b) = (names.number_or_learn(&identity(0)), names.number_or_learn(&identity(3)));
        let facts = [(50, b), (20, a), (30, a), (50, a), (20, a), (70, a)];
        let timeline =
            Timeline::new(facts.map(|(second, agent)| (Second::new(second), agent)).to_vec(), &names);
        for (second, agent) in [(0, a), (20, a), (49, a), (50, b), (69, b), (70, a), (99, a)] {
            assert_eq!(timeline.at(Second::new(second)), Some(agent), "{second}");
        }
        assert_eq!(Timeline::default().at(Second::new(1)), None);
    }
}
