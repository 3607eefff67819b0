//! Leases in memory: whose an address or MAC was when. All facts of an organisation, and of each address the moments at
//! which its holder changes. Refuses to hold: files (facts are rows of the `Leases` table and outlive a restart there),
//! and where a holder's own joins lead (`joins`).
//!
//! An address has one holder at a time. Whatever begins later ends every earlier lease of another holder (nobody is one), and
//! every earlier one without an end; the same holder's again makes it longer. Of those that last at a moment the one that
//! began last decides, of those that began together the greatest identity's, and somebody's before nobody's. Leased to itself,
//! an address is nobody's. In which order leases are told makes no difference.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use sighting::{Day, Second};

use crate::names::Names;
use crate::row::{Key, Row};

/// The holder of what nobody holds. No identity has this number.
const NOBODY: u32 = u32::MAX;

/// In the place of an end where there is none.
const OPEN: u32 = u32::MAX;

/// Leases of one address in memory: a year of one every half hour. Of more the oldest are dropped, and counted, so that no
/// address makes the leases of all others slow.
const FACTS_MAX: usize = 1 << 14;

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

/// Parts of the leases of an organisation. A batch that brings leases copies those that its addresses lie in, of whatever all others
/// hold nothing.
const SHARDS: u32 = 256;

/// Some addresses and their leases.
type Shard = HashMap<u32, Arc<Tenancy>, FixedState>;

/// All leases of an organisation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    /// By the last digits of the address's number; none, as long as there are no leases.
    shards: Vec<Arc<Shard>>,
    /// Leases that found no room, since the start.
    dropped: u64,
}

/// The leases of one address.
#[derive(Clone, Debug, Default)]
struct Tenancy {
    /// In the order in which they decide, without repeats.
    facts: Vec<Fact>,
    /// Rising seconds, each with the holder from then on.
    changes: Vec<(Second, u32)>,
}

/// The leases of one address, to be changed: it and what lies with it are copied if an older view has them too.
fn tenancy_mut(shards: &mut Vec<Arc<Shard>>, what: u32) -> &mut Tenancy {
    if shards.is_empty() {
        *shards = vec![Arc::default(); SHARDS as usize];
    }
    let shard = Arc::make_mut(&mut shards[(what % SHARDS) as usize]);
    Arc::make_mut(shard.entry(what).or_default())
}

impl Tenancy {
    /// Adds a lease at its place, unless it is there.
    fn insert(&mut self, fact: Fact, what: u32, names: &Names) {
        let place = self.facts.partition_point(|known| known.order(&fact, what, names).is_lt());
        if self.facts.get(place) != Some(&fact) {
            self.facts.insert(place, fact);
        }
    }
}

impl Leases {
    /// Adds leases; repeats change nothing. Cost: that of the addresses that they are about. Which leases an address has
    /// in the end depends on no order: the newest of all.
    pub(crate) fn add<'r>(&mut self, rows: impl Iterator<Item = &'r Row>, names: &Names) {
        let mut added: HashMap<u32, Vec<Fact>, FixedState> = HashMap::default();
        for (what, fact) in rows.map(Fact::of_row) {
            added.entry(what).or_default().push(fact);
        }
        for (what, mut facts) in added {
            let tenancy = tenancy_mut(&mut self.shards, what);
            // The latest come last, where nothing has to make room.
            facts.sort_by(|a, b| a.order(b, what, names));
            facts.into_iter().for_each(|fact| tenancy.insert(fact, what, names));
            let too_many = tenancy.facts.len().saturating_sub(FACTS_MAX);
            if too_many > 0 && self.dropped == 0 {
                tracing::warn!(
                    leases = FACTS_MAX,
                    "an address has more leases than are known of one: the oldest do not count"
                );
            }
            self.dropped += too_many as u64;
            tenancy.facts.drain(..too_many);
            tenancy.changes = changes(what, &tenancy.facts);
        }
    }

    fn of(&self, what: u32) -> Option<&Tenancy> {
        self.shards.get((what % SHARDS) as usize)?.get(&what).map(|held| &**held)
    }

    /// Leases that found no room, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Who held an address at a moment.
    pub(crate) fn at(&self, what: u32, at: Second) -> Option<u32> {
        let changes = &self.of(what)?.changes;
        let behind = changes.partition_point(|(second, _)| *second <= at);
        let (_, who) = changes.get(behind.checked_sub(1)?)?;
        (*who != NOBODY).then_some(*who)
    }

    /// When an address changes hands on a day.
    pub(crate) fn changes_on(&self, what: u32, day: Day) -> impl Iterator<Item = Second> {
        self.handed_over_on(what, day).iter().map(|(second, _)| *second)
    }

    /// Whether an address is anybody's at all on a day.
    pub(crate) fn is_held_on(&self, what: u32, day: Day) -> bool {
        let changes = self.handed_over_on(what, day);
        changes.iter().any(|(_, who)| *who != NOBODY) || self.at(what, day.first()).is_some()
    }

    fn handed_over_on(&self, what: u32, day: Day) -> &[(Second, u32)] {
        let Some(held) = self.of(what) else { return &[] };
        let begin = held.changes.partition_point(|(second, _)| *second < day.first());
        let end = held.changes.partition_point(|(second, _)| *second <= day.last());
        &held.changes[begin..end]
    }

    /// Every lease to somebody, by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Fact)> {
        let all = self.shards.iter().flat_map(|shard| shard.iter());
        let each = all.flat_map(|(what, held)| held.facts.iter().map(|fact| (*what, *fact)));
        each.filter(|(what, fact)| fact.who != *what)
    }

    /// Forgets what no moment from a day on depends on.
    pub(crate) fn forget_before(&mut self, first_kept: Day) {
        let needless = |held: &Arc<Tenancy>| {
            let needed = Needed::of(&held.facts, first_kept);
            held.facts.iter().any(|fact| !needed.has(fact))
        };
        let all = self.shards.iter().flat_map(|shard| shard.iter());
        let whats: Vec<u32> = all.filter(|(_, held)| needless(held)).map(|(what, _)| *what).collect();
        for what in whats {
            let tenancy = tenancy_mut(&mut self.shards, what);
            let needed = Needed::of(&tenancy.facts, first_kept);
            tenancy.facts.retain(|fact| needed.has(fact));
            tenancy.changes = changes(what, &tenancy.facts);
        }
    }
}

/// On which leases of one address any moment from a day on may depend, whatever is told later.
pub(crate) struct Needed {
    first_kept: Second,
    /// When the last began before the day: whatever its own end, it ends those that began before it, also if they are told once more.
    newest: Option<Second>,
    /// When the last of another holder than that one's began before the day: it ends those of that holder.
    newest_of_others: Option<Second>,
}

impl Needed {
    pub(crate) fn of(facts: &[Fact], first_kept: Day) -> Needed {
        let first_kept = first_kept.first();
        let before = || facts.iter().filter(|fact| fact.since < first_kept);
        let newest = before().max_by_key(|fact| fact.since);
        let others = before().filter(|fact| newest.is_some_and(|newest| newest.who != fact.who));
        Needed {
            first_kept,
            newest: newest.map(|fact| fact.since),
            newest_of_others: others.map(|fact| fact.since).max(),
        }
    }

    pub(crate) fn has(&self, fact: &Fact) -> bool {
        let reaches = fact.until().is_some_and(|until| until >= self.first_kept);
        let ends_others = [self.newest, self.newest_of_others].contains(&Some(fact.since));
        fact.since >= self.first_kept || reaches || ends_others
    }
}

/// The leases of one holder that nobody has ended yet.
struct Lasting {
    holder: u32,
    /// The last second of those with an end.
    until: Option<Second>,
    /// Whether one without an end began last.
    is_open: bool,
}

/// When an address changes hands, from its leases in the order in which they decide.
fn changes(what: u32, facts: &[Fact]) -> Vec<(Second, u32)> {
    let mut changes: Vec<(Second, u32)> = Vec::new();
    let mut lasting: Vec<Lasting> = Vec::new();
    let mut together = facts.chunk_by(|a, b| a.since == b.since).peekable();
    while let Some(begun) = together.next() {
        let Some(since) = begun.first().map(|fact| fact.since.unix()) else { continue };
        let next = together.peek().and_then(|next| next.first());
        begin(&mut lasting, what, begun);
        hand_over(&mut changes, &lasting, (since, next.map_or(OPEN, |next| next.since.unix() - 1)));
    }
    changes
}

/// Leases begin together: those of other holders end, those without an end too.
fn begin(lasting: &mut Vec<Lasting>, what: u32, begun: &[Fact]) {
    let holder_of = |fact: &Fact| if fact.who == what { NOBODY } else { fact.who };
    lasting.retain(|it| it.until.is_some() && begun.iter().all(|fact| holder_of(fact) == it.holder));
    lasting.iter_mut().for_each(|it| it.is_open = false);
    for fact in begun {
        // Each holder's lie side by side.
        if lasting.last().is_none_or(|last| last.holder != holder_of(fact)) {
            lasting.push(Lasting { holder: holder_of(fact), until: None, is_open: false });
        }
        let Some(holder) = lasting.last_mut() else { continue };
        holder.until = holder.until.max(fact.until());
        holder.is_open |= fact.until().is_none();
    }
}

/// Who holds an address in turn from a second to another, behind which the next leases begin.
fn hand_over(changes: &mut Vec<(Second, u32)>, lasting: &[Lasting], (since, last): (u32, u32)) {
    let mut change = |from: u32, holder: u32| {
        if changes.last().map_or(NOBODY, |(_, known)| *known) != holder {
            changes.push((Second::new(from), holder));
        }
    };
    let mut from = since;
    for it in lasting.iter().rev() {
        let until = it.until.map_or(0, Second::unix);
        let until = if it.is_open { last } else { until.min(last) };
        if until < from {
            continue;
        }
        change(from, it.holder);
        if until == last {
            return;
        }
        from = until + 1;
    }
    change(from, NOBODY);
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
        let is_begun = |fact: &&Fact| fact.since.unix() <= at;
        let is_ended_by = |fact: &Fact, next: &Fact| {
            fact.since < next.since && (fact.until().is_none() || fact.who != next.who)
        };
        let lasts = |fact: &&Fact| {
            fact.until().is_none_or(|until| at <= until.unix())
                && !facts.iter().filter(is_begun).any(|next| is_ended_by(fact, next))
        };
        let holder = facts.iter().filter(is_begun).filter(lasts).max_by(|a, b| a.order(b, 0, names))?;
        (holder.who != 0).then_some(holder.who)
    }

    #[test]
    fn of_very_many_leases_of_one_address_the_newest_count() {
        let names = names();
        let all = FACTS_MAX as u32 + 10;
        let row = |number: u32| Fact::new(Second::new(number * 2), None, 1 + number % 2).row(0);
        let rows: Vec<Row> = (0..all).map(row).collect();
        let (old, new) = rows.split_at(rows.len() / 2);
        for parts in [[old, new], [new, old]] {
            let mut leases = Leases::default();
            parts.iter().for_each(|part| leases.add(part.iter(), &names));
            assert_eq!((leases.iter().count(), leases.dropped()), (FACTS_MAX, 10));
            assert_eq!(leases.at(0, Second::new(19)), None);
            for number in 10..all {
                assert_eq!(leases.at(0, Second::new(number * 2)), Some(1 + number % 2), "{number}");
            }
        }
    }

    #[test]
    fn a_lease_copies_what_lies_with_its_address_and_nothing_else() {
        let names = names();
        let row = |what: u32, since: u32| Fact::new(Second::new(since), None, 1).row(what);
        let mut leases = Leases::default();
        let rows: Vec<Row> = (10..100_010).map(|what| row(what, 7)).collect();
        leases.add(rows.iter(), &names);
        let before = leases.clone();
        leases.add([row(4_711, 8), row(4_711 + SHARDS, 8)].iter(), &names);
        let copied =
            leases.shards.iter().zip(&before.shards).filter(|(now, before)| !Arc::ptr_eq(now, before));
        let copied: usize = copied.map(|(now, _)| now.len()).sum();
        assert_eq!(copied, 100_000_usize.div_ceil(SHARDS as usize));
        assert_eq!((before.iter().count(), leases.iter().count()), (100_000, 100_002));
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
