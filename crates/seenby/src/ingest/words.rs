//! What an operator writes of a source, on a command line or in the settings file: its format, its name, its time zone, its
//! columns. Refuses to hold: what is done with it.

use formats::{ColumnMap, FieldOrder, Format, VpcFields, Wanted};
use jiff::tz::TimeZone;
use sighting::{IdentityKind, SourceName, escape};

/// Every format, for a message.
pub(crate) fn format_names() -> String {
    Format::ALL.map(Format::name).join(", ")
}

/// A format, or a family of them.
pub(crate) fn format(text: &str) -> Result<Wanted, String> {
    Format::from_name(text).ok_or_else(|| format!("type one of: auto, zeek, {}", format_names()))
}

/// Under whose name sightings are kept.
pub(crate) fn source_name(text: &str) -> Result<SourceName, String> {
    SourceName::new(text).ok_or_else(|| "a name has 1 to 255 bytes and no control characters".to_owned())
}

/// Where clocks are.
pub(crate) fn time_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| "is no time zone; type a name such as Europe/Zurich, or UTC".to_owned())
}

/// `time=ts,device=host,ip=dst`.
pub(crate) fn columns(text: &str) -> Result<ColumnMap, String> {
    let mut columns = ColumnMap::default();
    for pair in text.split(',') {
        let (key, column) = pair
            .split_once('=')
            .map(|(key, column)| (key.trim(), column.trim()))
            .filter(|(_, column)| !column.is_empty())
            .ok_or_else(|| {
                format!("'{}' is not KEY=COLUMN; type time=ts,device=host,ip=dst", escape(pair))
            })?;
        set_column(&mut columns, key, column)?;
    }
    Ok(columns)
}

/// One key of the map.
pub(crate) fn set_column(columns: &mut ColumnMap, key: &str, column: &str) -> Result<(), String> {
    match key {
        "time" => columns.time = column.to_owned(),
        "device" => columns.device = column.to_owned(),
        "ip" => columns.ip = column.to_owned(),
        "agent_id" => columns.agent_id = column.to_owned(),
        "action" => columns.action = column.to_owned(),
        "opened" => columns.opened_actions = column.split('|').map(str::to_owned).collect(),
        "device_kind" => {
            let kind = IdentityKind::from_word(column);
            let words = IdentityKind::ALL.map(IdentityKind::word).join(", ");
            columns.device_kind = Some(kind.ok_or_else(|| format!("device_kind is one of: {words}"))?);
        }
        "pan_os" => {
            columns.pan_os = Some(FieldOrder::parse(column).map_err(|lacks| format!("pan_os: {lacks}"))?);
        }
        "aws_vpc" => {
            columns.aws_vpc = Some(VpcFields::parse(column).map_err(|lacks| format!("aws_vpc: {lacks}"))?);
        }
        _ => {
            return Err(format!(
                "'{}' is no key; the keys are time, device, ip, agent_id, action, opened, device_kind, pan_os and aws_vpc",
                escape(key)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_as_typed() {
        let map = columns("time=ts, device=host,ip=dst,opened=allow|permit,device_kind=mac").expect("sound");
        assert_eq!((map.time.as_str(), map.device.as_str(), map.ip.as_str()), ("ts", "host", "dst"));
        assert_eq!(map.opened_actions, ["allow", "permit"]);
        assert_eq!(map.device_kind, Some(IdentityKind::Mac));
        let order = FieldOrder::parse("receive_time|src|dst|action").expect("an order");
        assert_eq!(columns("pan_os=$receive_time|$src|$dst|$action").expect("sound").pan_os, Some(order));
        let fields = VpcFields::parse("srcaddr|dstaddr|start|action").expect("an order");
        let map = columns("aws_vpc=${srcaddr} ${dstaddr} ${start} ${action}").expect("sound");
        assert_eq!(map.aws_vpc, Some(fields));
        for (text, says) in [
            ("ts", "KEY=COLUMN"),
            ("time=", "KEY=COLUMN"),
            ("when=ts", "the keys are time"),
            ("device_kind=pc", "agent_id, fqdn"),
            ("pan_os=src|dst", "pan_os: there is no action"),
            ("aws_vpc=srcaddr|dstaddr|action", "aws_vpc: there is no start"),
            ("\u{1b}[31mred", "'\\u{1b}[31mred'"),
            ("\u{202e}=x", "'\\u{202e}' is no key"),
        ] {
            let error = columns(text).expect_err(text);
            assert!(error.contains(says), "{error:?} lacks {says:?}");
        }
    }
}
