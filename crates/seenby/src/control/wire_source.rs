//! Sources that push, as JSON for the control socket: mirrors of the domain's types. Refuses to hold: tokens in the clear, which
//! no book has.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};
use sighting::{Network, ReadAs, Second, Secret, Source, SourceBounds, SourceId, SourceName};

use super::wire::{Wire128, WireError};
use super::wire_book::WireSecret;

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireSource {
    id: Wire128,
    organisation: Wire128,
    name: String,
    read_as: WireReadAs,
    bounds: WireBounds,
    tokens: Vec<WireSecret>,
    created_at: u32,
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireReadAs {
    format: Option<String>,
    time_zone: Option<String>,
    columns: Option<String>,
    local_networks: Option<Vec<WireNetwork>>,
}

#[derive(Serialize, Deserialize, Debug)]
pub(super) struct WireBounds {
    networks: Vec<WireNetwork>,
    bytes_per_second: Option<NonZeroU64>,
    new_devices_per_hour: Option<NonZeroU32>,
    back_dating_hours: Option<NonZeroU32>,
}

/// As text.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
#[serde(try_from = "String", into = "String")]
struct WireNetwork(Network);

impl TryFrom<String> for WireNetwork {
    type Error = WireError;

    fn try_from(text: String) -> Result<WireNetwork, WireError> {
        Network::parse(&text).map(WireNetwork).map_err(|_| WireError("network"))
    }
}

impl From<WireNetwork> for String {
    fn from(wire: WireNetwork) -> String {
        wire.0.to_string()
    }
}

fn wired(networks: &[Network]) -> Vec<WireNetwork> {
    networks.iter().copied().map(WireNetwork).collect()
}

fn unwired(networks: Vec<WireNetwork>) -> Vec<Network> {
    networks.into_iter().map(|network| network.0).collect()
}

impl From<&ReadAs> for WireReadAs {
    fn from(read_as: &ReadAs) -> WireReadAs {
        let ReadAs { format, time_zone, columns, local_networks } = read_as.clone();
        WireReadAs { format, time_zone, columns, local_networks: local_networks.as_deref().map(wired) }
    }
}

impl From<WireReadAs> for ReadAs {
    fn from(wire: WireReadAs) -> ReadAs {
        let WireReadAs { format, time_zone, columns, local_networks } = wire;
        ReadAs { format, time_zone, columns, local_networks: local_networks.map(unwired) }
    }
}

impl From<&SourceBounds> for WireBounds {
    fn from(bounds: &SourceBounds) -> WireBounds {
        WireBounds {
            networks: wired(&bounds.networks),
            bytes_per_second: bounds.bytes_per_second,
            new_devices_per_hour: bounds.new_devices_per_hour,
            back_dating_hours: bounds.back_dating_hours,
        }
    }
}

impl From<WireBounds> for SourceBounds {
    fn from(wire: WireBounds) -> SourceBounds {
        SourceBounds {
            networks: unwired(wire.networks),
            bytes_per_second: wire.bytes_per_second,
            new_devices_per_hour: wire.new_devices_per_hour,
            back_dating_hours: wire.back_dating_hours,
        }
    }
}

impl From<&Source> for WireSource {
    fn from(source: &Source) -> WireSource {
        WireSource {
            id: Wire128(source.id.0),
            organisation: source.organisation.into(),
            name: source.name.as_str().to_owned(),
            read_as: (&source.read_as).into(),
            bounds: (&source.bounds).into(),
            tokens: source.tokens.iter().map(WireSecret::from).collect(),
            created_at: source.created_at.unix(),
        }
    }
}

impl TryFrom<WireSource> for Source {
    type Error = WireError;

    fn try_from(wire: WireSource) -> Result<Source, WireError> {
        Ok(Source {
            id: SourceId(wire.id.0),
            organisation: wire.organisation.into(),
            name: SourceName::new(&wire.name).ok_or(WireError("name of a source"))?,
            read_as: wire.read_as.into(),
            bounds: wire.bounds.into(),
            tokens: wire.tokens.into_iter().map(Secret::from).collect(),
            created_at: Second::new(wire.created_at),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use sighting::Uuid;

    use super::*;

    /// One with a value in every place.
    pub(in super::super) fn source(organisation: sighting::OrganisationId) -> Source {
        let networks = vec![Network::parse("10.0.0.0/8").expect("a network")];
        Source {
            id: SourceId(Uuid::from_u128(13)),
            organisation,
            name: SourceName::new("zeek").expect("a name"),
            read_as: ReadAs {
                format: Some("argus".to_owned()),
                time_zone: Some("Europe/Zurich".to_owned()),
                columns: Some("time=ts".to_owned()),
                local_networks: Some(networks.clone()),
            },
            bounds: SourceBounds {
                networks,
                bytes_per_second: NonZeroU64::new(1 << 40),
                new_devices_per_hour: NonZeroU32::new(7),
                back_dating_hours: None,
            },
            tokens: vec![Secret {
                sha256: [5; 32],
                created_at: Second::new(5),
                expires_at: Some(Second::new(9)),
            }],
            created_at: Second::new(4),
        }
    }
}
