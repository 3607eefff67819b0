//! How a command works on a folder that a running server holds: every method of `Store` and `Directory`, and what only a
//! running server knows or makes (how applications stand with their limits, signing keys), carried over a Unix socket in the
//! data folder. Refuses to hold: TCP (other machines use the HTTP API) and any decision; the server does what its own store
//! and directory would do.
//!
//! A frame is a length (u32, little endian) and that many bytes. A request's first byte is its operation: `0` says
//! hello, `1` appends a batch in the journal's encoding, `2` is a [`wire::Request`] in JSON. Every reply is a
//! [`wire::Reply`] in JSON. One request at a time per connection; the caller opens as many as it has threads.

mod client;
mod server;
mod socket;
mod wire;
mod wire_book;
mod wire_sign_in;
mod wire_source;

pub(crate) use client::{ConnectError, Remote};
pub(crate) use server::{Listening, Served, actor, serve};

/// Says which version of this protocol the caller speaks; both sides are normally the same program.
const OPERATION_HELLO: u8 = 0;
/// Appends a batch.
const OPERATION_APPEND: u8 = 1;
/// Anything else, as JSON.
const OPERATION_REQUEST: u8 = 2;

/// Changes whenever a frame's meaning does.
const PROTOCOL_VERSION: u32 = 8;

/// The longest frame, in bytes. The largest is a batch of 262,144 records: about 20 MB with long names.
const FRAME_BYTES_MAX: u32 = 256 << 20;
