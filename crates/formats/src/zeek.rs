//! What makes a Zeek connection a sighting, whatever carries it: the originator is ours and the connection was
//! established. Refuses to hold: columns and keys (`zeek_tsv`, `zeek_json`).
//!
//! The device is known by its address. Behind a router the hardware address of the originator (`orig_l2_addr`) is the router's, and
//! nothing in a record tells: it is handed on only in networks of which the operator says that it is the device's.

use sighting::{Address, Second};

use crate::record::{Fault, Ignored, Mentions, Opened, Passed, Refusal, Reporter, Sink};
use crate::settings::Settings;

/// One connection, its fields as text; `None` is unset.
pub(crate) struct Connection<'a> {
    pub(crate) second: Result<Second, Fault>,
    pub(crate) originator: Option<&'a str>,
    pub(crate) responder: Option<&'a str>,
    pub(crate) state: Option<&'a str>,
    pub(crate) protocol: Option<&'a str>,
    /// Whether the sensor says that the originator is local.
    pub(crate) local: Option<bool>,
    /// The originator's hardware address, as the sensor saw it.
    pub(crate) mac: Option<&'a str>,
}

/// Whether a log of this name holds connections. The variants hold the same connections before they end, under the
/// same start, so that reading them too changes nothing.
pub(crate) fn is_connection_log(path: &str) -> bool {
    matches!(path, "conn" | "conn_long" | "conn_red" | "open_conn")
}

impl<'a> Connection<'a> {
    /// Tells the sink what the connection is.
    #[inline]
    pub(crate) fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let written = self.originator.ok_or(Fault::of(Refusal::NoDevice, "id.orig_h"))?;
        let originator = address(written, "id.orig_h")?;
        if !settings.local_networks.is_local(originator, self.local) {
            sink.ignored(&Passed::by_nobody(Ignored::NotLocal, line));
            return Ok(());
        }
        let device = settings.originator((originator, written), self.mac);
        if let Some(why) = self.not_established()? {
            self.ignore(why, device, line, sink);
            return Ok(());
        }
        let Some(responder) = self.responder else {
            self.ignore(Ignored::NoRemote, device, line, sink);
            return Ok(());
        };
        let remote = address(responder, "id.resp_h")?;
        let second = self.second?;
        if !settings.keep_special_remotes && remote.special().is_some() {
            self.ignore(Ignored::Special, device, line, sink);
            return Ok(());
        }
        sink.opened(&Opened { second, remote, device, tenant: None, line });
        Ok(())
    }

    /// Why the connection is none that was opened.
    #[inline]
    fn not_established(&self) -> Result<Option<Ignored>, Fault> {
        if self.protocol == Some("icmp") {
            return Ok(Some(Ignored::Icmp));
        }
        Ok(match self.state {
            Some("SF" | "S1" | "S2" | "S3" | "RSTO" | "RSTR") => None,
            Some("S0" | "REJ" | "RSTOS0" | "SH") => Some(Ignored::Failed),
            Some(_) => Some(Ignored::Midstream),
            None => return Err(Fault::of(Refusal::MissingField, "conn_state")),
        })
    }

    fn ignore(&self, why: Ignored, device: Mentions<'a>, line: u64, sink: &mut impl Sink) {
        let reporter = self.second.ok().map(|second| Reporter { second, device });
        sink.ignored(&Passed { why, reporter, tenant: None, line });
    }
}

#[inline]
fn address(text: &str, field: &'static str) -> Result<Address, Fault> {
    Address::parse_logged(text.as_bytes()).ok_or(Fault::of(Refusal::BadAddress, field))
}
