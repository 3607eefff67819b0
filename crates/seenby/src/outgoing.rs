//! Requests that this server makes of others: by https, with bounds of size and time, without redirects, and never to an
//! address of a private network that the settings do not list. Refuses to hold: what is asked of whom, and what the answer
//! means.
//!
//! A name is looked up here, and only addresses that may be reached are connected to: what a name means to somebody else, or
//! a moment later, does not matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use api::{Fetch, FetchRequest};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use sighting::{Address, Network};

/// How this program names itself.
const USER_AGENT: &str = concat!("seenby/", env!("CARGO_PKG_VERSION"));

/// A way to other servers, for the HTTP side.
pub(crate) fn fetch(allowed: Vec<Network>) -> Fetch {
    let allowed = Arc::new(Allowed(allowed));
    Arc::new(move |request| {
        let allowed = Arc::clone(&allowed);
        Box::pin(async move { get(allowed, request).await.map_err(|error| format!("{error:#}")) })
    })
}

async fn get(allowed: Arc<Allowed>, request: FetchRequest) -> anyhow::Result<Vec<u8>> {
    let url = Url::parse(&request.url).context("it is no URL")?;
    ensure!(url.scheme() == "https", "it is no https:// URL");
    ensure!(url.username().is_empty() && url.password().is_none(), "the URL has a name or a password in it");
    // An address is not looked up, so nobody else would judge it.
    let host = url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        allowed.check(address)?;
    }
    let client = client(allowed, &request)?;
    let mut response = client.get(url).send().await.map_err(without_url)?;
    let status = response.status();
    ensure!(!status.is_redirection(), "it answered {status}, and redirects are not followed");
    ensure!(status == StatusCode::OK, "it answered {status}");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        ensure!(
            body.len() + chunk.len() <= request.bytes_max,
            "the answer has more than {} bytes",
            request.bytes_max
        );
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// One for each request: none is kept open for an hour, and what the system trusts is read anew.
fn client(allowed: Arc<Allowed>, request: &FetchRequest) -> anyhow::Result<Client> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .https_only(true)
        .redirect(redirect::Policy::none())
        // Through a proxy nobody here would see which address is reached.
        .no_proxy()
        .http1_only()
        .timeout(request.time_max)
        .dns_resolver(allowed);
    if let Some(trust) = &request.trust {
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(trust)?);
    }
    builder.build().context("no client could be made")
}

/// Whoever asked knows the URL and says it.
fn without_url(error: reqwest::Error) -> anyhow::Error {
    error.without_url().into()
}

/// Private networks that may be reached.
#[derive(Debug)]
struct Allowed(Vec<Network>);

impl Allowed {
    fn check(&self, ip: IpAddr) -> anyhow::Result<()> {
        let address = Address::from(ip);
        if is_public(address.to_ip()) || self.0.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        bail!(
            "it is at {address}, which is not a public address; if it belongs there, list its network in outgoing.allowed_networks"
        )
    }
}

impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Allowed(self.0.clone());
        Box::pin(async move {
            // The port is another's to say.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut refusal = anyhow::anyhow!("the name has no address");
            let mut usable = Vec::new();
            for address in found {
                match allowed.check(address.ip()) {
                    Ok(()) => usable.push(address),
                    Err(error) => refusal = error,
                }
            }
            if usable.is_empty() {
                return Err(refusal.into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// Whether an address may be anybody's on the internet. What is not listed by IANA as global is not.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocols = (a, b, c) == (192, 0, 0);
    let is_benchmark = a == 198 && (b == 18 || b == 19);
    let is_reserved = a == 0 || a >= 224;
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || is_shared
        || is_protocols
        || is_benchmark
        || is_reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        // Addresses of IPv4 by way of a translator, and by 6to4.
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && is_public_v4(v4(g, h)),
        (0x2002, _) => is_public_v4(v4(b, c)),
        // Teredo, ORCHID, benchmarks, documentation.
        (0x2001, b) if b < 0x200 || b == 0xdb8 => false,
        (0x3fff, b) if b < 0x1000 => false,
        // What is in use on the internet; the rest is loopback, link-local, unique local, multicast or nobody's.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use crate::authority::{Host, new_authority, new_leaf};
    use crate::clock;

    #[test]
    fn which_addresses_are_anybodys() {
        for public in [
            "8.8.8.8",
            "198.20.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(Allowed(Vec::new()).check(public.parse().expect("an address")).is_ok(), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            let address = private.parse().expect("an address");
            let error = Allowed(Vec::new()).check(address).expect_err(private);
            assert!(error.to_string().contains("outgoing.allowed_networks"), "{error}");
            assert!(Allowed(vec![Network::parse(private).expect("one")]).check(address).is_ok(), "{private}");
        }
        let allowed = Allowed(vec![Network::parse("10.1.0.0/16").expect("a network")]);
        assert!(allowed.check("10.1.2.3".parse().expect("an address")).is_ok());
        assert!(allowed.check("::ffff:10.1.2.3".parse().expect("an address")).is_ok());
        assert!(allowed.check("10.2.0.1".parse().expect("an address")).is_err());
    }

    /// A server with a certificate for `localhost` and the loopback addresses, and the authority that vouches for it.
    struct Peer {
        port: u16,
        trust: Arc<[u8]>,
    }

    impl Peer {
        async fn new() -> Peer {
            let hosts: Vec<Host> = ["localhost", "127.0.0.1", "::1"]
                .iter()
                .map(|host| Host::parse(host).expect("a host"))
                .collect();
            let authority = new_authority(&hosts, None, clock::now(), [1; 16]).expect("an authority");
            let leaf = new_leaf(&authority, &hosts, clock::now(), [2; 16]).expect("a leaf");
            let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
                .collect::<Result<_, _>>()
                .expect("a chain");
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a certificate");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(stream).await;
                        }
                    });
                }
            });
            Peer { port, trust: authority.certificate.into_bytes().into() }
        }

        async fn get(
            &self,
            host: &str,
            path: &str,
            allowed: &[&str],
            trusts: bool,
        ) -> Result<Vec<u8>, String> {
            let allowed = allowed.iter().map(|network| Network::parse(network).expect("a network")).collect();
            let request = FetchRequest {
                url: format!("https://{host}:{}{path}", self.port),
                trust: trusts.then(|| Arc::clone(&self.trust)),
                bytes_max: 1_000,
                time_max: Duration::from_secs(1),
            };
            fetch(allowed)(request).await
        }
    }

    /// Answers by the path. It may fail when the other side has heard enough.
    async fn answer(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
        let mut head = vec![0; 4_096];
        let read = stream.read(&mut head).await.unwrap_or_default();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let whole =
            |bytes: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
        let chunked = |chunks: usize| {
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                "64\r\n".to_owned() + &"x".repeat(100) + "\r\n"
            )
            .replace("0\r\n\r\n", &("64\r\n".to_owned() + &"x".repeat(100) + "\r\n").repeat(chunks))
        };
        let reply = match head.split(' ').nth(1).unwrap_or_default() {
            "/fits" => whole(1_000),
            "/large" => whole(1_001),
            "/endless" => chunked(100),
            "/moved" => "HTTP/1.1 302 Found\r\nLocation: /fits\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/gone" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/slow" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx".to_owned(),
            _ => String::new(),
        };
        let _ = stream.write_all(reply.as_bytes()).await;
        let _ = stream.flush().await;
        if head.starts_with("GET /slow") || reply.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn the_rules_of_a_request() {
        let peer = Peer::new().await;
        let loopback = ["127.0.0.0/8", "::1"];
        let begun = Instant::now();
        for (host, path, allowed, trusts, expected) in [
            ("localhost", "/fits", &loopback[..], true, Ok(1_000)),
            ("127.0.0.1", "/fits", &loopback[..1], true, Ok(1_000)),
            ("localhost", "/large", &loopback[..], true, Err("more than 1000 bytes")),
            ("localhost", "/endless", &loopback[..], true, Err("more than 1000 bytes")),
            ("localhost", "/moved", &loopback[..], true, Err("redirects are not followed")),
            ("localhost", "/gone", &loopback[..], true, Err("404")),
            ("localhost", "/slow", &loopback[..], true, Err("timed out")),
            ("localhost", "/silent", &loopback[..], true, Err("timed out")),
            ("localhost", "/fits", &loopback[..], false, Err("certificate")),
            // By what the name means, not by what it is.
            ("localhost", "/fits", &[], true, Err("outgoing.allowed_networks")),
            ("localhost", "/fits", &["10.0.0.0/8"], true, Err("outgoing.allowed_networks")),
            ("127.0.0.1", "/fits", &[], true, Err("outgoing.allowed_networks")),
            ("[::1]", "/fits", &[], true, Err("outgoing.allowed_networks")),
            ("[::ffff:127.0.0.1]", "/fits", &[], true, Err("outgoing.allowed_networks")),
            ("2130706433", "/fits", &[], true, Err("outgoing.allowed_networks")),
            ("0x7f.1", "/fits", &[], true, Err("outgoing.allowed_networks")),
            ("kim:secret@localhost", "/fits", &loopback[..], true, Err("a name or a password")),
        ] {
            let got = peer.get(host, path, allowed, trusts).await;
            match expected {
                Ok(bytes) => assert_eq!(got.as_ref().map(Vec::len), Ok(bytes), "{host}{path}: {got:?}"),
                Err(says) => {
                    let error = got.expect_err(host);
                    assert!(error.contains(says), "{host}{path}: {error}");
                    assert!(!error.contains("secret"), "{error}");
                }
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        for url in ["http://localhost/", "ftp://localhost/", "localhost", "https://"] {
            let request =
                FetchRequest { url: url.into(), trust: None, bytes_max: 1, time_max: Duration::from_secs(1) };
            assert!(
                fetch(vec![Network::parse("127.0.0.0/8").expect("a network")])(request).await.is_err(),
                "{url}"
            );
        }
    }
}
