//! Which field of a record decides that it is no sighting: for whoever connects a feed and asks why something does not count. Decoders
//! say why (`Ignored`) and go on; saying where too would cost every record of a kind that nobody looks at. Refuses to hold: the
//! decisions themselves, which are each format's.

use crate::format::Format;
use crate::record::Ignored;

impl Format {
    /// The field, as the format calls it, that decides that a record is ignored for this reason; several where they decide together.
    /// None where the whole line does (a blank one, a header), and for what the registry learns.
    pub const fn decided_by(self, why: Ignored) -> Option<&'static str> {
        if matches!(why, Ignored::Header | Ignored::Blank | Ignored::Registry) {
            return None;
        }
        match self {
            Format::MdeCsv if matches!(why, Ignored::OtherEvent) => Some("DeviceId"),
            Format::Mde | Format::MdeCsv => mde(why),
            Format::ZeekTsv if matches!(why, Ignored::OtherEvent) => Some("#path"),
            Format::ZeekTsv | Format::ZeekJson => zeek(why),
            Format::Sysmon | Format::SysmonXml => sysmon(why),
            Format::Suricata => suricata(why),
            Format::Ecs => ecs(why),
            Format::Ocsf => ocsf(why),
            Format::CrowdStrike => crowdstrike(why),
            Format::SentinelOne => sentinel_one(why),
            Format::CarbonBlack => carbon_black(why),
            Format::Osquery => osquery(why),
            Format::AzureFlow => azure_flow(why),
            Format::AzureAnalytics => azure_analytics(why),
            Format::AwsVpc => aws_vpc(why),
            Format::PanOs => pan_os(why),
            Format::FortiGate => fortigate(why),
            Format::Argus => argus(why),
            Format::Conntrack => conntrack(why),
            Format::NetFlow => netflow(why),
            Format::IscDhcpd => Some("binding state"),
            Format::Kea => Some("state"),
            Format::WindowsDhcp => Some("ID"),
            Format::AddressMap => Some("host"),
            Format::Ndjson | Format::Csv => match why {
                Ignored::Special | Ignored::NoRemote => Some("ip"),
                _ => Some("action"),
            },
        }
    }
}

type Field = Option<&'static str>;

const fn mde(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "category",
        Ignored::Special | Ignored::NoRemote => "RemoteIP",
        _ => "ActionType",
    })
}

const fn zeek(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "_path",
        Ignored::OtherAction => "msg_types",
        Ignored::NotLocal => "id.orig_h, local_orig",
        Ignored::Icmp => "proto",
        Ignored::Special | Ignored::NoRemote => "id.resp_h",
        _ => "conn_state",
    })
}

const fn sysmon(why: Ignored) -> Field {
    Some(match why {
        Ignored::Inbound => "Initiated",
        Ignored::Special | Ignored::NoRemote => "DestinationIp",
        _ => "EventID",
    })
}

const fn suricata(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "event_type",
        Ignored::NotLocal => "src_ip",
        Ignored::Icmp => "proto",
        Ignored::Special | Ignored::NoRemote => "dest_ip",
        _ => "flow.action, flow.pkts_toclient, tcp",
    })
}

const fn ecs(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "event.dataset, event.category, event.action",
        Ignored::OtherAction | Ignored::Attempt => "event.action, event.type",
        Ignored::Failed => "event.outcome, event.type, destination.packets",
        Ignored::Icmp => "network.transport",
        Ignored::Special | Ignored::NoRemote => "destination.ip",
        Ignored::NotLocal => "network.direction, source.ip",
        _ => "network.direction, event.action",
    })
}

const fn ocsf(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "class_uid",
        Ignored::OtherAction | Ignored::Listening => "activity_id",
        Ignored::Failed => "activity_id, status_id, disposition_id, action_id",
        Ignored::Icmp => "connection_info.protocol_num",
        Ignored::NotLocal => "src_endpoint.ip",
        Ignored::Special | Ignored::NoRemote => "dst_endpoint.ip",
        _ => "connection_info.direction_id",
    })
}

const fn crowdstrike(why: Ignored) -> Field {
    Some(match why {
        Ignored::Icmp => "Protocol",
        Ignored::Special | Ignored::NoRemote => "RemoteAddressIP4, RemoteAddressIP6",
        _ => "event_simpleName",
    })
}

const fn sentinel_one(why: Ignored) -> Field {
    Some(match why {
        Ignored::Inbound | Ignored::Midstream => "event.network.direction",
        Ignored::Failed | Ignored::Attempt => "event.network.connectionStatus",
        Ignored::Special | Ignored::NoRemote => "dst.ip.address",
        _ => "event.type",
    })
}

const fn carbon_black(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "type",
        Ignored::Inbound | Ignored::Midstream => "netconn_inbound, direction",
        Ignored::Icmp => "netconn_protocol, protocol",
        Ignored::Special | Ignored::NoRemote => "remote_ip",
        _ => "action",
    })
}

const fn osquery(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "name",
        Ignored::Failed => "columns.status",
        Ignored::Icmp => "columns.protocol",
        Ignored::Special | Ignored::NoRemote => "columns.remote_address",
        _ => "columns.action",
    })
}

const fn azure_flow(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "category",
        Ignored::NotLocal => "flowTuples.1",
        Ignored::Special => "flowTuples.2",
        Ignored::Icmp => "flowTuples.5",
        Ignored::Inbound => "flowTuples.6",
        Ignored::Failed => "flowTuples.7",
        _ => "flowTuples",
    })
}

const fn azure_analytics(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "SubType",
        Ignored::Failed => "AllowedOutFlows",
        Ignored::Special | Ignored::NoRemote => "AllExtIPs",
        _ => "FlowDirection",
    })
}

const fn aws_vpc(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "log-status",
        Ignored::Failed | Ignored::OtherAction => "action",
        Ignored::Icmp => "protocol",
        Ignored::NotLocal => "srcaddr",
        Ignored::Special | Ignored::NoRemote => "dstaddr",
        _ => "flow-direction, tcp-flags, srcport, dstport",
    })
}

const fn pan_os(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "Type",
        Ignored::Icmp => "Protocol",
        Ignored::NotLocal => "Source address",
        Ignored::Special | Ignored::NoRemote => "Destination address",
        _ => "Action, Subtype",
    })
}

const fn fortigate(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "type",
        Ignored::Icmp => "proto",
        Ignored::NotLocal => "srcip",
        Ignored::Special | Ignored::NoRemote => "dstip",
        _ => "action",
    })
}

const fn argus(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent | Ignored::Icmp => "Proto",
        Ignored::NotLocal => "SrcAddr",
        Ignored::Special | Ignored::NoRemote => "DstAddr",
        _ => "Dir, State",
    })
}

const fn conntrack(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent | Ignored::Icmp => "protocol",
        Ignored::NotLocal => "src",
        Ignored::Special | Ignored::NoRemote => "dst",
        _ => "[NEW], [UPDATE], [DESTROY], state, [UNREPLIED], [ASSURED]",
    })
}

const fn netflow(why: Ignored) -> Field {
    Some(match why {
        Ignored::OtherEvent => "flowSet, firewallEvent",
        Ignored::Failed => "firewallEvent, forwardingStatus",
        Ignored::Inbound => "biflowDirection",
        Ignored::Icmp => "protocolIdentifier",
        Ignored::Special | Ignored::NoRemote => "destinationIPv4Address, destinationIPv6Address",
        _ => "sourceIPv4Address, sourceIPv6Address",
    })
}
