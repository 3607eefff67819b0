//! What makes a connection a sighting once its record has been read, whatever the format: in this order, whether it was opened,
//! where to, when, by whom. Refuses to hold: keys, columns and the words of any format.

use sighting::{Address, IdentityKind, Mention, Second};

use crate::record::{Fault, Ignored, Mentions, Opened, Passed, Refusal, Reporter, Sink};
use crate::settings::Settings;

/// One connection, as far as its record could be read: what is wrong with a part is told only if the part is needed.
pub(crate) struct Connection<'a> {
    pub(crate) second: Result<Second, Fault>,
    pub(crate) device: Result<Mentions<'a>, Fault>,
    /// The remote address as written, if there is one, and the field that holds it.
    pub(crate) remote: (Option<&'a str>, &'static str),
    /// Why it is none that a device of ours opened.
    pub(crate) why_not: Option<Ignored>,
}

impl Connection<'_> {
    /// Tells the sink what the connection is.
    pub(crate) fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        if let Some(why) = self.why_not {
            self.ignore(why, line, sink);
            return Ok(());
        }
        let (written, field) = self.remote;
        let Some(written) = written else {
            self.ignore(Ignored::NoRemote, line, sink);
            return Ok(());
        };
        let remote =
            Address::parse_logged(written.as_bytes()).ok_or(Fault::of(Refusal::BadAddress, field))?;
        let (second, device) = (self.second?, self.device?);
        if !settings.keep_special_remotes && remote.special().is_some() {
            self.ignore(Ignored::Special, line, sink);
            return Ok(());
        }
        sink.opened(&Opened { second, remote, device, tenant: None, line });
        Ok(())
    }

    fn ignore(&self, why: Ignored, line: u64, sink: &mut impl Sink) {
        // Whoever is not ours does not report.
        let reporter = match (self.second, self.device) {
            (Ok(second), Ok(device)) if why != Ignored::NotLocal => Some(Reporter { second, device }),
            _ => None,
        };
        sink.ignored(&Passed { why, reporter, tenant: None, line });
    }
}

/// The device of a sensor that names it by its address, and why it is none of ours if so. `says_local` is what the record itself
/// says of it, if it says anything.
pub(crate) fn by_address<'a>(
    written: Option<&'a str>,
    field: &'static str,
    says_local: Option<bool>,
    settings: &Settings,
) -> (Result<Mentions<'a>, Fault>, Option<Ignored>) {
    let Some(written) = written else { return (Err(Fault::of(Refusal::NoDevice, field)), None) };
    let Some(address) = Address::parse_logged(written.as_bytes()) else {
        return (Err(Fault::of(Refusal::BadAddress, field)), None);
    };
    let device = Mentions::one(Mention { kind: IdentityKind::Address, written });
    let is_ours = settings.local_networks.is_local(address, says_local);
    (Ok(device), (!is_ours).then_some(Ignored::NotLocal))
}
