//! Whose devices they are, and how long their sightings are kept. Refuses to hold: members, roles and applications
//! (see [`crate::Book`]), and the enforcement of retention (a question is clipped by its asker, files are unlinked by
//! a `Store`).

use std::fmt;

use uuid::Uuid;

use crate::{Second, Window};

/// An organisation's tenant GUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrganisationId(pub Uuid);

impl fmt::Display for OrganisationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long sightings are kept, in whole hours; counted back from now, at every question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Retention {
    /// At least 1.
    Hours(u32),
    /// Nothing is ever too old.
    Forever,
}

/// 30 days.
pub const RETENTION_DEFAULT: Retention = Retention::Hours(720);

/// The look-back that the contract allows without a longer retention, in hours.
const LOOK_BACK_CAP_HOURS: u32 = 720;

impl Retention {
    /// The earliest second that is kept at a given moment.
    pub fn since(self, now: Second) -> Second {
        match self {
            Retention::Hours(hours) => Window::look_back(now, hours).since(),
            Retention::Forever => Second::MIN,
        }
    }

    /// The largest look-back that may be asked for, in hours: 720, or the retention where that is longer.
    pub fn look_back_cap(self) -> u32 {
        match self {
            Retention::Hours(hours) => hours.clamp(LOOK_BACK_CAP_HOURS, i32::MAX as u32),
            Retention::Forever => i32::MAX as u32,
        }
    }

    /// `forever` or a number of hours from 1 to 2,147,483,647.
    pub fn parse(text: &str) -> Option<Retention> {
        if text.eq_ignore_ascii_case("forever") {
            return Some(Retention::Forever);
        }
        let hours: u32 = text.parse().ok()?;
        (1..=i32::MAX as u32).contains(&hours).then_some(Retention::Hours(hours))
    }
}

/// `forever`, or the number of hours.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::Hours(hours) => hours.fmt(f),
            Retention::Forever => f.write_str("forever"),
        }
    }
}

/// One organisation as its operator made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Organisation {
    /// Its tenant GUID, never reused.
    pub id: OrganisationId,
    /// Its name, unique in the store, compared without case.
    pub name: String,
    /// How long its sightings are kept.
    pub retention: Retention,
    /// Tenant ids that its records may carry; empty means any that is not another organisation's.
    pub source_tenants: Vec<Uuid>,
}
