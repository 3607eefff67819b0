//! The oracles: a [`Store`] and a [`Directory`] over plain maps, as short and obvious as they can be. Every other
//! maker is tested against these. Refuses to hold: speed, durability and cleverness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Actor, Address, Answer, AuditEntry, Batch, Book, Change, Coverage, Day, DeviceEntry, DeviceKey,
    Directory, DirectoryError, Extent, FirstSeen, GrantPage, Identity, IdentityKind, OrganisationId,
    Question, Questions, Receipt, RegistryChange, Retained, Second, SourceName, Stats, Store, StoreError,
    Ticket, TicketKey,
};

/// The model of a store.
#[derive(Debug, Default)]
pub struct ModelStore {
    organisations: Mutex<BTreeMap<OrganisationId, Held>>,
}

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
    merges: BTreeMap<Identity, Identity>,
    domain: Option<String>,
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
        if let Some(carriers) = self.carriers.get(identity) {
            let newest = carriers.iter().rfind(|(second, _)| *second <= at);
            // Before its first carrier a name belongs to that first one.
            let first =
                carriers.first().and_then(|(first, _)| carriers.iter().rfind(|(second, _)| second == first));
            return newest.or(first).map(|(_, agent)| agent.clone());
        }
        if let (IdentityKind::HostName, Some(domain)) = (identity.kind(), &self.domain) {
            let full = Identity::new(IdentityKind::Fqdn, &format!("{}.{domain}", identity.name()));
            if let Some(full) = full.filter(|full| self.identities.contains(full)) {
                return Some(full);
            }
        }
        self.merges.get(identity).cloned()
    }

    fn mentioned(&mut self, identity: &Identity) {
        if !self.identities.contains(identity) {
            self.identities.push(identity.clone());
        }
    }

    fn answer(&self, question: &Question) -> Answer {
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
        let prevalence = u32::try_from(devices.len()).ok().and_then(std::num::NonZeroU32::new);
        match (prevalence, first, last) {
            (Some(prevalence), Some(first), Some(last)) => Answer::Seen(Stats { prevalence, first, last }),
            _ if known.is_empty() => Answer::Unknown,
            _ => Answer::Quiet,
        }
    }

    fn devices(&self) -> Vec<DeviceEntry> {
        let mut by_owner: BTreeMap<Identity, Vec<Identity>> = BTreeMap::new();
        for identity in &self.identities {
            by_owner.entry(self.owner(identity, Second::MAX)).or_default().push(identity.clone());
        }
        let mut entries: Vec<DeviceEntry> =
            by_owner.into_iter().map(|(owner, members)| self.entry(owner, members)).collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    fn entry(&self, owner: Identity, members: Vec<Identity>) -> DeviceEntry {
        let number = self.identities.iter().position(|identity| *identity == owner).unwrap_or_default();
        let last_reported =
            self.reporters.iter().rev().find(|(_, identity)| members.contains(identity)).map(|(day, _)| *day);
        let mut others: Vec<Identity> = members.into_iter().filter(|identity| *identity != owner).collect();
        others.sort();
        DeviceEntry {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            identity: owner,
            others,
            last_reported,
        }
    }
}

impl ModelStore {
    /// An empty store.
    pub fn new() -> ModelStore {
        ModelStore::default()
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
        held.reporters.extend(batch.reporters().iter().map(|(index, day)| (*day, identity(*index).clone())));
        held.sources.insert(batch.source().clone());
        for offset in batch.offsets() {
            held.offsets.insert((batch.source().clone(), offset.key.clone()), offset.position);
        }
        Receipt { sightings: batch.sightings().len() as u64 }
    }
}

impl Store for ModelStore {
    async fn append(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        Ok(self.append_now(batch))
    }

    async fn stats(&self, question: Question) -> Result<Answer, StoreError> {
        Ok(self.held().get(&question.organisation).map_or(Answer::Unknown, |held| held.answer(&question)))
    }

    async fn stats_of(&self, questions: Questions) -> Result<Vec<Answer>, StoreError> {
        let held = self.held();
        let Some(held) = held.get(&questions.organisation) else {
            return Ok(vec![Answer::Unknown; questions.addresses.len()]);
        };
        Ok(questions.addresses.iter().map(|address| held.answer(&questions.about(*address))).collect())
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
                reporters.entry(*day).or_default().insert(held.owner(identity, day.last()));
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

    async fn devices(
        &self,
        organisation: OrganisationId,
        key: Option<DeviceKey>,
    ) -> Result<Vec<DeviceEntry>, StoreError> {
        let organisations = self.held();
        let mut devices = organisations.get(&organisation).map(Held::devices).unwrap_or_default();
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
        let mut organisations = self.held();
        let held = organisations.entry(organisation).or_default();
        match change {
            RegistryChange::Domain(domain) => held.domain = domain,
            RegistryChange::Merge { from, into } => {
                for identity in [&from, &into] {
                    if !held.identities.contains(identity) {
                        return Err(StoreError::Refused(format!("there is no device '{identity}'")));
                    }
                }
                let (from, into) = (held.owner(&from, Second::MAX), held.owner(&into, Second::MAX));
                if from != into {
                    held.merges.insert(from, into);
                }
            }
        }
        Ok(())
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
        let devices = now(store.devices(ORGANISATION, None)).expect("devices");
        assert_eq!(devices.len(), 2);
        let one = now(store.devices(ORGANISATION, Some(DeviceKey::Identity(b)))).expect("devices");
        assert_eq!(one[0].identity, a);
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
