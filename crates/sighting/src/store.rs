//! The trait that every store implements: the model, the embedded index, ClickHouse, a server behind a socket.
//! Refuses to hold: files, sockets and the words in which an answer is given.

use crate::{
    Answer, Batch, Day, DeviceEntry, DeviceKey, Offset, OrganisationId, Question, Questions, RegistryChange,
    RegistrySettings, Second, SourceName,
};

/// Proof that a batch is durable and visible to every later question whose window holds it. Only a receipt moves a
/// source's offset.
#[must_use = "only a receipt proves that a batch was taken"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Sightings of the batch, repeats included.
    pub sightings: u64,
}

/// What a store cannot do, in words that say what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is closed, poisoned by an earlier failed write, overloaded, or its server is gone.
    #[error("{0}")]
    Unavailable(String),
    /// Stored bytes are not what was written; the text names file, place and repair.
    #[error("{0}")]
    Corrupt(String),
    /// The request makes no sense to this store.
    #[error("{0}")]
    Refused(String),
}

/// What is held of an organisation, for "do we have data at all".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// The earliest and latest kept sighting at or before the moment asked about.
    pub span: Option<(Second, Second)>,
    /// Identities that reported on each UTC day, from sighted and ignored records alike, ascending.
    pub reporters: Vec<(Day, u32)>,
    /// The sources that ever told anything, sorted.
    pub sources: Vec<SourceName>,
}

/// What a clean-up took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Sightings outside retention that are gone (or, when only asked, would go).
    pub dropped: u64,
    /// Sightings that stay.
    pub kept: u64,
}

/// An exact, durable set of sightings with the registry of the devices that made them.
///
/// A receipt means durable **and** visible. A question sees one consistent state. `now` is an argument wherever a
/// moment matters. Errors never change an answer: a damaged store refuses, it does not guess.
pub trait Store: Send + Sync {
    /// Adds a batch: its identities, registry facts, reporters, offsets and sightings become durable together.
    fn append(&self, batch: &Batch) -> impl Future<Output = Result<Receipt, StoreError>> + Send;

    /// Answers the question of this product.
    fn stats(&self, question: Question) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// Answers it for many addresses, in their order, all of one state. Cost: they are looked up sorted, each at about the cost
    /// of a question; whoever has very many asks for some thousands at a time and tells of them meanwhile.
    fn stats_of(&self, questions: Questions) -> impl Future<Output = Result<Vec<Answer>, StoreError>> + Send;

    /// What is held of an organisation, from `kept_since` to `until`.
    fn coverage(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
        until: Second,
    ) -> impl Future<Output = Result<Coverage, StoreError>> + Send;

    /// How far a source has been read under a key, if it said.
    fn offset(
        &self,
        organisation: OrganisationId,
        source: SourceName,
        key: String,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// All that a source's batches have said of how far it has been read, sorted by key.
    fn offsets(
        &self,
        organisation: OrganisationId,
        source: SourceName,
    ) -> impl Future<Output = Result<Vec<Offset>, StoreError>> + Send;

    /// Every device of an organisation as it is counted at a moment, sorted by number; with a key, the one that it names.
    fn devices(
        &self,
        organisation: OrganisationId,
        key: Option<DeviceKey>,
        at: Second,
    ) -> impl Future<Output = Result<Vec<DeviceEntry>, StoreError>> + Send;

    /// Teaches the device registry; durable when it returns, and in force for the past too.
    fn teach(
        &self,
        organisation: OrganisationId,
        change: RegistryChange,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What an operator said of the device registry as a whole.
    fn registry(
        &self,
        organisation: OrganisationId,
    ) -> impl Future<Output = Result<RegistrySettings, StoreError>> + Send;

    /// What lies before `kept_since` and what does not, without changing anything.
    fn outside(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
    ) -> impl Future<Output = Result<Retained, StoreError>> + Send;

    /// Deletes the sightings before `kept_since` for good, and reports of earlier days. Changes no answer: questions are
    /// clipped anyway. Cost: whole days go at once; the day of `kept_since` is written anew if it holds anything older,
    /// so who only wants room freed passes the first second of a day.
    fn retain(
        &self,
        organisation: OrganisationId,
        kept_since: Second,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes everything held of an organisation.
    fn remove(&self, organisation: OrganisationId) -> impl Future<Output = Result<(), StoreError>> + Send;
}
