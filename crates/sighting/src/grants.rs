//! What a server that counts calls writes down, so that it still knows them when it starts again: pages of grants,
//! each with both of the clocks that it was written by. Refuses to hold: how calls are counted (the HTTP room), and
//! the bytes of a page (whoever keeps it).
//!
//! A grant's moment is its age: how long before its page was written the call was granted, by the steady clock. So an age
//! is right whatever the wall clock was set to meanwhile.

use uuid::Uuid;

use crate::{ApplicationId, OrganisationId};

/// Grants of calls, written at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantPage {
    /// Whether the pages before it still matter.
    pub extent: Extent,
    /// Which steady clock it was written by: another process that reads the same clock has the same value.
    pub clock: Uuid,
    /// That clock when it was written, in milliseconds from any beginning.
    pub steady_ms: u64,
    /// The wall clock when it was written, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Whose calls; no application twice.
    pub granted: Vec<Granted>,
}

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// What was granted since the page before it.
    Further,
    /// Every grant that still counts: the pages before it are done with.
    Whole,
}

/// The calls that one application was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Of which organisation it is.
    pub organisation: OrganisationId,
    /// Which one.
    pub application: ApplicationId,
    /// How many milliseconds before the page was written, the oldest (and largest) first.
    pub ages_ms: Vec<u64>,
}
