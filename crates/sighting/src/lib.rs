//! The vocabulary of seenby: what a sighting is, who a device is, what a question asks and what an answer says.
//!
//! Holds: plain types whose invariants are in their constructors, the two traits every maker implements
//! ([`Store`] and [`Directory`]), and their models over `BTreeMap`s, which are the oracles of every later test.
//!
//! Refuses to hold: I/O, a clock (`now` is always an argument), randomness, serde, anything of HTTP, of a log
//! format or of the data folder. Whoever puts a value on a wire or a disk owns that encoding.

mod address;
mod application;
mod batch;
mod change;
mod directory;
mod grants;
mod hex;
mod identity;
pub mod model;
mod organisation;
mod question;
mod registry;
mod role;
mod source;
mod store;
mod ticket;
mod time;
mod user;

pub use address::{Address, AddressError, LocalNetworks, Network, Special};
pub use application::{
    Application, ApplicationId, CallLimit, CallLimits, Certificate, Permission, RedirectUri, Secret, SignIn,
    SignInChange,
};
pub use batch::{Batch, BatchSighting, Carrier, Grouped, Lease, Numbering, Offset, ProductMerge, SourceName};
pub use change::{Change, ChangeError};
pub use directory::{Actor, AuditEntry, Book, Directory, DirectoryError, PrivateKey, SigningKey};
pub use grants::{Extent, GrantPage, Granted};
pub use hex::hex;
pub use identity::{Identity, IdentityKind, Mention, NAME_BYTES_MAX, escape};
pub use organisation::{Organisation, OrganisationId, RETENTION_DEFAULT, Retention};
pub use question::{Answer, Bound, FirstSeen, Question, Questions, Stats};
pub use registry::{
    DeviceEntry, DeviceKey, HeldLease, Label, NetworkKind, RegistryChange, RegistrySettings, TagChange,
};
pub use role::{Issuer, Member, MemberId, MemberKind, Role, RoleId, RolePermission};
pub use source::{ReadAs, Source, SourceBounds, SourceId};
pub use store::{Coverage, Receipt, Retained, Store, StoreError};
pub use ticket::{Ticket, TicketKey, TicketKind};
pub use time::{Day, SECONDS_PER_DAY, SECONDS_PER_HOUR, Second, Window};
pub use user::{PasswordHash, User, UserId};
pub use uuid::Uuid;
