//! Leases in memory: whose an address or MAC was when. All facts of an organisation, and of each address the moments at
//! which its holder changes. Refuses to hold: files (facts are rows of the `Leases` table and outlive a restart there),
//! and where a holder's own joins lead (`joins`).
//!
//! Of the leases that cover a moment the one that began last decides, of those that began together the greatest
//! identity's, and somebody's before nobody's. A lease without an end ends when the next one of the same address begins. Leased to itself, an address is
//! nobody's.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use sighting::{Day, Second};

use crate::names::Names;
use crate::row::{Key, Row};

/// The holder of what nobody holds. No identity has this number.
const NOBODY: u32 = u32::MAX;

/// In the place of an end where there is none.
const OPEN: u32 = u32::MAX;

/// One lease of some address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fact {
    pub(crate) since: Second,
    pub(crate) who: u32,
    /// The last second; [`OPEN`] for none.
    until: u32,
}

impl Fact {
    pub(crate) fn new(since: Second, until: Option<Second>, who: u32) -> Fact {
        // The last second of all and no end are the same: no sighting is later.
        Fact { since, who, until: until.map_or(OPEN, Second::unix) }
    }

    pub(crate) fn until(&self) -> Option<Second> {
        (self.until != OPEN).then(|| Second::new(self.until))
    }

    /// The row of a lease: all of it but the holder is in the key, so that it means the same on whichever day it lies.
    pub(crate) fn row(self, what: u32) -> Row {
        Row::new(Key::of_lease(what, self.since.unix(), self.until), self.who, self.since.of_day(), 0)
    }

    /// The address of a row and its lease.
    pub(crate) fn of_row(row: &Row) -> (u32, Fact) {
        let (what, since, until) = row.key.lease();
        (what, Fact { since: Second::new(since), who: row.identity(), until })
    }

    /// In the order in which they decide, the weakest first.
    fn order(&self, other: &Fact, what: u32, names: &Names) -> Ordering {
        let holder = |fact: &Fact| (fact.who != what).then(|| names.identity(fact.who));
        let by_holder = || holder(self).cmp(&holder(other));
        self.since.cmp(&other.since).then_with(by_holder).then_with(|| self.until.cmp(&other.until))
    }
}

/// All leases of an organisation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    of: HashMap<u32, Arc<Tenancy>, FixedState>,
}

/// The leases of one address.
#[derive(Clone, Debug, Default)]
struct Tenancy {
    /// In the order in which they decide, without repeats.
    facts: Vec<Fact>,
    /// Rising seconds, each with the holder from then on.
    changes: Vec<(Second, u32)>,
}

impl Leases {
    /// Adds leases; repeats change nothing. Cost: that of the addresses that they are about.
    pub(crate) fn add<'r>(&mut self, rows: impl Iterator<Item = &'r Row>, names: &Names) {
        let mut added: HashMap<u32, Vec<Fact>, FixedState> = HashMap::default();
        for (what, fact) in rows.map(Fact::of_row) {
            added.entry(what).or_default().push(fact);
        }
        for (what, facts) in added {
            let tenancy = Arc::make_mut(self.of.entry(what).or_default());
            tenancy.facts.extend(facts);
            tenancy.facts.sort_by(|a, b| a.order(b, what, names));
            tenancy.facts.dedup();
            tenancy.changes = changes(what, &tenancy.facts);
        }
    }

    /// Who held an address at a moment.
    pub(crate) fn at(&self, what: u32, at: Second) -> Option<u32> {
        let changes = &self.of.get(&what)?.changes;
        let behind = changes.partition_point(|(second, _)| *second <= at);
        let (_, who) = changes.get(behind.checked_sub(1)?)?;
        (*who != NOBODY).then_some(*who)
    }

    /// Every lease to somebody, by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Fact)> {
        let each = self.of.iter().flat_map(|(what, held)| held.facts.iter().map(|fact| (*what, *fact)));
        each.filter(|(what, fact)| fact.who != *what)
    }

    /// Forgets what no moment from a day on depends on.
    pub(crate) fn forget_before(&mut self, first_kept: Day) {
        let needless = |held: &Arc<Tenancy>| {
            let newest = newest_before(held.facts.iter(), first_kept);
            held.facts.iter().any(|fact| !is_needed(fact, newest, first_kept))
        };
        let whats: Vec<u32> =
            self.of.iter().filter(|(_, held)| needless(held)).map(|(what, _)| *what).collect();
        for what in whats {
            let tenancy = Arc::make_mut(self.of.entry(what).or_default());
            let newest = newest_before(tenancy.facts.iter(), first_kept);
            tenancy.facts.retain(|fact| is_needed(fact, newest, first_kept));
            tenancy.changes = changes(what, &tenancy.facts);
        }
    }
}

/// When the last of some leases of one address began before a day.
pub(crate) fn newest_before<'f>(facts: impl Iterator<Item = &'f Fact>, day: Day) -> Option<Second> {
    facts.map(|fact| fact.since).filter(|since| *since < day.first()).max()
}

/// Whether any moment from a day on may depend on a lease, given when the last of its address before that day began:
/// whatever its own end, that one ends those without an end that began before it, also if they are told once more.
pub(crate) fn is_needed(fact: &Fact, newest: Option<Second>, first_kept: Day) -> bool {
    let reaches = fact.until().is_some_and(|until| until >= first_kept.first());
    fact.since >= first_kept.first() || reaches || Some(fact.since) == newest
}

/// When an address changes hands, from its leases in the order in which they decide.
fn changes(what: u32, facts: &[Fact]) -> Vec<(Second, u32)> {
    let ends: Vec<u32> = ends(facts);
    let behind = |end: u32| end.checked_add(1).map(Second::new);
    let mut moments: BTreeSet<Second> = facts.iter().map(|fact| fact.since).collect();
    moments.extend(ends.iter().copied().filter_map(behind));
    // Places in `facts`, the one that decides on top.
    let mut covering: BinaryHeap<usize> = BinaryHeap::new();
    let mut begun = 0;
    let mut changes: Vec<(Second, u32)> = Vec::new();
    for moment in moments {
        while facts.get(begun).is_some_and(|fact| fact.since <= moment) {
            covering.push(begun);
            begun += 1;
        }
        while covering.peek().is_some_and(|place| ends[*place] < moment.unix()) {
            covering.pop();
        }
        let holder = covering.peek().map(|place| facts[*place].who).filter(|who| *who != what);
        let holder = holder.unwrap_or(NOBODY);
        if changes.last().map_or(NOBODY, |(_, last)| *last) != holder {
            changes.push((moment, holder));
        }
    }
    changes
}

/// The last second of each lease: of one without an end, that before the next one begins.
fn ends(facts: &[Fact]) -> Vec<u32> {
    let mut next: Option<Second> = None;
    let mut ends = vec![OPEN; facts.len()];
    for (place, fact) in facts.iter().enumerate().rev() {
        let following = facts.get(place + 1).map(|following| following.since);
        if following.is_some_and(|since| since > fact.since) {
            next = following;
        }
        ends[place] = match (fact.until(), next) {
            (None, Some(next)) => next.unix() - 1,
            _ => fact.until,
        };
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sighting::{Identity, IdentityKind};

    fn names() -> Names {
        let mut names = Names::default();
        for (kind, name) in [
            (IdentityKind::Address, "10.0.0.5"),
            (IdentityKind::HostName, "b"),
            (IdentityKind::HostName, "a"),
            (IdentityKind::Mac, "00:0d:3a:13:e3:69"),
        ] {
            names.number_or_learn(&Identity::new(kind, name).expect("a name"));
        }
        names
    }

    /// The rule as it is documented, over all facts.
    fn expected(facts: &[Fact], names: &Names, at: u32) -> Option<u32> {
        let covers = |fact: &&Fact| {
            let ended =
                |open: &Fact| facts.iter().any(|next| open.since < next.since && next.since.unix() <= at);
            fact.since.unix() <= at && fact.until().map_or(!ended(fact), |until| at <= until.unix())
        };
        let holder = facts.iter().filter(covers).max_by(|a, b| a.order(b, 0, names))?;
        (holder.who != 0).then_some(holder.who)
    }

    proptest! {
        #[test]
        fn holders_are_those_of_the_rule(
            facts in prop::collection::vec((0u32..20, 0u32..4, prop::option::of(0u32..12)), 0..12),
            split in 0usize..12,
        ) {
            let names = names();
            let fact = |(since, who, length): (u32, u32, Option<u32>)| {
                Fact::new(Second::new(since), length.map(|length| Second::new(since + length)), who)
            };
            let facts: Vec<Fact> = facts.into_iter().map(fact).collect();
            let rows: Vec<Row> = facts.iter().map(|fact| fact.row(0)).collect();
            let mut leases = Leases::default();
            let (first, second) = rows.split_at(split.min(rows.len()));
            leases.add(second.iter(), &names);
            leases.add(first.iter(), &names);
            for at in 0..40 {
                prop_assert_eq!(leases.at(0, Second::new(at)), expected(&facts, &names, at), "{}", at);
            }
        }

        /// Whatever is told after some were forgotten, from the first kept day on it is as if none had been.
        #[test]
        fn what_is_forgotten_is_not_missed(
            facts in prop::collection::vec((0u32..20, 0u32..4, prop::option::of(0u32..12)), 0..12),
            later in prop::collection::vec((0u32..20, 0u32..4, prop::option::of(0u32..12)), 0..6),
        ) {
            const PIECE: u32 = 86_400 / 4;
            let names = names();
            let row = |&(since, who, length): &(u32, u32, Option<u32>)| {
                let until = length.map(|length| Second::new((since + length) * PIECE));
                Fact::new(Second::new(since * PIECE), until, who).row(0)
            };
            let (facts, later): (Vec<Row>, Vec<Row>) =
                (facts.iter().map(row).collect(), later.iter().map(row).collect());
            let (mut all, mut kept) = (Leases::default(), Leases::default());
            all.add(facts.iter().chain(&later), &names);
            kept.add(facts.iter(), &names);
            let day = Day::new(2).expect("a day");
            kept.forget_before(day);
            kept.add(later.iter(), &names);
            for piece in 8..40 {
                let at = Second::new(piece * PIECE);
                prop_assert_eq!(kept.at(0, at), all.at(0, at), "{}", piece);
            }
        }
    }
}
