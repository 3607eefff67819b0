//! What datagram listeners have in common: room for what comes while nobody reads, and what the system had no room for. Refuses to
//! hold: sockets themselves, and what is in a datagram.

use std::net::SocketAddr;
use std::os::fd::AsFd;

/// The longest datagram there is.
pub(super) const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// What the system keeps of datagrams while nobody reads; it gives as much as its limit (net.core.rmem_max) allows.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// Asks the system for room. Less room loses more, and is counted.
pub(super) fn make_room(socket: impl AsFd) {
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER_BYTES);
}

/// Datagrams for a port that the system had no room for, as far as it tells (Linux, in the last column of these tables).
pub(super) fn dropped(address: SocketAddr) -> u64 {
    let table = if address.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    let Ok(text) = std::fs::read_to_string(table) else { return 0 };
    let port = format!(":{:04X}", address.port());
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let is_ours = words.nth(1)?.ends_with(&port);
        words.next_back().filter(|_| is_ours)?.parse::<u64>().ok()
    };
    text.lines().filter_map(of_line).sum()
}
