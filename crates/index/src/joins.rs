//! The device registry: from (identity, moment) to the identity that owns the device, with all that is known now.
//! Refuses to hold: the facts themselves (names in `names`, times of carrying in the `Carriers` table), and answers.
//!
//! An agent owns a device. A name belongs to the agent that carried it last at or before the moment, before its first
//! carrier to that first one; agents that carried it in the same second: to the greatest. A short name without
//! carriers joins its full name in the organisation's one domain. What an operator merged follows what it was merged
//! into. Joins that close a circle belong to the least identity in it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;
use sighting::{Identity, IdentityKind, Second};

use crate::error::IndexError;
use crate::ids::IdSet;
use crate::names::Names;

/// What is derived from the joins of an organisation, so that a question need not walk them.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// The version of the names it was derived from.
    pub(crate) version: u64,
    /// Identities that may belong to another's device.
    pub(crate) joined: IdSet,
    /// Joined identities whose owner is the same at every moment.
    fixed: HashMap<u32, u32, FixedState>,
    /// Joined identities whose owner depends on the moment.
    timed: HashSet<u32, FixedState>,
}

/// Who owns an identity's device.
pub(crate) enum Owner {
    /// Always the same.
    Fixed(u32),
    /// It depends on the moment: see [`owner_at`].
    Timed,
}

/// When which agent carried a name: (second, agent), in any order.
pub(crate) type Timeline = Vec<(Second, u32)>;

impl Joins {
    /// Derives the joins of names.
    pub(crate) fn derive(names: &Names) -> Joins {
        let mut joins = Joins { version: names.joins_version, ..Joins::default() };
        let short = (0..names.identity_count()).filter(|_| names.domain().is_some());
        let candidates = names.carried().chain(names.merged()).chain(short);
        for id in candidates {
            if matches!(step(names, id), Step::None) || joins.fixed.contains_key(&id) {
                continue;
            }
            joins.joined.insert(id);
            match walk(names, id, &mut |_| Ok::<_, ()>(None)) {
                Ok(Some(owner)) => drop(joins.fixed.insert(id, owner)),
                Ok(None) | Err(()) => drop(joins.timed.insert(id)),
            }
        }
        joins
    }

    /// Who owns a joined identity's device.
    pub(crate) fn owner(&self, id: u32) -> Owner {
        if self.timed.contains(&id) {
            Owner::Timed
        } else {
            Owner::Fixed(self.fixed.get(&id).copied().unwrap_or(id))
        }
    }
}

/// The owner at a moment of an identity that depends on it. `timeline` tells when which agent carried a name.
pub(crate) fn owner_at(
    names: &Names,
    id: u32,
    at: Second,
    timeline: &mut impl FnMut(u32) -> Result<Timeline, IndexError>,
) -> Result<u32, IndexError> {
    let owner = walk(names, id, &mut |name| Ok::<_, IndexError>(carrier_at(names, &timeline(name)?, at)))?;
    Ok(owner.unwrap_or(id))
}

/// Follows joins to their end; `None` if `carrier` cannot tell.
fn walk<E>(
    names: &Names,
    id: u32,
    carrier: &mut impl FnMut(u32) -> Result<Option<u32>, E>,
) -> Result<Option<u32>, E> {
    let mut path = vec![id];
    let mut current = id;
    loop {
        let next = match step(names, current) {
            Step::None => return Ok(Some(current)),
            Step::To(next) => next,
            Step::Timed => match carrier(current)? {
                Some(next) => next,
                None => return Ok(None),
            },
        };
        if let Some(start) = path.iter().position(|visited| *visited == next) {
            return Ok(path[start..].iter().copied().min_by_key(|id| names.identity(*id)));
        }
        path.push(next);
        current = next;
    }
}

enum Step {
    None,
    To(u32),
    /// Several agents carried it.
    Timed,
}

fn step(names: &Names, id: u32) -> Step {
    match names.carriers(id) {
        [] => {}
        [agent] => return Step::To(*agent),
        _ => return Step::Timed,
    }
    full_name(names, id).or_else(|| names.merged_into(id)).map_or(Step::None, Step::To)
}

fn full_name(names: &Names, id: u32) -> Option<u32> {
    let domain = names.domain()?;
    let short = names.identity(id).filter(|identity| identity.kind() == IdentityKind::HostName)?;
    let full = Identity::new(IdentityKind::Fqdn, &format!("{}.{domain}", short.name()))?;
    names.number(&full)
}

fn carrier_at(names: &Names, timeline: &[(Second, u32)], at: Second) -> Option<u32> {
    let newest = timeline.iter().map(|(second, _)| *second).filter(|second| *second <= at).max();
    let deciding = newest.or_else(|| timeline.iter().map(|(second, _)| *second).min())?;
    let agents = timeline.iter().filter(|(second, _)| *second == deciding).map(|(_, agent)| *agent);
    agents.max_by_key(|agent| names.identity(*agent))
}
