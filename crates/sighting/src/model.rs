//! The oracles: a [`Store`] and a [`Directory`] over plain maps, as short and obvious as they can be. Every other
//! maker is tested against these. Refuses to hold: speed, durability and cleverness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Actor, Address, Answer, AuditEntry, Batch, Book, Bound, Change, Coverage, Day, DeviceEntry, DeviceKey,
    Directory, DirectoryError, Extent, FirstSeen, GrantPage, Grouped, HeldLease, Identity, IdentityKind,
    Label, Network, NetworkKind, Offset, OrganisationId, Question, Questions, Receipt, RegistryChange,
    RegistrySettings, Retained, Second, SourceName, Stats, Store, StoreError, TagChange, Ticket, TicketKey,
};

/// The model of a store.
#[derive(Debug, Default)]
pub struct ModelStore {
    organisations: Mutex<BTreeMap<OrganisationId, Held>>,
    /// Of every organisation, beside those that each was taught.
    nat_gateways: Vec<Network>,
}

/// Since when, whose or nobody's, until when.
type Tenure = (Second, Option<Identity>, Option<Second>);

/// What the model holds of one organisation.
#[derive(Debug, Default)]
struct Held {
    /// In the order in which they were first mentioned; the index is the device number.
    identities: Vec<Identity>,
    sightings: BTreeSet<(Address, Second, Identity, SourceName)>,
    /// Name, second, agent: sorted, so the last at a second wins a tie.
    carriers: BTreeMap<Identity, BTreeSet<(Second, Identity)>>,
    reporters: BTreeSet<(Day, Identity)>,
    sources: BTreeSet<SourceName>,
    offsets: BTreeMap<(SourceName, String), u64>,
    /// Address or MAC: since, whose (or nobody's), until; sorted, so the last of those that last at a moment wins.
    leases: BTreeMap<Identity, BTreeSet<Tenure>>,
    /// By an operator's word: into which, or into none.
    merges: BTreeMap<Identity, Option<Identity>>,
    /// By the product's: from, into, first told.
    product_merges: BTreeMap<(Identity, Identity), Second>,
    display_names: BTreeMap<Identity, Label>,
    tags: BTreeSet<(Identity, Label)>,
    groups: BTreeMap<Identity, (Second, Label)>,
    settings: RegistrySettings,
}

impl Held {
    /// The identity that owns the device of `identity` at a moment: the registry, word for word as documented.
    /// Joins that close a circle (a merge taught before a name was carried) belong to the least identity in it.
    fn owner(&self, identity: &Identity, at: Second) -> Identity {
        let mut path = vec![identity.clone()];
        while let Some(next) = path.last().and_then(|last| self.joined_to(last, at)) {
            if let Some(start) = path.iter().position(|visited| *visited == next) {
                return path[start..].iter().min().unwrap_or(&next).clone();
            }
            path.push(next);
        }
        path.pop().unwrap_or_else(|| identity.clone())
    }

    fn joined_to(&self, identity: &Identity, at: Second) -> Option<Identity> {
        self.named(identity, at).or_else(|| self.merged_into(identity))
    }

    /// Whose an identity is at a moment by lease, by who carried it, or by its domain.
    fn named(&self, identity: &Identity, at: Second) -> Option<Identity> {
        if let Some(who) = self.leased_to(identity, at) {
            return Some(who);
        }
        if let Some(carriers) = self.carriers.get(identity) {
            let newest = carriers.iter().rfind(|(second, _)| *second <= at);
            // Before its first carrier a name belongs to that first one, an address to nobody.
            let first = carriers
                .first()
                .filter(|_| !identity.is_address())
                .and_then(|(first, _)| carriers.iter().rfind(|(second, _)| second == first));
            return newest.or(first).map(|(_, agent)| agent.clone());
        }
        let domain = self.settings.domain.as_ref().filter(|_| identity.kind() == IdentityKind::HostName)?;
        let full = Identity::new(IdentityKind::Fqdn, &format!("{}.{domain}", identity.name()));
        full.filter(|full| self.identities.contains(full))
    }

    /// Whose an address is by lease. It has one holder at a time: what begins later ends every earlier lease of another holder
    /// (nobody is one), and every earlier one without an end. Of those that last, the one that began last decides; of
    /// those that began together the greatest identity's, and somebody's before nobody's.
    fn leased_to(&self, what: &Identity, at: Second) -> Option<Identity> {
        let begun: Vec<&Tenure> = self.leases.get(what)?.iter().filter(|(since, ..)| *since <= at).collect();
        let lasts = |(since, who, until): &Tenure| {
            let mut later = begun.iter().filter(|(next, ..)| since < next);
            match until {
                Some(until) => at <= *until && later.all(|(_, next, _)| next == who),
                None => later.next().is_none(),
            }
        };
        let (_, who, _) = begun.iter().rfind(|lease| lasts(lease))?;
        who.clone()
    }

    /// Whose device an identity that reported on a day was: where it was leased to anybody on it, whoever owned it at any second
    /// at which it was; else its owner when the day ends.
    fn owners_on(&self, identity: &Identity, day: Day) -> BTreeSet<Identity> {
        let leased = self.moments_of(day).into_iter().filter(|at| self.leased_to(identity, *at).is_some());
        let owners: BTreeSet<Identity> = leased.map(|at| self.owner(identity, at)).collect();
        if owners.is_empty() { BTreeSet::from([self.owner(identity, day.last())]) } else { owners }
    }

    /// The seconds of a day at which anything may become another's, its first among them.
    fn moments_of(&self, day: Day) -> BTreeSet<Second> {
        let carried = self.carriers.values().flatten().map(|(second, _)| *second);
        let begun = self.leases.values().flatten().map(|(since, ..)| *since);
        let behind = |(_, _, until): &Tenure| until.map(|until| until.plus(1));
        let ended = self.leases.values().flatten().filter_map(behind);
        let all = [day.first()].into_iter().chain(carried).chain(begun).chain(ended);
        all.filter(|second| second.day() == day).collect()
    }

    /// An operator's word, else the product's.
    fn merged_into(&self, identity: &Identity) -> Option<Identity> {
        if let Some(word) = self.merges.get(identity) {
            return word.clone();
        }
        let told = self.product_merges.iter().filter(|((from, _), _)| from == identity);
        told.max_by_key(|((_, into), first_told)| (**first_told, into.clone()))
            .map(|((_, into), _)| into.clone())
    }

    /// The identity whose merge is the first on the way to the device.
    fn merged_on_the_way(&self, identity: &Identity) -> Option<Identity> {
        let mut visited = Vec::new();
        let mut current = identity.clone();
        while !visited.contains(&current) {
            if self.named(&current, Second::MAX).is_none() && self.merged_into(&current).is_some() {
                return Some(current);
            }
            let next = self.joined_to(&current, Second::MAX)?;
            visited.push(std::mem::replace(&mut current, next));
        }
        None
    }

    fn mentioned(&mut self, identity: &Identity) {
        if !self.identities.contains(identity) {
            self.identities.push(identity.clone());
        }
    }

    fn answer(&self, question: &Question, gateways: &[Network]) -> Answer {
        let kept = |second: &Second| *second >= question.kept_since && *second <= question.window.until();
        let known: Vec<(Second, &Identity)> = self
            .sightings
            .iter()
            .filter(|(address, second, ..)| *address == question.address && kept(second))
            .map(|(_, second, identity, _)| (*second, identity))
            .collect();
        let inside: Vec<(Second, &Identity)> =
            known.iter().copied().filter(|(second, _)| question.window.contains(*second)).collect();
        let devices: BTreeSet<Identity> =
            inside.iter().map(|(second, identity)| self.owner(identity, *second)).collect();
        let firsts = match question.first_seen {
            FirstSeen::InWindow => &inside,
            FirstSeen::InKept => &known,
        };
        let first = firsts.iter().map(|(second, _)| *second).min();
        let last = inside.iter().map(|(second, _)| *second).max();
        let is_gateway =
            |identity: &Identity| identity.is_in(&self.settings.nat_gateways) || identity.is_in(gateways);
        let bound = Bound::new(
            devices.iter().any(|device| device.is_address() && !is_gateway(device)),
            inside.iter().any(|(_, identity)| is_gateway(identity)),
        );
        let prevalence = u32::try_from(devices.len()).ok().and_then(std::num::NonZeroU32::new);
        match (prevalence, first, last) {
            (Some(prevalence), Some(first), Some(last)) => {
                Answer::Seen(Stats { prevalence, first, last, bound })
            }
            _ if known.is_empty() => Answer::Unknown,
            _ => Answer::Quiet,
        }
    }

    fn devices(&self, at: Second) -> Vec<DeviceEntry> {
        let mut by_owner: BTreeMap<Identity, Vec<Identity>> = BTreeMap::new();
        for identity in &self.identities {
            by_owner.entry(self.owner(identity, at)).or_default().push(identity.clone());
        }
        let mut entries: Vec<DeviceEntry> =
            by_owner.into_iter().map(|(owner, members)| self.entry(owner, &members)).collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    fn entry(&self, owner: Identity, members: &[Identity]) -> DeviceEntry {
        let number = self.identities.iter().position(|identity| *identity == owner).unwrap_or_default();
        let last_reported =
            self.reporters.iter().rev().find(|(_, identity)| members.contains(identity)).map(|(day, _)| *day);
        let tags = self.tags.iter().filter(|(of, _)| members.contains(of)).map(|(_, tag)| tag.clone());
        let tags: BTreeSet<Label> = tags.collect();
        let mut others: Vec<Identity> =
            members.iter().filter(|identity| **identity != owner).cloned().collect();
        others.sort();
        // The owner's word first, then that of the least of the others.
        let all = || std::iter::once(&owner).chain(&others);
        DeviceEntry {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            display_name: all().find_map(|identity| self.display_names.get(identity)).cloned(),
            tags: tags.into_iter().collect(),
            machine_group: all().find_map(|identity| self.groups.get(identity)).map(|(_, it)| it.clone()),
            leases: self.leases_to(members),
            others,
            identity: owner,
            last_reported,
        }
    }

    fn leases_to(&self, members: &[Identity]) -> Vec<HeldLease> {
        let mut held = Vec::new();
        for (what, leases) in &self.leases {
            for (since, who, until) in leases {
                let who = who.clone().filter(|who| members.contains(who));
                let lease = |who| HeldLease { since: *since, until: *until, what: what.clone(), who };
                held.extend(who.map(lease));
            }
        }
        held.sort();
        held
    }

    fn require(&self, identity: &Identity) -> Result<(), StoreError> {
        if self.identities.contains(identity) {
            return Ok(());
        }
        Err(StoreError::Refused(format!("there is no device '{identity}'")))
    }

    fn teach(&mut self, change: RegistryChange) -> Result<(), StoreError> {
        match change {
            RegistryChange::Domain(domain) => self.settings.domain = domain,
            RegistryChange::Networks(NetworkKind::Unique, list) => self.settings.unique_networks = list,
            RegistryChange::Networks(NetworkKind::Nat, list) => self.settings.nat_gateways = list,
            RegistryChange::Merge { from, into } => {
                self.require(&from)?;
                self.require(&into)?;
                let (from, into) = (self.owner(&from, Second::MAX), self.owner(&into, Second::MAX));
                if from != into {
                    self.merges.insert(from, Some(into));
                }
            }
            RegistryChange::Split(identity) => {
                self.require(&identity)?;
                let merged = self.merged_on_the_way(&identity).ok_or_else(|| {
                    StoreError::Refused(format!("'{identity}' was not merged into another device"))
                })?;
                self.merges.insert(merged, None);
            }
            RegistryChange::Rename { identity, name } => {
                self.require(&identity)?;
                match name {
                    Some(name) => drop(self.display_names.insert(identity, name)),
                    None => drop(self.display_names.remove(&identity)),
                }
            }
            RegistryChange::Tag { identity, tag, change } => {
                self.require(&identity)?;
                match change {
                    TagChange::Add => drop(self.tags.insert((identity, tag))),
                    TagChange::Remove => drop(self.tags.remove(&(identity, tag))),
                }
            }
        }
        Ok(())
    }
}

impl ModelStore {
    /// An empty store.
    pub fn new() -> ModelStore {
        ModelStore::default()
    }

    /// An empty store of organisations that all have these NAT gateways.
    pub fn with_gateways(nat_gateways: Vec<Network>) -> ModelStore {
        ModelStore { nat_gateways, ..ModelStore::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<OrganisationId, Held>> {
        self.organisations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, batch: &Batch) -> Receipt {
        let mut organisations = self.held();
        let held = organisations.entry(batch.organisation()).or_default();
        let identity = |index: u32| &batch.identities()[index as usize];
        for (_, identity) in (0..).zip(batch.identities()).filter(|(index, _)| batch.is_used(*index)) {
            held.mentioned(identity);
        }
        for sighting in batch.sightings() {
            let who = identity(sighting.identity).clone();
            held.sightings.insert((sighting.address, sighting.second, who, batch.source().clone()));
        }
        for fact in batch.carriers() {
            let carriers = held.carriers.entry(identity(fact.name).clone()).or_default();
            carriers.insert((fact.second, identity(fact.agent).clone()));
        }
        for lease in batch.leases() {
            let leases = held.leases.entry(identity(lease.what).clone()).or_default();
            let who = (lease.who != lease.what).then(|| identity(lease.who).clone());
            leases.insert((lease.since, who, lease.until));
        }
        for merge in batch.merges() {
            let pair = (identity(merge.from).clone(), identity(merge.into).clone());
            let first_told = held.product_merges.entry(pair).or_insert(merge.second);
            *first_told = merge.second.min(*first_told);
        }
        for Grouped { agent, second, group } in batch.groups() {
            let known = held.groups.entry(identity(*agent).clone()).or_insert((*second, group.clone()));
            // It is told again and again: the same group is no news.
            if known.1 != *group && known.0 < *second {
                *known = (*second, group.clone());
            }
        }
        held.reporters.extend(batch.reporters().iter().map(|(index, day)| (*day, identity(*index).clone())));
        held.sources.insert(batch.source().clone());
        for offset in batch.offsets() {
            let key = (batch.source().clone(), offset.key.clone());
            match offset.position {
                Offset::FORGOTTEN => held.offsets.remove(&key),
                position => held.offsets.insert(key, position),
            };
        }
        Receipt { sightings: batch.sightings().len() as u64 }
    }
}

impl Store for ModelStore {
    async fn append(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        Ok(self.append_now(batch))
    }

    async fn stats(&self, question: Question) -> Result<Answer, StoreError> {
        let held = self.held();
        let held = held.get(&question.organisation);
        Ok(held.map_or(Answer::Unknown, |held| held.answer(&question, &self.nat_gateways)))
    }

    async fn stats_of(&self, questions: Questions) -> Result<Vec<Answer>, StoreError> {
        let held = self.held();
        let Some(held) = held.get(&questions.organisation) else {
            return Ok(vec![Answer::Unknown; questions.addresses.len()]);
        };
        let answer = |address: &Address| held.answer(&questions.about(*address), &self.nat_gateways);
        Ok(questions.addresses.iter().map(answer).collect())
    }

    async fn coverage(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
        until: Second,
    ) -> Result<Coverage, StoreError> {
        let organisations = self.held();
        let Some(held) = organisations.get(&organisation) else { return Ok(Coverage::default()) };
        let kept: Vec<Second> = held
            .sightings
            .iter()
            .map(|(_, second, ..)| *second)
            .filter(|second| (kept_since..=until).contains(second))
            .collect();
        let mut reporters: BTreeMap<Day, BTreeSet<Identity>> = BTreeMap::new();
        for (day, identity) in &held.reporters {
            if (kept_since.day()..=until.day()).contains(day) {
                reporters.entry(*day).or_default().append(&mut held.owners_on(identity, *day));
            }
        }
        Ok(Coverage {
            span: kept.iter().min().copied().zip(kept.iter().max().copied()),
            reporters: reporters.into_iter().map(|(day, devices)| (day, devices.len() as u32)).collect(),
            sources: held.sources.iter().cloned().collect(),
        })
    }

    async fn offset(
        &self,
        organisation: OrganisationId,
        source: SourceName,
        key: String,
    ) -> Result<Option<u64>, StoreError> {
        Ok(self.held().get(&organisation).and_then(|held| held.offsets.get(&(source, key)).copied()))
    }

    async fn offsets(
        &self,
        organisation: OrganisationId,
        source: SourceName,
    ) -> Result<Vec<Offset>, StoreError> {
        let organisations = self.held();
        let all = organisations.get(&organisation).into_iter().flat_map(|held| &held.offsets);
        let of_source = all.filter(|((of, _), _)| *of == source);
        Ok(of_source.map(|((_, key), position)| Offset { key: key.clone(), position: *position }).collect())
    }

    async fn devices(
        &self,
        organisation: OrganisationId,
        key: Option<DeviceKey>,
        at: Second,
    ) -> Result<Vec<DeviceEntry>, StoreError> {
        let organisations = self.held();
        let mut devices = organisations.get(&organisation).map(|held| held.devices(at)).unwrap_or_default();
        match key {
            None => {}
            Some(DeviceKey::Number(number)) => devices.retain(|device| device.number == number),
            Some(DeviceKey::Identity(name)) => {
                devices.retain(|device| device.identity == name || device.others.contains(&name));
            }
        }
        Ok(devices)
    }

    async fn teach(&self, organisation: OrganisationId, change: RegistryChange) -> Result<(), StoreError> {
        self.held().entry(organisation).or_default().teach(change)
    }

    async fn registry(&self, organisation: OrganisationId) -> Result<RegistrySettings, StoreError> {
        Ok(self.held().get(&organisation).map(|held| held.settings.clone()).unwrap_or_default())
    }

    async fn outside(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
    ) -> Result<Retained, StoreError> {
        let organisations = self.held();
        let Some(held) = organisations.get(&organisation) else { return Ok(Retained::default()) };
        let dropped = held.sightings.iter().filter(|(_, second, ..)| *second < kept_since).count() as u64;
        Ok(Retained { dropped, kept: held.sightings.len() as u64 - dropped })
    }

    async fn retain(&self, organisation: OrganisationId, kept_since: Second) -> Result<(), StoreError> {
        if let Some(held) = self.held().get_mut(&organisation) {
            held.sightings.retain(|(_, second, ..)| *second >= kept_since);
            held.reporters.retain(|(day, _)| *day >= kept_since.day());
        }
        Ok(())
    }

    async fn remove(&self, organisation: OrganisationId) -> Result<(), StoreError> {
        self.held().remove(&organisation);
        Ok(())
    }
}

/// The model of a directory: the book itself.
#[derive(Debug, Default)]
pub struct ModelDirectory {
    state: Mutex<(Arc<Book>, Vec<AuditEntry>)>,
    grants: Mutex<Vec<GrantPage>>,
    tickets: Mutex<BTreeMap<TicketKey, Ticket>>,
}

impl ModelDirectory {
    /// A directory that holds a book.
    pub fn new(book: Book) -> ModelDirectory {
        ModelDirectory { state: Mutex::new((Arc::new(book), Vec::new())), ..ModelDirectory::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Vec<GrantPage>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tickets(&self) -> MutexGuard<'_, BTreeMap<TicketKey, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, (Arc<Book>, Vec<AuditEntry>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for ModelDirectory {
    async fn book(&self) -> Result<Arc<Book>, DirectoryError> {
        Ok(Arc::clone(&self.state().0))
    }

    async fn commit(&self, change: Change, actor: Actor, now: Second) -> Result<(), DirectoryError> {
        let mut state = self.state();
        let mut book = Book::clone(&state.0);
        book.apply(&change)?;
        state.0 = Arc::new(book);
        state.1.push(AuditEntry { at: now, actor: actor.0, what: change.to_string() });
        Ok(())
    }

    async fn audit(&self, entries_max: usize) -> Result<Vec<AuditEntry>, DirectoryError> {
        Ok(self.state().1.iter().rev().take(entries_max).cloned().collect())
    }

    async fn keep_grants(&self, page: GrantPage) -> Result<(), DirectoryError> {
        let mut pages = self.pages();
        if page.extent == Extent::Whole {
            pages.clear();
        }
        pages.push(page);
        Ok(())
    }

    async fn grants(&self) -> Result<Vec<GrantPage>, DirectoryError> {
        Ok(self.pages().clone())
    }

    async fn add_ticket(&self, key: TicketKey, ticket: Ticket, now: Second) -> Result<bool, DirectoryError> {
        let mut tickets = self.tickets();
        let is_free = tickets.get(&key).is_none_or(|kept| kept.expires_at < now);
        if is_free {
            tickets.insert(key, ticket);
        }
        Ok(is_free)
    }

    async fn replace_ticket(
        &self,
        key: TicketKey,
        ticket: Ticket,
        now: Second,
    ) -> Result<bool, DirectoryError> {
        let mut tickets = self.tickets();
        let kept = tickets.get_mut(&key).filter(|kept| kept.expires_at >= now);
        Ok(kept.map(|kept| *kept = ticket).is_some())
    }

    async fn ticket(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        Ok(self.tickets().get(&key).filter(|kept| kept.expires_at >= now).cloned())
    }

    async fn take_ticket(&self, key: TicketKey, now: Second) -> Result<Option<Ticket>, DirectoryError> {
        let mut tickets = self.tickets();
        let is_there = tickets.get(&key).is_some_and(|kept| kept.expires_at >= now);
        Ok(if is_there { tickets.remove(&key) } else { None })
    }

    async fn sweep_tickets(&self, now: Second) -> Result<u64, DirectoryError> {
        let mut tickets = self.tickets();
        let before = tickets.len();
        tickets.retain(|_, ticket| ticket.expires_at >= now);
        Ok((before - tickets.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{LocalNetworks, Uuid, Window};

    /// The model's futures are ready at once.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => unreachable!("a model never waits"),
        }
    }

    const ORGANISATION: OrganisationId = OrganisationId(Uuid::nil());

    fn identity(kind: IdentityKind, name: &str) -> Identity {
        Identity::new(kind, name).expect("a name")
    }

    fn address() -> Address {
        Address::parse("198.51.100.20").expect("an address")
    }

    fn append(store: &ModelStore, fill: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new(ORGANISATION, SourceName::new("test").expect("a name"));
        fill(&mut batch);
        let _ = now(store.append(&batch)).expect("the model takes everything");
    }

    #[track_caller]
    fn check(store: &ModelStore, window: (u32, u32), expected: Option<(u32, u32, u32)>) {
        let window = Window::new(Second::new(window.0), Second::new(window.1)).expect("in order");
        let question = Question {
            organisation: ORGANISATION,
            address: address(),
            window,
            kept_since: Second::MIN,
            first_seen: FirstSeen::InWindow,
        };
        let expected = match expected {
            None => Answer::Unknown,
            Some((0, ..)) => Answer::Quiet,
            Some((prevalence, first, last)) => Answer::Seen(Stats {
                prevalence: NonZeroU32::new(prevalence).expect("not zero"),
                first: Second::new(first),
                last: Second::new(last),
                bound: Bound::Exact,
            }),
        };
        assert_eq!(now(store.stats(question)).expect("an answer"), expected);
    }

    #[test]
    fn windows_are_exact_at_both_ends() {
        let store = ModelStore::new();
        append(&store, |batch| {
            let a = batch.identity(identity(IdentityKind::AgentId, "a"));
            let b = batch.identity(identity(IdentityKind::AgentId, "b"));
            for (who, second) in [(a, 100), (a, 100), (b, 200), (a, 300)] {
                batch.sighted(address(), who, Second::new(second));
            }
        });
        check(&store, (100, 300), Some((2, 100, 300)));
        check(&store, (101, 299), Some((1, 200, 200)));
        check(&store, (301, 400), Some((0, 0, 0)));
        check(&store, (0, 99), None);
    }

    #[test]
    fn a_name_belongs_to_the_agent_that_last_carried_it() {
        let store = ModelStore::new();
        append(&store, |batch| {
            let name = batch.identity(identity(IdentityKind::Fqdn, "pc-17.example.org"));
            for second in [50, 150, 250] {
                batch.sighted(address(), name, Second::new(second));
            }
        });
        check(&store, (0, 300), Some((1, 50, 250)));
        append(&store, |batch| {
            let name = batch.identity(identity(IdentityKind::Fqdn, "pc-17.example.org"));
            let old = batch.identity(identity(IdentityKind::AgentId, "old"));
            let new = batch.identity(identity(IdentityKind::AgentId, "new"));
            batch.carried(name, new, Second::new(200));
            batch.carried(name, old, Second::new(100));
            batch.sighted(address(), new, Second::new(260));
        });
        check(&store, (0, 300), Some((2, 50, 260)));
        check(&store, (0, 199), Some((1, 50, 150)));
        check(&store, (200, 300), Some((1, 250, 260)));
    }

    #[test]
    fn an_operator_joins_two_agents_and_a_domain_joins_a_short_name() {
        let store = ModelStore::new();
        let (a, b) = (identity(IdentityKind::AgentId, "a"), identity(IdentityKind::AgentId, "b"));
        append(&store, |batch| {
            for name in [
                a.clone(),
                b.clone(),
                identity(IdentityKind::HostName, "c"),
                identity(IdentityKind::Fqdn, "c.example.org"),
            ] {
                let index = batch.identity(name);
                batch.sighted(address(), index, Second::new(10));
            }
        });
        check(&store, (0, 10), Some((4, 10, 10)));
        now(store.teach(ORGANISATION, RegistryChange::Merge { from: b.clone(), into: a.clone() }))
            .expect("both exist");
        check(&store, (0, 10), Some((3, 10, 10)));
        now(store.teach(ORGANISATION, RegistryChange::Domain(Some("example.org".to_owned()))))
            .expect("a domain");
        check(&store, (0, 10), Some((2, 10, 10)));
        // Merging back closes no circle: both are one device already.
        now(store.teach(ORGANISATION, RegistryChange::Merge { from: a.clone(), into: b.clone() }))
            .expect("both exist");
        check(&store, (0, 10), Some((2, 10, 10)));
        let devices = now(store.devices(ORGANISATION, None, Second::MAX)).expect("devices");
        assert_eq!(devices.len(), 2);
        let one =
            now(store.devices(ORGANISATION, Some(DeviceKey::Identity(b)), Second::MAX)).expect("devices");
        assert_eq!(one[0].identity, a);
    }

    /// The devices of a second, as their identities.
    fn seen_by(store: &ModelStore, second: u32) -> (u32, Bound) {
        let window = Window::new(Second::new(second), Second::new(second)).expect("in order");
        let question = Question {
            organisation: ORGANISATION,
            address: address(),
            window,
            kept_since: Second::MIN,
            first_seen: FirstSeen::InWindow,
        };
        match now(store.stats(question)).expect("answered") {
            Answer::Seen(stats) => (stats.prevalence.get(), stats.bound),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_joins_for_the_validity_of_its_lease_and_no_longer() {
        let store = ModelStore::new();
        let local = identity(IdentityKind::Address, "10.0.0.5");
        append(&store, |batch| {
            let (address_5, host) =
                (batch.identity(local.clone()), batch.identity(identity(IdentityKind::HostName, "pc")));
            for second in [99, 100, 150, 200, 201, 300, 400] {
                batch.sighted(address(), address_5, Second::new(second));
                batch.sighted(address(), host, Second::new(second));
            }
            batch.leased(address_5, host, Second::new(100), Some(Second::new(200)));
        });
        for second in [100, 150, 200] {
            assert_eq!(seen_by(&store, second), (1, Bound::Exact), "{second}");
        }
        for second in [99, 201, 300] {
            assert_eq!(seen_by(&store, second), (2, Bound::AtMost), "{second}");
        }
        // Leases without an end that arrive late: by MAC, and given back before the last.
        append(&store, |batch| {
            let (what, mac) = (
                batch.identity(local.clone()),
                batch.identity(identity(IdentityKind::Mac, "00:0d:3a:13:e3:69")),
            );
            let host = batch.identity(identity(IdentityKind::HostName, "pc"));
            batch.leased(what, mac, Second::new(201), None);
            batch.leased(mac, host, Second::new(0), None);
            batch.leased(what, what, Second::new(301), None);
            batch.leased(host, mac, Second::new(0), None);
        });
        for (second, expected) in [(99, 2), (200, 1), (201, 1), (300, 1), (400, 2)] {
            assert_eq!(seen_by(&store, second).0, expected, "{second}");
        }
        let devices = now(store.devices(ORGANISATION, None, Second::new(250))).expect("devices");
        assert_eq!((devices.len(), devices[0].leases.len()), (1, 3));
    }

    /// Nothing (`-`) or a host name's, at each of some seconds, given leases told in an order.
    #[track_caller]
    fn check_holders(leases: &[(&str, u32, Option<u32>)], expected: &[(u32, &str)]) {
        let forwards: Vec<_> = leases.iter().collect();
        let backwards: Vec<_> = leases.iter().rev().collect();
        for order in [forwards, backwards] {
            let store = ModelStore::new();
            let what = identity(IdentityKind::Address, "10.0.0.5");
            for (who, since, until) in order {
                append(&store, |batch| {
                    let index = batch.identity(what.clone());
                    let who = if *who == "-" {
                        index
                    } else {
                        batch.identity(identity(IdentityKind::HostName, who))
                    };
                    batch.leased(index, who, Second::new(*since), until.map(Second::new));
                });
            }
            let organisations = store.held();
            let held = &organisations[&ORGANISATION];
            for (at, who) in expected {
                let holder = held.leased_to(&what, Second::new(*at));
                assert_eq!(holder.as_ref().map_or("-", Identity::name), *who, "{leases:?} at {at}");
            }
        }
    }

    #[test]
    fn what_begins_later_ends_every_earlier_lease_of_another_holder() {
        let a_and_b = |between: Option<(&'static str, u32, Option<u32>)>| {
            let leases = [("a", 10, Some(18)), ("b", 12, Some(13))];
            leases.into_iter().chain(between).collect::<Vec<_>>()
        };
        // Given back at 11, another's from 12 to 13: nothing brings the first back.
        let given_back = [(9, "-"), (10, "a"), (11, "-"), (12, "b"), (13, "b"), (14, "-"), (18, "-")];
        check_holders(&a_and_b(Some(("-", 11, None))), &given_back);
        check_holders(&a_and_b(None), &[(11, "a"), (12, "b"), (14, "-"), (18, "-")]);
        // The same holder's again makes it longer and never shorter; unless somebody had it between.
        check_holders(&[("a", 10, Some(18)), ("a", 12, Some(13))], &[(13, "a"), (18, "a"), (19, "-")]);
        check_holders(&[("a", 10, Some(12)), ("a", 11, Some(15))], &[(12, "a"), (15, "a"), (16, "-")]);
        let between = [("a", 10, Some(18)), ("a", 13, Some(14)), ("-", 12, Some(12))];
        check_holders(&between, &[(11, "a"), (12, "-"), (13, "a"), (15, "-")]);
        // What begins in the same second ends nothing, and decides by its name while it lasts.
        check_holders(&[("a", 10, Some(18)), ("b", 10, Some(12))], &[(12, "b"), (13, "a"), (19, "-")]);
        check_holders(&[("a", 10, Some(12)), ("-", 10, None)], &[(10, "a"), (12, "a"), (13, "-")]);
        // The last second of all is no end.
        check_holders(&[("a", 10, Some(u32::MAX)), ("a", 12, Some(13))], &[(11, "a"), (13, "a"), (14, "-")]);
    }

    #[test]
    fn an_address_of_a_unique_network_is_whose_record_carried_it_last() {
        let store = ModelStore::new();
        append(&store, |batch| {
            let what = batch.identity(identity(IdentityKind::Address, "10.0.0.5"));
            let (a, b) = (
                batch.identity(identity(IdentityKind::AgentId, "a")),
                batch.identity(identity(IdentityKind::AgentId, "b")),
            );
            batch.carried(what, a, Second::new(100));
            batch.carried(what, b, Second::new(200));
            for second in [99, 100, 200] {
                batch.sighted(address(), what, Second::new(second));
                batch.sighted(address(), a, Second::new(second));
            }
        });
        assert_eq!(seen_by(&store, 99), (2, Bound::AtMost), "nobody had carried it yet");
        assert_eq!(seen_by(&store, 100), (1, Bound::Exact));
        assert_eq!(seen_by(&store, 200), (2, Bound::Exact));
        let gateway = Network::parse("10.0.0.5").expect("a network");
        let change = RegistryChange::Networks(NetworkKind::Nat, vec![gateway]);
        now(store.teach(ORGANISATION, change)).expect("taught");
        assert_eq!(seen_by(&store, 99), (2, Bound::AtLeast));
    }

    #[test]
    fn a_merge_of_the_product_counts_until_an_operator_takes_it_back() {
        let store = ModelStore::new();
        let (old, new) = (identity(IdentityKind::AgentId, "old"), identity(IdentityKind::AgentId, "new"));
        append(&store, |batch| {
            let (from, into) = (batch.identity(old.clone()), batch.identity(new.clone()));
            batch.sighted(address(), from, Second::new(10));
            batch.sighted(address(), into, Second::new(10));
            batch.merged(from, into, Second::new(20));
        });
        assert_eq!(seen_by(&store, 10).0, 1, "for the past too");
        let split = || now(store.teach(ORGANISATION, RegistryChange::Split(old.clone())));
        split().expect("it was merged");
        assert_eq!(seen_by(&store, 10).0, 2);
        assert!(matches!(split(), Err(StoreError::Refused(_))));
    }

    #[test]
    fn nothing_outside_retention_is_seen() {
        let store = ModelStore::new();
        append(&store, |batch| {
            let a = batch.identity(identity(IdentityKind::AgentId, "a"));
            batch.sighted(address(), a, Second::new(1_000));
        });
        let question = |kept_since| Question {
            organisation: ORGANISATION,
            address: address(),
            window: Window::new(Second::MIN, Second::new(2_000)).expect("in order"),
            kept_since: Second::new(kept_since),
            first_seen: FirstSeen::InWindow,
        };
        assert!(matches!(now(store.stats(question(1_000))), Ok(Answer::Seen(_))));
        assert_eq!(now(store.stats(question(1_001))), Ok(Answer::Unknown));
        assert!(matches!(LocalNetworks::default(), LocalNetworks::Unstated));
    }
}
