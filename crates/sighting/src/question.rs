//! What is asked of a store and what it answers. Refuses to hold: the text of a request, the words of a reply and
//! any default (720 hours, "now"): those belong to whoever asks.

use std::num::NonZeroU32;

use crate::{Address, OrganisationId, Second, Window};

/// How many devices of an organisation opened a connection to an address inside a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Whose devices.
    pub organisation: OrganisationId,
    /// To which address.
    pub address: Address,
    /// When, both ends included. Sightings after `until` do not exist for this question.
    pub window: Window,
    /// The earliest second that is still kept (`Retention::since(now)`): nothing before it is seen.
    pub kept_since: Second,
    /// Which first connection to report.
    pub first_seen: FirstSeen,
}

/// The same question about many addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Questions {
    /// Whose devices.
    pub organisation: OrganisationId,
    /// To which addresses, in any order, also repeated.
    pub addresses: Vec<Address>,
    /// When, as in a [`Question`].
    pub window: Window,
    /// The earliest second that is still kept.
    pub kept_since: Second,
    /// Which first connections to report.
    pub first_seen: FirstSeen,
}

impl Questions {
    /// The question about one address.
    pub const fn about(&self, address: Address) -> Question {
        Question {
            organisation: self.organisation,
            address,
            window: self.window,
            kept_since: self.kept_since,
            first_seen: self.first_seen,
        }
    }
}

/// Which first connection an answer reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FirstSeen {
    /// The earliest inside the window.
    #[default]
    InWindow,
    /// The earliest of all kept data up to the window's end.
    InKept,
}

/// The statistics of an address that was seen inside the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Distinct devices, exact.
    pub prevalence: NonZeroU32,
    /// The earliest connection, as [`FirstSeen`] asked.
    pub first: Second,
    /// The latest connection inside the window.
    pub last: Second,
    /// What `prevalence` is of the number of machines.
    pub bound: Bound,
}

/// What a number of devices is of the number of machines that they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Bound {
    /// As exact as names are.
    #[default]
    Exact,
    /// Some device rests on an address or a MAC alone: it may be another one's.
    AtMost,
    /// Some device is an address behind which there are others.
    AtLeast,
    /// Both.
    About,
}

impl Bound {
    /// From whether some device rests on an address alone, and whether one is a gateway that hides others.
    pub const fn new(rests_on_address: bool, is_behind_gateway: bool) -> Bound {
        match (rests_on_address, is_behind_gateway) {
            (false, false) => Bound::Exact,
            (true, false) => Bound::AtMost,
            (false, true) => Bound::AtLeast,
            (true, true) => Bound::About,
        }
    }

    /// The words before a number: `at most`; none where it is exact.
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Bound::Exact => None,
            Bound::AtMost => Some("at most"),
            Bound::AtLeast => Some("at least"),
            Bound::About => Some("about"),
        }
    }
}

/// The three things that can be true of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Seen inside the window.
    Seen(Stats),
    /// Seen in the kept data at or before the window's end, but not inside the window.
    Quiet,
    /// Not in the kept data at or before the window's end.
    Unknown,
}
