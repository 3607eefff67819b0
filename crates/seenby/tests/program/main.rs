//! The real binary, end to end: what is typed, what is printed, how it ends, what is there afterwards. Each test has
//! a folder of its own; nothing sleeps, servers are waited for by their first line. Refuses to hold: tests of parts.

mod bad_input;
mod bodies;
mod brokers;
mod buckets;
mod commands;
mod demo;
mod durability;
mod endpoints;
mod feeds;
mod flows;
mod folders;
mod following;
mod hostile_bodies;
mod hostile_names;
mod issuers;
mod keys;
mod killed;
mod limits;
mod people;
mod receive;
mod registry;
mod right_number;
mod roles;
mod samples;
mod served;
mod starting;
mod support;
mod syslog;
mod tls;
mod told;
mod typed;
mod wrong_command_lines;
