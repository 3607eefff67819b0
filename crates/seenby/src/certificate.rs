//! What a certificate says of itself: for whom it is, until when, by whom. Refuses to hold: whether anybody should trust
//! it, keys, and how certificates are made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use sighting::{Second, escape};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::authority::Host;

/// One certificate, read.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The names and addresses that it is for.
    pub(crate) hosts: Vec<Host>,
    /// Whose it is, and who signed it, as X.509 writes names.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Between which moments it is good, both included.
    pub(crate) not_before: Second,
    pub(crate) not_after: Second,
    /// SHA-256 over the whole certificate, `AB:CD:…`.
    pub(crate) sha256: String,
    /// The public key in the form in which keys are compared.
    pub(crate) public_key: Vec<u8>,
}

impl Certificate {
    /// The first certificate of a PEM text.
    pub(crate) fn read(pem: &[u8]) -> anyhow::Result<Certificate> {
        let block = Pem::iter_from_buffer(pem)
            .filter_map(Result::ok)
            .find(|block| block.label == "CERTIFICATE")
            .context("there is no certificate in it (a block 'BEGIN CERTIFICATE')")?;
        let parsed = block.parse_x509().context("its certificate cannot be read")?;
        let hash = digest(&SHA256, &block.contents);
        let pairs: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Certificate {
            hosts: hosts(&parsed)?,
            subject: escape(&parsed.subject().to_string()).into_owned(),
            issuer: escape(&parsed.issuer().to_string()).into_owned(),
            not_before: second(parsed.validity().not_before.timestamp()),
            not_after: second(parsed.validity().not_after.timestamp()),
            sha256: pairs.join(":"),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }

    /// Whole days until it expires; none once it has.
    pub(crate) fn days_left(&self, now: Second) -> u32 {
        self.not_after.unix().saturating_sub(now.unix()) / 86_400
    }
}

/// What certificates say beyond 2106 or before 1970 is as good as the end of our time.
fn second(unix: i64) -> Second {
    Second::new(u32::try_from(unix.max(0)).unwrap_or(u32::MAX))
}

fn hosts(certificate: &X509Certificate<'_>) -> anyhow::Result<Vec<Host>> {
    let names = certificate.subject_alternative_name().context("its names cannot be read")?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    Ok(names.iter().filter_map(host).collect())
}

fn host(name: &GeneralName<'_>) -> Option<Host> {
    match name {
        GeneralName::DNSName(name) => Some(Host::Name((*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let of_four = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
            let of_sixteen = || <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
            of_four.or_else(|_| of_sixteen()).ok().map(Host::Address)
        }
        _ => None,
    }
}
