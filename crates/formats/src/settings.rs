//! What an operator says of a source before it is read: whose networks are ours, which columns mean what. Refuses to
//! hold: how these settings are written in a file or on a command line.

use jiff::tz::TimeZone;
use sighting::{Address, IdentityKind, LocalNetworks, Mention, Network};

use crate::aws_vpc::VpcFields;
use crate::pan_os::FieldOrder;
use crate::record::Mentions;
use crate::text::{is_mac, present};

/// How records of a source are read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Which originators are ours, for sensors that see both directions.
    pub local_networks: LocalNetworks,
    /// Count multicast, broadcast, loopback, link-local and unspecified remotes too.
    pub keep_special_remotes: bool,
    /// Which keys or columns of the generic formats mean what.
    pub columns: ColumnMap,
    /// Where the clocks of this source are, for times without a zone; unset, such records are refused.
    pub time_zone: Option<TimeZone>,
    /// Where a local address is one machine at a time: there it is told beside the machine's names.
    pub unique_networks: Vec<Network>,
    /// Where the sensor sees the hardware address of the device itself, no router in between: there a device is known by it.
    /// Behind a router it is the router's, and nothing in a record tells.
    pub mac_networks: Vec<Network>,
}

impl Settings {
    /// The names of an originator that a sensor saw: its hardware address, where that is its own, else its address.
    #[inline]
    pub(crate) fn originator<'a>(
        &self,
        (address, written): (Address, &'a str),
        mac: Option<&'a str>,
    ) -> Mentions<'a> {
        let is_seen = self.mac_networks.iter().any(|network| network.contains(address));
        match mac.filter(|_| is_seen).and_then(present).filter(|mac| is_mac(mac)) {
            None => Mentions::one(Mention { kind: IdentityKind::Address, written }),
            Some(mac) => self.with_mac(mac, written),
        }
    }

    fn with_mac<'a>(&self, mac: &'a str, address: &'a str) -> Mentions<'a> {
        let mut names = Mentions::one(Mention { kind: IdentityKind::Mac, written: mac });
        self.unique_address(Some(address)).into_iter().for_each(|address| names.push(address));
        names
    }

    /// A machine's own address as a name of it, if it is one of a unique network.
    #[inline]
    pub(crate) fn unique_address<'a>(&self, written: Option<&'a str>) -> Option<Mention<'a>> {
        if self.unique_networks.is_empty() {
            return None;
        }
        let written = written?;
        let address = Address::parse_logged(written.as_bytes())?;
        let is_unique = self.unique_networks.iter().any(|network| network.contains(address));
        is_unique.then_some(Mention { kind: IdentityKind::Address, written })
    }
}

/// A field without which no record could count is not among those that an operator named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no {field} among the fields; write all of them in their order, as {example}")]
pub struct LacksField {
    pub(crate) field: &'static str,
    pub(crate) example: &'static str,
}

/// The keys (JSON; a dot descends into an object) or columns (CSV) of the generic formats, and the fields of two others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnMap {
    /// When the connection was opened: RFC 3339 with an offset, or epoch seconds, ms, us or ns.
    pub time: String,
    /// Which of our devices opened it.
    pub device: String,
    /// The remote address.
    pub ip: String,
    /// What kind of name `device` is; unset, it is an address if it reads as one, else a host name.
    pub device_kind: Option<IdentityKind>,
    /// A device id of a product, besides or instead of `device`.
    pub agent_id: String,
    /// What happened; a record without it was opened.
    pub action: String,
    /// The only actions that count as opened, case aside; empty: the usual words do.
    pub opened_actions: Vec<String>,
    /// What stands where in rows of PAN-OS that are written by a custom log format.
    pub pan_os: Option<FieldOrder>,
    /// What stands where in rows of VPC flow logs that have no header and are not in the default order.
    pub aws_vpc: Option<VpcFields>,
}

impl ColumnMap {
    /// Whether it says something of the generic formats.
    pub(crate) fn is_of_generic(&self) -> bool {
        let fields =
            ColumnMap { pan_os: self.pan_os.clone(), aws_vpc: self.aws_vpc.clone(), ..ColumnMap::default() };
        *self != fields
    }
}

impl Default for ColumnMap {
    fn default() -> ColumnMap {
        ColumnMap {
            time: "time".to_owned(),
            device: "device".to_owned(),
            ip: "ip".to_owned(),
            device_kind: None,
            agent_id: "agent_id".to_owned(),
            action: "action".to_owned(),
            opened_actions: Vec::new(),
            pan_os: None,
            aws_vpc: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_told_where_it_is_the_devices_own() {
        let networks = |text: &str| vec![Network::parse(text).expect("a network")];
        let settings = |unique: &str| Settings {
            mac_networks: networks("10.1.2.0/24"),
            unique_networks: networks(unique),
            ..Settings::default()
        };
        let told = |settings: &Settings, written: &str, mac: Option<&str>| -> Vec<String> {
            let address = Address::parse(written).expect("an address");
            settings.originator((address, written), mac).iter().map(|name| name.written.to_owned()).collect()
        };
        let (elsewhere, unique) = (settings("10.9.0.0/16"), settings("10.1.0.0/16"));
        let mac = "00:00:5e:00:53:01";
        assert_eq!(told(&elsewhere, "10.1.2.3", Some(mac)), [mac]);
        assert_eq!(told(&unique, "10.1.2.3", Some(mac)), [mac, "10.1.2.3"]);
        for (address, mac) in [
            ("10.1.3.3", Some(mac)),
            ("10.1.2.3", None),
            ("10.1.2.3", Some("-")),
            ("10.1.2.3", Some("00:00:00:00:00:00")),
            ("10.1.2.3", Some("00:00:5e:00:53")),
        ] {
            assert_eq!(told(&unique, address, mac), [address], "{mac:?}");
        }
        assert_eq!(told(&Settings::default(), "10.1.2.3", Some(mac)), ["10.1.2.3"]);
    }
}
