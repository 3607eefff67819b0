//! What must be remembered for a while over a restart: that an assertion was used, a code that waits to be redeemed, a
//! refresh token, the keys of an outside issuer. Refuses to hold: what any of them says (the issuer's own bytes) and the thing
//! itself: it is known by its SHA-256.

use crate::Second;

/// What a ticket is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TicketKind {
    /// A used assertion of an application.
    Assertion,
    /// An authorization code.
    Code,
    /// A device code, known by what the device holds.
    DeviceCode,
    /// The same, known by what a person types.
    UserCode,
    /// A refresh token.
    RefreshToken,
    /// Everything that came of one sign-in, so that it can end at once.
    Session,
    /// The keys of an outside issuer, known by its name.
    IssuerKeys,
}

impl TicketKind {
    /// Every kind.
    pub const ALL: [TicketKind; 7] = [
        TicketKind::Assertion,
        TicketKind::Code,
        TicketKind::DeviceCode,
        TicketKind::UserCode,
        TicketKind::RefreshToken,
        TicketKind::Session,
        TicketKind::IssuerKeys,
    ];

    /// Its name where it is kept.
    pub const fn name(self) -> &'static str {
        match self {
            TicketKind::Assertion => "assertion",
            TicketKind::Code => "code",
            TicketKind::DeviceCode => "device-code",
            TicketKind::UserCode => "user-code",
            TicketKind::RefreshToken => "refresh-token",
            TicketKind::Session => "session",
            TicketKind::IssuerKeys => "issuer-keys",
        }
    }
}

/// Which ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TicketKey {
    /// What it is of.
    pub kind: TicketKind,
    /// SHA-256 of the thing.
    pub sha256: [u8; 32],
}

/// One ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The last second at which it is there.
    pub expires_at: Second,
    /// What its issuer wrote down.
    pub content: Vec<u8>,
}
