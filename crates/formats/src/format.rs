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
    /// JSON records with named keys for time, device and address.
    Ndjson,
    /// CSV with named columns for time, device and address.
    Csv,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 7] = [
        Format::ZeekTsv,
        Format::ZeekJson,
        Format::Mde,
        Format::MdeCsv,
        Format::Sysmon,
        Format::Ndjson,
        Format::Csv,
    ];

    /// Its name on the command line, in settings and metrics; also the default name of a source.
    pub const fn name(self) -> &'static str {
        match self {
            Format::ZeekTsv => "zeek-tsv",
            Format::ZeekJson => "zeek-json",
            Format::Mde => "mde",
            Format::MdeCsv => "mde-csv",
            Format::Sysmon => "sysmon",
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
            "sysmon" | "sysmon-json" | "sysmon-ndjson" | "winlogbeat" | "nxlog" => {
                Wanted::Exactly(Format::Sysmon)
            }
            "ndjson" | "json" | "jsonl" | "json-lines" | "generic-ndjson" | "generic-json" => {
                Wanted::Exactly(Format::Ndjson)
            }
            "csv" | "generic-csv" => Wanted::Exactly(Format::Csv),
            _ => return None,
        })
    }
}

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_formats() {
        for format in Format::ALL {
            let wanted = Format::from_name(format.name());
            let family = Wanted::Family(Family::Mde);
            assert!(
                wanted == Some(Wanted::Exactly(format)) || (format == Format::Mde && wanted == Some(family)),
                "{format:?}"
            );
        }
        assert_eq!(Format::from_name("Zeek"), Some(Wanted::Family(Family::Zeek)));
        assert_eq!(Format::from_name("DeviceNetworkEvents"), Some(Wanted::Family(Family::Mde)));
        assert_eq!(Format::from_name("generic_csv"), Some(Wanted::Exactly(Format::Csv)));
        assert_eq!(Format::from_name("auto"), Some(Wanted::Detect));
        assert_eq!(Format::from_name("pcap"), None);
    }
}
