//! The PROXY protocol, version 2: with which words a proxy that only passes bytes on tells who connected to it. Strict:
//! whoever is no trusted proxy, or sends anything else, is closed and counted. Refuses to hold: version 1 (text, of which
//! nobody can tell where it ends before it has ended), and what TLVs say.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, Protocol};
use sighting::{Address, Network};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Prefix, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
/// The most that may follow. Addresses take 36 bytes (of UNIX sockets 216); what proxies add about TLS and their own
/// network takes a few hundred.
const REST_BYTES_MAX: usize = 2_048;

/// Why a connection is closed before its first request, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProxyRefusal {
    /// The peer is not among the trusted proxies.
    Untrusted,
    /// Something else than a header of version 2.
    Malformed,
    /// A header longer than any that is known.
    Oversize,
    /// A header about something else than TCP.
    NotTcp,
    /// It took too long, or the peer went away.
    Incomplete,
}

impl ProxyRefusal {
    /// The metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            ProxyRefusal::Untrusted => "untrusted",
            ProxyRefusal::Malformed => "malformed",
            ProxyRefusal::Oversize => "oversize",
            ProxyRefusal::NotTcp => "not_tcp",
            ProxyRefusal::Incomplete => "incomplete",
        }
    }
}

/// Whether a peer is one of the proxies that are believed.
pub(crate) fn is_trusted(proxies: &[Network], peer: IpAddr) -> bool {
    let peer = Address::from(peer);
    proxies.iter().any(|proxy| proxy.contains(peer))
}

/// Reads the header and not one byte more; gives the peer that it names. A proxy that asks for itself (`LOCAL`: is this
/// server alive?) is its own peer.
pub(crate) async fn named_peer(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
    proxies: &[Network],
    within: Duration,
) -> Result<SocketAddr, ProxyRefusal> {
    if !is_trusted(proxies, peer.ip()) {
        return Err(ProxyRefusal::Untrusted);
    }
    let header = tokio::time::timeout(within, read(stream)).await.map_err(|_| ProxyRefusal::Incomplete)??;
    parse(&header, peer)
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ProxyRefusal> {
    let incomplete = |_: io::Error| ProxyRefusal::Incomplete;
    let mut header = Vec::with_capacity(FIXED_BYTES);
    // Byte by byte: what is no header at all is known by its first byte, however few there are.
    for expected in PROTOCOL_PREFIX {
        let byte = stream.read_u8().await.map_err(incomplete)?;
        if byte != *expected {
            return Err(ProxyRefusal::Malformed);
        }
        header.push(byte);
    }
    header.resize(FIXED_BYTES, 0);
    stream.read_exact(&mut header[PROTOCOL_PREFIX.len()..]).await.map_err(incomplete)?;
    let length = usize::from(u16::from_be_bytes([header[FIXED_BYTES - 2], header[FIXED_BYTES - 1]]));
    if length > REST_BYTES_MAX {
        return Err(ProxyRefusal::Oversize);
    }
    header.resize(FIXED_BYTES + length, 0);
    stream.read_exact(&mut header[FIXED_BYTES..]).await.map_err(incomplete)?;
    Ok(header)
}

fn parse(header: &[u8], peer: SocketAddr) -> Result<SocketAddr, ProxyRefusal> {
    let header = Header::try_from(header).map_err(|_| ProxyRefusal::Malformed)?;
    match (header.command, header.protocol, header.addresses) {
        (Command::Local, ..) => Ok(peer),
        (Command::Proxy, Protocol::Stream, Addresses::IPv4(named)) => {
            Ok((named.source_address, named.source_port).into())
        }
        (Command::Proxy, Protocol::Stream, Addresses::IPv6(named)) => {
            Ok((named.source_address, named.source_port).into())
        }
        _ => Err(ProxyRefusal::NotTcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "127.0.0.1:40000";

    fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [PROTOCOL_PREFIX, &[version_command, family], &length, rest].concat()
    }

    const OF_IPV4: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0xc3, 0x50, 0x01, 0xbb];

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<&str, ProxyRefusal>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let peer = PROXY.parse().expect("an address");
        let proxies = [Network::parse("127.0.0.0/8").expect("a network")];
        let (named, rest) = runtime.block_on(async {
            let mut stream = &[bytes, b"GET"].concat()[..];
            let named = named_peer(&mut stream, peer, &proxies, Duration::from_secs(5)).await;
            (named, stream.to_vec())
        });
        assert_eq!(named, expected.map(|named| named.parse().expect("an address")));
        assert!(named.is_err() || rest == b"GET", "not one byte more is read: {rest:?}");
    }

    #[test]
    fn a_header_names_the_peer() {
        check(&header(0x21, 0x11, OF_IPV4), Ok("203.0.113.9:50000"));
        let mut of_ipv6 = [0; 36];
        of_ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        of_ipv6[15] = 7;
        of_ipv6[33] = 80;
        check(&header(0x21, 0x21, &of_ipv6), Ok("[2001:db8::7]:80"));
        // With what HAProxy adds: a CRC and a unique id.
        check(
            &header(0x21, 0x11, &[OF_IPV4, &[3, 0, 4, 1, 2, 3, 4, 5, 0, 2, b'i', b'd']].concat()),
            Ok("203.0.113.9:50000"),
        );
        check(&header(0x20, 0x00, &[]), Ok(PROXY));
        check(&header(0x20, 0x11, OF_IPV4), Ok(PROXY));
    }

    #[test]
    fn anything_else_is_refused() {
        for (bytes, refusal) in [
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\r\n".to_vec(), ProxyRefusal::Malformed),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ProxyRefusal::Malformed),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), ProxyRefusal::Malformed),
            (header(0x11, 0x11, OF_IPV4), ProxyRefusal::Malformed),
            (header(0x22, 0x11, OF_IPV4), ProxyRefusal::Malformed),
            (header(0x21, 0x41, OF_IPV4), ProxyRefusal::Malformed),
            (header(0x21, 0x11, &OF_IPV4[..11]), ProxyRefusal::Malformed),
            (header(0x21, 0x21, OF_IPV4), ProxyRefusal::Malformed),
            (header(0x21, 0x00, &[]), ProxyRefusal::NotTcp),
            (header(0x21, 0x12, OF_IPV4), ProxyRefusal::NotTcp),
            (header(0x21, 0x31, &[0; 216]), ProxyRefusal::NotTcp),
            (header(0x21, 0x11, &[0; REST_BYTES_MAX + 1]), ProxyRefusal::Oversize),
            ([&header(0x21, 0x11, OF_IPV4)[..14], &[0, 200]].concat(), ProxyRefusal::Incomplete),
            (PROTOCOL_PREFIX[..7].to_vec(), ProxyRefusal::Malformed),
        ] {
            check(&bytes, Err(refusal));
        }
    }

    #[test]
    fn a_stranger_is_refused_before_a_byte_is_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let peer = "198.51.100.7:1".parse().expect("an address");
        let named = runtime
            .block_on(async { named_peer(&mut tokio::io::empty(), peer, &[], Duration::from_secs(5)).await });
        assert_eq!(named, Err(ProxyRefusal::Untrusted));
    }
}
