//! The HTTP room as its callers meet it, in one program: linking the room into one for each file took minutes. Each module says what it
//! asks and what it refuses to hold; `common` is what they share.

mod admin;
mod assertions;
mod attacks;
mod common;
mod contract;
mod documents;
mod endpoints;
mod issuer;
mod limits;
mod listeners;
mod log;
mod neighbour;
mod outage;
mod outside;
mod people;
mod receive;
mod service;
mod socket;
mod tls;
mod tokens;
mod upkeep;
mod wire;
