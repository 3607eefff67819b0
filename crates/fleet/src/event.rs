//! One connection as a sensor saw it, before it is text. Refuses to hold: names and ports (they follow from
//! the device's number and from the event's own noise when a line is written), so that an event is 56 bytes.

use sighting::{Address, Identity, Second};

use crate::{DeviceNumber, Sensor, mde, zeek};

/// What happened between a device and a remote address. Only [`Kind::Opened`] counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The device opened a connection.
    Opened,
    /// It tried and failed.
    Failed,
    /// The remote opened a connection to the device, or tried.
    Inbound,
    /// Something else: a socket that listens, an inspected packet, a multicast, a flow without its beginning.
    /// The remote may be special or unspecified.
    Other,
}

/// Whether the line was there before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Delivery {
    /// The first time.
    First,
    /// The same bytes once more, later.
    Again,
}

/// One line of telemetry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// The remote address.
    pub remote: Address,
    /// When the connection was opened.
    pub second: Second,
    /// Microseconds into that second.
    pub micros: u32,
    /// Our device.
    pub device: DeviceNumber,
    /// Who reports it.
    pub sensor: Sensor,
    /// What happened.
    pub kind: Kind,
    /// Whether the line was there before.
    pub delivery: Delivery,
    /// [`crate::Settings::mde_row_bytes`].
    pub(crate) row_bytes: u16,
    /// Microseconds from the connection to its line's first arrival.
    pub(crate) lag_micros: u64,
    /// Decides ports, process, outcome and everything else of the line that nobody counts.
    pub(crate) noise: u64,
}

impl Event {
    /// The identity under which a store keeps it: the agent id by MDE, the device's address of the remote's
    /// family by Zeek.
    pub fn identity(&self) -> Identity {
        self.device.identity(self.sensor, self.remote)
    }

    /// The same identity as a number, dense and different for different identities of one fleet.
    pub fn identity_number(&self) -> u32 {
        self.device.0 * 2 + u32::from(self.sensor == Sensor::Zeek && !self.remote.is_v4())
    }

    /// When its line first arrived.
    pub fn received(&self) -> Second {
        self.second.plus((u64::from(self.micros) + self.lag_micros) / 1_000_000)
    }

    /// Appends its line as its own sensor writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.sensor {
            Sensor::Mde => self.write_mde(out),
            Sensor::Zeek => self.write_zeek(out),
        }
    }

    /// Appends one line of MDE storage NDJSON, with the CRLF that Azure ends it with.
    pub fn write_mde(&self, out: &mut Vec<u8>) {
        mde::write(self, out);
    }

    /// Appends one row of a Zeek `conn.log`; [`crate::zeek_header`] names its columns.
    pub fn write_zeek(&self, out: &mut Vec<u8>) {
        zeek::write(self, out);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_event_is_small() {
        assert_eq!(size_of::<super::Event>(), 56);
    }
}
