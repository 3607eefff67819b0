//! Sources that push: who may send sightings in, as what they are read, and within which bounds. Refuses to hold: what a
//! format or a zone is (whoever makes a source checks those words), tokens in the clear, and how much a source has told.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use uuid::Uuid;

use crate::{Address, Network, OrganisationId, Retention, SECONDS_PER_HOUR, Second, Secret, SourceName};

/// A source's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(pub Uuid);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source that pushes, with tokens of its own that can do nothing but that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// Whose sightings it tells.
    pub organisation: OrganisationId,
    /// Under which name they are kept; unique in its organisation, compared without case.
    pub name: SourceName,
    /// How what it sends is read.
    pub read_as: ReadAs,
    /// What it may send.
    pub bounds: SourceBounds,
    /// Its tokens: each is good until it expires.
    pub tokens: Vec<Secret>,
    /// When it was made.
    pub created_at: Second,
}

/// How what a source sends is read, in the words of the room that reads it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReadAs {
    /// The name of its format; without one the first bytes tell it.
    pub format: Option<String>,
    /// Where its clocks are, for times without a zone.
    pub time_zone: Option<String>,
    /// Which keys or columns mean what, in the formats that have no names of their own.
    pub columns: Option<String>,
    /// The networks whose addresses are ours; without a list what the server's settings say.
    pub local_networks: Option<Vec<Network>>,
}

/// What a source may send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceBounds {
    /// From where; without one from anywhere.
    pub networks: Vec<Network>,
    /// As it comes over the network; without one as fast as it likes.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Devices that nobody told of before, in any hour.
    pub new_devices_per_hour: Option<NonZeroU32>,
    /// How old a sighting may be; without a bound as old as the organisation keeps.
    pub back_dating_hours: Option<NonZeroU32>,
}

/// New devices in an hour where nobody says otherwise: more than a large fleet has, fewer than fill a store with names.
const NEW_DEVICES_PER_HOUR_DEFAULT: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
/// A week, where nobody says otherwise: a shipper that was cut off for a few days catches up.
const BACK_DATING_HOURS_DEFAULT: NonZeroU32 = NonZeroU32::new(168).expect("not zero");

impl Default for SourceBounds {
    fn default() -> SourceBounds {
        SourceBounds {
            networks: Vec::new(),
            bytes_per_second: None,
            new_devices_per_hour: Some(NEW_DEVICES_PER_HOUR_DEFAULT),
            back_dating_hours: Some(BACK_DATING_HOURS_DEFAULT),
        }
    }
}

impl SourceBounds {
    /// Whether it may come from an address.
    pub fn admits(&self, peer: Address) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(peer))
    }

    /// The earliest second that is taken of it now; before what the organisation keeps nothing is.
    pub fn since(&self, retention: Retention, now: Second) -> Second {
        let kept = retention.since(now);
        let hours = self.back_dating_hours.map(|hours| u64::from(hours.get()));
        hours.map_or(kept, |hours| kept.max(now.minus(hours * u64::from(SECONDS_PER_HOUR))))
    }
}

impl Source {
    /// Whether a token with this SHA-256 is one of its, and good now.
    pub fn has_token(&self, sha256: &[u8; 32], now: Second) -> bool {
        let is_good = |token: &Secret| token.expires_at.is_none_or(|end| now <= end);
        self.tokens.iter().any(|token| token.sha256 == *sha256 && is_good(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_may_come_from_and_how_old_it_may_be() {
        let address = |text| Address::parse(text).expect("an address");
        let mut bounds = SourceBounds::default();
        assert!(bounds.admits(address("192.0.2.1")));
        bounds.networks = vec![Network::parse("198.51.100.0/24").expect("a network")];
        assert!(bounds.admits(address("198.51.100.7")) && !bounds.admits(address("192.0.2.1")));
        let now = Second::new(4_000_000);
        let check = |hours: Option<u32>, retention, since: u32| {
            let back_dating_hours = hours.and_then(NonZeroU32::new);
            let bounds = SourceBounds { back_dating_hours, ..SourceBounds::default() };
            assert_eq!(bounds.since(retention, now), Second::new(since), "{hours:?} {retention}");
        };
        check(None, Retention::Hours(100), 3_640_000);
        check(Some(10), Retention::Hours(100), 3_964_000);
        check(Some(1_000), Retention::Hours(100), 3_640_000);
        check(None, Retention::Forever, 0);
        check(Some(u32::MAX), Retention::Forever, 0);
    }
}
