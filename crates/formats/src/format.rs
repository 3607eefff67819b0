//! The formats by name: what a log is (meaning and carrier) and what a person may ask for. Refuses to hold: how a
//! format is recognised (`detect`) and how it is read (one module each).

/// What a log is: whose records, in which carrier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Format {
    /// Zeek conn.log with its `#fields` header, tab-separated.
    ZeekTsv,
    /// Zeek conn.log as JSON, also from Corelight.
    ZeekJson,
    /// Defender `DeviceNetworkEvents` as JSON: storage lines, Event Hubs `records`, hunting results.
    Mde,
    /// Defender `DeviceNetworkEvents` as a hunting export in CSV.
    MdeCsv,
    /// Sysmon event 3 as JSON: Winlogbeat, ECS, NXLog, flat exports.
    Sysmon,
    /// Sysmon event 3 as Windows Event XML: documents, or an event a line as Splunk carries it.
    SysmonXml,
    /// Suricata's eve.json, of which flows tell.
    Suricata,
    /// Network documents in the Elastic Common Schema: Elastic Defend, Packetbeat, Auditbeat.
    Ecs,
    /// OCSF Network Activity (class 4001) as JSON.
    Ocsf,
    /// CrowdStrike Falcon Data Replicator events.
    CrowdStrike,
    /// SentinelOne Cloud Funnel events.
    SentinelOne,
    /// Carbon Black: Cloud data forwarder and EDR event forwarder.
    CarbonBlack,
    /// osquery results of socket events.
    Osquery,
    /// Azure flow logs as JSON: virtual network (v4) and network security group (v2).
    AzureFlow,
    /// Azure Network Analytics rows exported as CSV.
    AzureAnalytics,
    /// AWS VPC flow logs as text, default or custom fields.
    AwsVpc,
    /// Palo Alto Networks traffic logs: CSV, CEF or LEEF, with or without a syslog header.
    PanOs,
    /// FortiGate traffic logs: key=value or CEF, with or without a syslog header.
    FortiGate,
    /// Argus flows as CSV (binetflow).
    Argus,
    /// Events of Linux's connection tracking, as `conntrack -E` prints them.
    Conntrack,
    /// NetFlow 5, NetFlow 9 and IPFIX: datagrams, one behind the other in a file.
    NetFlow,
    /// The leases of ISC's dhcpd.
    IscDhcpd,
    /// The lease files of Kea.
    Kea,
    /// The audit log of a Windows DHCP server.
    WindowsDhcp,
    /// Addresses and their hosts by hand, as CSV.
    AddressMap,
    /// JSON records with named keys for time, device and address.
    Ndjson,
    /// CSV with named columns for time, device and address.
    Csv,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 27] = [
        Format::ZeekTsv,
        Format::ZeekJson,
        Format::Mde,
        Format::MdeCsv,
        Format::Sysmon,
        Format::SysmonXml,
        Format::Suricata,
        Format::Ecs,
        Format::Ocsf,
        Format::CrowdStrike,
        Format::SentinelOne,
        Format::CarbonBlack,
        Format::Osquery,
        Format::AzureFlow,
        Format::AzureAnalytics,
        Format::AwsVpc,
        Format::PanOs,
        Format::FortiGate,
        Format::Argus,
        Format::Conntrack,
        Format::NetFlow,
        Format::IscDhcpd,
        Format::Kea,
        Format::WindowsDhcp,
        Format::AddressMap,
        Format::Ndjson,
        Format::Csv,
    ];

    /// Whether its records are objects of JSON, and so may lie in lines or in a document.
    pub const fn is_json(self) -> bool {
        match self {
            Format::ZeekJson
            | Format::Mde
            | Format::Sysmon
            | Format::Suricata
            | Format::Ecs
            | Format::Ocsf
            | Format::CrowdStrike
            | Format::SentinelOne
            | Format::CarbonBlack
            | Format::Osquery
            | Format::AzureFlow
            | Format::Ndjson => true,
            Format::ZeekTsv
            | Format::MdeCsv
            | Format::SysmonXml
            | Format::AzureAnalytics
            | Format::AwsVpc
            | Format::PanOs
            | Format::FortiGate
            | Format::Argus
            | Format::Conntrack
            | Format::NetFlow
            | Format::IscDhcpd
            | Format::Kea
            | Format::WindowsDhcp
            | Format::AddressMap
            | Format::Csv => false,
        }
    }

    /// Whether its records are rows of CSV under a header, in which a quote may be open over the end of a line.
    pub(crate) const fn is_csv(self) -> bool {
        matches!(
            self,
            Format::MdeCsv
                | Format::Csv
                | Format::Argus
                | Format::AzureAnalytics
                | Format::Kea
                | Format::AddressMap
        )
    }

    /// Its name on the command line, in settings and metrics; also the default name of a source.
    pub const fn name(self) -> &'static str {
        match self {
            Format::ZeekTsv => "zeek-tsv",
            Format::ZeekJson => "zeek-json",
            Format::Mde => "mde",
            Format::MdeCsv => "mde-csv",
            Format::Sysmon => "sysmon",
            Format::SysmonXml => "sysmon-xml",
            Format::Suricata => "suricata",
            Format::Ecs => "ecs",
            Format::Ocsf => "ocsf",
            Format::CrowdStrike => "crowdstrike",
            Format::SentinelOne => "sentinelone",
            Format::CarbonBlack => "carbon-black",
            Format::Osquery => "osquery",
            Format::AzureFlow => "azure-flow",
            Format::AzureAnalytics => "azure-analytics",
            Format::AwsVpc => "aws-vpc",
            Format::PanOs => "pan-os",
            Format::FortiGate => "fortigate",
            Format::Argus => "argus",
            Format::Conntrack => "conntrack",
            Format::NetFlow => "netflow",
            Format::IscDhcpd => "isc-dhcpd",
            Format::Kea => "kea",
            Format::WindowsDhcp => "windows-dhcp",
            Format::AddressMap => "address-map",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
        }
    }

    /// What a person means by a name: a format, a family of carriers, or `auto`. Case and `_` do not matter.
    pub fn from_name(name: &str) -> Option<Wanted> {
        let name = name.trim().to_ascii_lowercase().replace('_', "-");
        Some(match name.as_str() {
            "auto" | "detect" => Wanted::Detect,
            "zeek" | "zeek-conn" | "zeek-conn-log" | "conn" | "conn.log" | "bro" | "corelight" => {
                Wanted::Family(Family::Zeek)
            }
            "zeek-tsv" | "zeek-conn-tsv" | "zeek-ascii" => Wanted::Exactly(Format::ZeekTsv),
            "zeek-json" | "zeek-conn-json" | "zeek-ndjson" | "corelight-json" => {
                Wanted::Exactly(Format::ZeekJson)
            }
            "mde" | "defender" | "devicenetworkevents" | "device-network-events" => {
                Wanted::Family(Family::Mde)
            }
            "mde-json" | "mde-ndjson" | "mde-jsonl" | "mde-eventhub" | "mde-event-hubs" | "mde-storage"
            | "mde-hunting" => Wanted::Exactly(Format::Mde),
            "mde-csv" | "mde-hunting-csv" => Wanted::Exactly(Format::MdeCsv),
            "sysmon" => Wanted::Family(Family::Sysmon),
            "sysmon-json" | "sysmon-ndjson" | "winlogbeat" | "nxlog" => Wanted::Exactly(Format::Sysmon),
            "sysmon-xml" | "xmlwineventlog" | "windows-event-xml" => Wanted::Exactly(Format::SysmonXml),
            "suricata" | "eve" | "eve-json" | "eve.json" => Wanted::Exactly(Format::Suricata),
            "ecs" | "elastic" | "elastic-defend" | "packetbeat" | "auditbeat" => Wanted::Exactly(Format::Ecs),
            "ocsf" | "ocsf-4001" | "security-lake" => Wanted::Exactly(Format::Ocsf),
            "crowdstrike" | "falcon" | "fdr" => Wanted::Exactly(Format::CrowdStrike),
            "sentinelone" | "sentinel-one" | "cloud-funnel" => Wanted::Exactly(Format::SentinelOne),
            "carbon-black" | "carbonblack" | "cbc" | "cb-edr" => Wanted::Exactly(Format::CarbonBlack),
            "osquery" => Wanted::Exactly(Format::Osquery),
            "azure-flow" | "azure-vnet" | "azure-nsg" | "vnet-flow" | "nsg-flow" => {
                Wanted::Exactly(Format::AzureFlow)
            }
            "azure-analytics" | "azurenetworkanalytics-cl" | "network-analytics" => {
                Wanted::Exactly(Format::AzureAnalytics)
            }
            "aws-vpc" | "vpc" | "vpc-flow" | "vpcflow" | "aws-vpc-flow" => Wanted::Exactly(Format::AwsVpc),
            "pan-os" | "panos" | "palo-alto" | "paloalto" => Wanted::Exactly(Format::PanOs),
            "fortigate" | "fortinet" | "fortios" => Wanted::Exactly(Format::FortiGate),
            "argus" | "binetflow" => Wanted::Exactly(Format::Argus),
            "conntrack" | "nf-conntrack" | "netfilter" => Wanted::Exactly(Format::Conntrack),
            "netflow" | "ipfix" | "netflow-v5" | "netflow-v9" | "netflow5" | "netflow9" | "cflow"
            | "netstream" | "jflow" => Wanted::Exactly(Format::NetFlow),
            "isc-dhcpd" | "isc-dhcp" | "dhcpd" | "dhcpd.leases" => Wanted::Exactly(Format::IscDhcpd),
            "kea" | "kea-leases" | "kea-dhcp" => Wanted::Exactly(Format::Kea),
            "windows-dhcp" | "dhcpsrvlog" | "microsoft-dhcp" => Wanted::Exactly(Format::WindowsDhcp),
            "address-map" | "addresses" => Wanted::Exactly(Format::AddressMap),
            "ndjson" | "json" | "jsonl" | "json-lines" | "generic-ndjson" | "generic-json" => {
                Wanted::Exactly(Format::Ndjson)
            }
            "csv" | "generic-csv" => Wanted::Exactly(Format::Csv),
            _ => return None,
        })
    }
}

/// What a person wants to know of a format before its records come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    /// Whose records, in which carrier.
    pub log: &'static str,
    /// By what a device is known.
    pub device: &'static str,
    /// Which records are sightings.
    pub counts: &'static str,
}

impl Format {
    /// What it is, in words.
    pub const fn about(self) -> About {
        let (log, device, counts) = match self {
            Format::ZeekTsv => {
                ("Zeek conn.log and dhcp.log, tab-separated", "originator's address", ESTABLISHED)
            }
            Format::ZeekJson => {
                ("Zeek conn.log and dhcp.log as JSON, Corelight", "originator's address", ESTABLISHED)
            }
            Format::Mde => (
                "Defender DeviceNetworkEvents and DeviceInfo: storage, Event Hubs, hunting",
                "DeviceId, DeviceName",
                DEFENDER,
            ),
            Format::MdeCsv => ("Defender hunting export as CSV", "DeviceId, DeviceName", DEFENDER),
            Format::Sysmon => {
                ("Sysmon event 3 as JSON: Winlogbeat, ECS, NXLog, flat", "computer name", SYSMON)
            }
            Format::SysmonXml => ("Sysmon event 3 as Windows Event XML, Splunk", "computer name", SYSMON),
            Format::Suricata => {
                ("Suricata eve.json", "source address", "flows that were answered and not dropped")
            }
            Format::Ecs => (
                "ECS network documents: Elastic Defend, Packetbeat, Auditbeat",
                "host.id, host.name; Packetbeat: source address",
                "events that start a connection outwards",
            ),
            Format::Ocsf => (
                "OCSF Network Activity (4001) as JSON",
                "device.uid, endpoint's uid, host name or address",
                "open, traffic, close and reset outwards, not denied",
            ),
            Format::CrowdStrike => ("CrowdStrike Falcon Data Replicator", "aid", "NetworkConnectIP4 and IP6"),
            Format::SentinelOne => {
                ("SentinelOne Cloud Funnel", "agent.uuid", "IP Connect, outgoing, success")
            }
            Format::CarbonBlack => (
                "Carbon Black: Cloud forwarder, EDR event forwarder",
                "device_id, sensor_id",
                "netconn outwards, created or established",
            ),
            Format::Osquery => {
                ("osquery socket events", "hostIdentifier", "connect that succeeded or goes on")
            }
            Format::AzureFlow => (
                "Azure virtual network (v4) and NSG (v2) flow logs",
                "interface or machine, MAC, source address",
                "outward tuples that were allowed",
            ),
            Format::AzureAnalytics => (
                "Azure Network Analytics rows as CSV",
                "VMName",
                "outward rows with allowed flows, each of AllExtIPs",
            ),
            Format::AwsVpc => (
                "AWS VPC flow logs as text, versions 2 to 5",
                "instance, interface or source address",
                "accepted outward flows",
            ),
            Format::PanOs => (
                "PAN-OS traffic: CSV, CEF, LEEF, syslog",
                "GlobalProtect Host ID, name, MAC, address",
                "allowed sessions from ours",
            ),
            Format::FortiGate => (
                "FortiGate traffic: key=value, CEF, syslog",
                "FortiClient id, source name, address",
                "sessions from ours that were not denied",
            ),
            Format::Argus => ("Argus flows as CSV (binetflow)", "source address", "two-way flows from ours"),
            Format::Conntrack => (
                "Linux connection tracking: conntrack -E -o timestamp, syslog",
                "source address before translation",
                "connections from ours that were established or answered",
            ),
            Format::NetFlow => (
                "NetFlow 5 and 9, IPFIX: datagrams one behind the other",
                "source address before translation",
                "flows from ours that were not denied; nothing tells who opened",
            ),
            Format::IscDhcpd => ("ISC dhcpd.leases", "MAC, client-hostname", REGISTRY),
            Format::Kea => ("Kea lease files as CSV, IPv4 and IPv6", "hwaddr, hostname", REGISTRY),
            Format::WindowsDhcp => ("Windows DHCP server audit log", "MAC Address, Host Name", REGISTRY),
            Format::AddressMap => ("a map of addresses: address,host,from,until", "host", REGISTRY),
            Format::Ndjson => ("any JSON lines, by a column map", "as mapped", "as mapped"),
            Format::Csv => ("any CSV, by a column map", "as mapped", "as mapped"),
        };
        About { log, device, counts }
    }
}

const ESTABLISHED: &str = "connections from ours that were established";
const DEFENDER: &str = "ConnectionSuccess, -Request, -Found and success reports";
const REGISTRY: &str = "none: leases, by which addresses become devices";
const SYSMON: &str = "Initiated true";

/// What the operator asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wanted {
    /// Whatever the first bytes say.
    #[default]
    Detect,
    /// One meaning, in whichever of its carriers the first bytes show.
    Family(Family),
    /// This one, whatever the bytes look like.
    Exactly(Format),
}

/// A meaning that comes in more than one carrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Zeek conn.log: TSV or JSON.
    Zeek,
    /// Defender `DeviceNetworkEvents`: JSON or CSV.
    Mde,
    /// Sysmon event 3: JSON or XML.
    Sysmon,
}

impl Family {
    /// The one of its formats whose records are objects of JSON.
    pub(crate) const fn of_objects(self) -> Format {
        match self {
            Family::Zeek => Format::ZeekJson,
            Family::Mde => Format::Mde,
            Family::Sysmon => Format::Sysmon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_formats() {
        for format in Format::ALL {
            let wanted = Format::from_name(format.name());
            let expected = match format {
                Format::Mde => Wanted::Family(Family::Mde),
                Format::Sysmon => Wanted::Family(Family::Sysmon),
                format => Wanted::Exactly(format),
            };
            assert_eq!(wanted, Some(expected), "{format:?}");
        }
        assert_eq!(Format::from_name("Zeek"), Some(Wanted::Family(Family::Zeek)));
        assert_eq!(Format::from_name("DeviceNetworkEvents"), Some(Wanted::Family(Family::Mde)));
        assert_eq!(Format::from_name("generic_csv"), Some(Wanted::Exactly(Format::Csv)));
        assert_eq!(Format::from_name("auto"), Some(Wanted::Detect));
        assert_eq!(Format::from_name("pcap"), None);
    }
}
