//! Zeek conn.log and dhcp.log as JSON, one object a record, as Zeek, Corelight and shippers write it. Refuses to hold: the rules
//! (`zeek`, `zeek_dhcp`).
//!
//! ```text
//! {"ts":1930557662.345678,"uid":"CAbc123","id.orig_h":"10.1.2.3","id.orig_p":50001,"id.resp_h":"198.51.100.20",
//!  "id.resp_p":443,"proto":"tcp","conn_state":"SF","local_orig":true}
//! ```
//!
//! `ts` is epoch seconds or milliseconds or ISO 8601; the addresses may be `id_orig_h` or `id:{orig_h}`; `_path` and
//! `@stream` name the log. Source: Zeek's JSON writer and its `TS_*` settings; samples of five producers.

use sighting::Second;

use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::time::{Iso, epoch, iso};
use crate::zeek::{Connection, is_connection_log};
use crate::zeek_dhcp::{Conversation, Messages};

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    path: Value<'a>,
    ts: Value<'a>,
    originator: Value<'a>,
    responder: Value<'a>,
    protocol: Value<'a>,
    state: Value<'a>,
    local: Value<'a>,
    mac: Value<'a>,
    /// Once there is one: connections, which are nearly all, make no room for it.
    lease: Option<Box<LeaseValues<'a>>>,
}

/// The values of one record of dhcp.log.
#[derive(Default)]
struct LeaseValues<'a> {
    client: Value<'a>,
    mac: Value<'a>,
    host: Value<'a>,
    fqdn: Value<'a>,
    assigned: Value<'a>,
    seconds: Value<'a>,
    messages: Messages,
}

impl<'a> LeaseValues<'a> {
    fn are_escaped(&self) -> bool {
        let values = [self.client, self.mac, self.host, self.fqdn, self.assigned, self.seconds];
        values.iter().any(Value::is_escaped)
    }

    fn read_messages(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let value = scanner.value()?;
        if value != Value::Array {
            return Ok(scanner.leave(value)?);
        }
        let mut more = scanner.first_element()?;
        while more {
            self.messages.add(scanner.scalar()?.plain().unwrap_or_default());
            more = scanner.next_element()?;
        }
        Ok(())
    }
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner))?;
    if (has_escaped_keys || values.are_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    if values.is_lease() {
        return values.conversation().judge(line, sink);
    }
    if values.path.plain().is_some_and(|path| !is_connection_log(path)) {
        sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
        return Ok(());
    }
    values.connection().judge(line, settings, sink)
}

impl<'a> Values<'a> {
    #[inline]
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "ts" => self.ts = scanner.scalar()?,
                "id.orig_h" | "id_orig_h" => self.originator = scanner.scalar()?,
                "id.resp_h" | "id_resp_h" => self.responder = scanner.scalar()?,
                "proto" => self.protocol = scanner.scalar()?,
                "conn_state" => self.state = scanner.scalar()?,
                "local_orig" => self.local = scanner.scalar()?,
                "orig_l2_addr" => self.mac = scanner.scalar()?,
                "_path" | "@stream" => self.path = scanner.scalar()?,
                "id" => self.read_id(scanner)?,
                "client_addr" | "mac" | "host_name" | "client_fqdn" | "assigned_addr" | "assigned_ip"
                | "lease_time" | "msg_types" => self.read_lease(scanner, name)?,
                _ => scanner.skip()?,
            }
            key = scanner.next_key()?;
        }
        Ok(())
    }

    #[cold]
    fn read_lease(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Result<(), Fault> {
        let lease = self.lease.get_or_insert_default();
        match name {
            "client_addr" => lease.client = scanner.scalar()?,
            "mac" => lease.mac = scanner.scalar()?,
            "host_name" => lease.host = scanner.scalar()?,
            "client_fqdn" => lease.fqdn = scanner.scalar()?,
            "assigned_addr" | "assigned_ip" => lease.assigned = scanner.scalar()?,
            "lease_time" => lease.seconds = scanner.scalar()?,
            _ => lease.read_messages(scanner)?,
        }
        Ok(())
    }

    fn read_id(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let value = scanner.value()?;
        if value != Value::Object {
            return Ok(scanner.leave(value)?);
        }
        let mut key = scanner.first_key()?;
        while let Some(name) = key {
            match name {
                "orig_h" => self.originator = scanner.scalar()?,
                "resp_h" => self.responder = scanner.scalar()?,
                _ => scanner.skip()?,
            }
            key = scanner.next_key()?;
        }
        Ok(())
    }

    /// A record of dhcp.log, which says so or has its keys.
    fn is_lease(&self) -> bool {
        let names = |path: &str| path == "dhcp";
        match self.path.plain() {
            Some(path) => names(path),
            None => {
                let is_assigned = self.lease.as_ref().is_some_and(|lease| !lease.assigned.is_absent());
                is_assigned && self.originator.is_absent()
            }
        }
    }

    fn conversation(&self) -> Conversation<'a> {
        let nothing = LeaseValues::default();
        let lease = self.lease.as_deref().unwrap_or(&nothing);
        Conversation {
            second: self.second(),
            client: lease.client.plain(),
            mac: lease.mac.plain(),
            host: lease.host.plain(),
            fqdn: lease.fqdn.plain(),
            assigned: lease.assigned.plain(),
            lease_seconds: lease.seconds.plain(),
            messages: lease.messages,
        }
    }

    /// Whether a field that is compared as written was written with escapes.
    fn are_escaped(&self) -> bool {
        self.path.is_escaped()
            || self.ts.is_escaped()
            || self.originator.is_escaped()
            || self.responder.is_escaped()
            || self.protocol.is_escaped()
            || self.state.is_escaped()
            || self.mac.is_escaped()
            || self.lease.as_ref().is_some_and(|lease| lease.are_escaped())
    }

    fn second(&self) -> Result<Second, Fault> {
        let bad = Fault::of(Refusal::BadTime, "ts");
        match self.ts {
            ts if ts.is_absent() => Err(Fault::of(Refusal::NoTime, "ts")),
            Value::Number(number) => epoch(number).ok_or(bad),
            // ISO times of Zeek are UTC by its definition.
            Value::Text(raw) => iso(raw.text).map(Iso::utc).or_else(|| epoch(raw.text)).ok_or(bad),
            _ => Err(bad),
        }
    }

    fn connection(&self) -> Connection<'a> {
        Connection {
            second: self.second(),
            originator: self.originator.plain(),
            responder: self.responder.plain(),
            state: self.state.plain(),
            protocol: self.protocol.plain(),
            local: self.local.truth(),
            mac: self.mac.plain(),
        }
    }
}
