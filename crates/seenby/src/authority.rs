//! A certificate authority for one server: what `seenby tls` makes. Its certificate names the hosts that it may sign for,
//! and no client that keeps the rules takes one for another host from it, whoever gets hold of its key. Refuses to hold:
//! files, the clock, and any cryptography of its own.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
    SerialNumber,
};
use sighting::{Second, escape};
use time::OffsetDateTime;

use crate::certificate::Certificate;

/// How long a server's certificate is good. Short, because nobody here can call one back.
pub(crate) const LEAF_DAYS: u32 = 90;
/// How long the authority is. Every client has to be told of a new one.
const AUTHORITY_DAYS: u32 = 3_650;
/// Clocks of clients may be behind by so much.
const BACKDATED_S: u32 = 3_600;
const DAY_S: u32 = 86_400;
/// X.509 gives a name 64 characters; the machine's gets what the rest leaves.
const MACHINE_CHARS_MAX: usize = 24;

/// Whom a certificate is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// A DNS name, in lower case.
    Name(String),
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&escape(name)),
            Host::Address(address) => address.fmt(f),
        }
    }
}

impl Host {
    /// A name or an address as typed.
    pub(crate) fn parse(text: &str) -> Result<Host, String> {
        let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = unbracketed.parse() {
            return Ok(Host::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let ends_in_number =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() <= 253 && name.split('.').all(is_label) && !ends_in_number {
            Ok(Host::Name(name))
        } else {
            Err("type a host name such as seenby.example.org (no pattern, no URL; other alphabets as xn--...), or an \
                 address such as 192.0.2.7"
                .to_owned())
        }
    }

    fn subject(&self) -> anyhow::Result<SanType> {
        Ok(match self {
            Host::Name(name) => SanType::DnsName(Ia5String::try_from(name.as_str())?),
            Host::Address(address) => SanType::IpAddress(*address),
        })
    }

    /// A name stands for the names below it too: X.509 has no narrower way to write it. An address stands for itself.
    fn subtree(&self) -> GeneralSubtree {
        match self {
            Host::Name(name) => GeneralSubtree::DnsName(name.clone()),
            Host::Address(IpAddr::V4(address)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(address.octets(), 32))
            }
            Host::Address(IpAddr::V6(address)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(address.octets(), 128))
            }
        }
    }
}

/// A certificate and its key, both PEM.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A new authority for these hosts and no other. `serial` is random.
pub(crate) fn new_authority(
    hosts: &[Host],
    machine: Option<&str>,
    now: Second,
    serial: [u8; 16],
) -> anyhow::Result<Made> {
    let is_address = |host: &Host| matches!(host, Host::Address(_));
    // A kind of name that is not listed is not restricted at all.
    assert!(hosts.iter().any(is_address) && !hosts.iter().all(is_address), "both kinds are restricted");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    let machine: String = machine.unwrap_or_default().chars().take(MACHINE_CHARS_MAX).collect();
    params.distinguished_name.push(DnType::CommonName, format!("seenby CA {now} {machine}").trim_end());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Names of other kinds (of persons, of programs) belong to other purposes.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: hosts.iter().map(Host::subtree).collect(),
        excluded_subtrees: Vec::new(),
    });
    set_validity(&mut params, now, AUTHORITY_DAYS)?;
    params.serial_number = Some(positive(serial));
    let certificate = params.self_signed(&key)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A new certificate of a server with a new key, signed by an authority. `serial` is random.
///
/// Errors: the authority's key is not that of its certificate, or it expires too soon.
pub(crate) fn new_leaf(
    authority: &Made,
    hosts: &[Host],
    now: Second,
    serial: [u8; 16],
) -> anyhow::Result<Made> {
    let signer = KeyPair::from_pem(&authority.key).context("the CA's key cannot be read")?;
    let of_authority = Certificate::read(authority.certificate.as_bytes())?;
    ensure!(
        signer.subject_public_key_info() == of_authority.public_key,
        "the CA's key does not belong to its certificate; name the key that was made with it"
    );
    ensure!(
        of_authority.not_after.unix() >= now.unix().saturating_add(LEAF_DAYS * DAY_S),
        "the CA's certificate expires at {}, before a new certificate would; make a new CA and tell every client",
        of_authority.not_after
    );
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    // The names are in the extension made for them; this one only shows whose it is.
    params.distinguished_name.push(DnType::CommonName, "seenby server");
    params.subject_alt_names = hosts.iter().map(Host::subject).collect::<anyhow::Result<_>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_DAYS)?;
    params.serial_number = Some(positive(serial));
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn set_validity(params: &mut CertificateParams, now: Second, days: u32) -> anyhow::Result<()> {
    let begin = i64::from(now.unix().saturating_sub(BACKDATED_S));
    params.not_before = OffsetDateTime::from_unix_timestamp(begin)?;
    params.not_after = OffsetDateTime::from_unix_timestamp(begin + i64::from(days) * i64::from(DAY_S))?;
    Ok(())
}

/// Serial numbers are positive and not zero.
fn positive(mut serial: [u8; 16]) -> SerialNumber {
    serial[0] = (serial[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Second = Second::new(1_800_000_000);

    fn hosts() -> Vec<Host> {
        ["localhost", "127.0.0.1", "::1"].map(|host| Host::parse(host).expect("a host")).to_vec()
    }

    #[test]
    fn hosts_as_typed() {
        for (text, host) in [
            ("Seenby.Example.org.", "seenby.example.org"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("192.0.2.7", "192.0.2.7"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("log_1", "log_1"),
        ] {
            assert_eq!(Host::parse(text).map(|host| host.to_string()).as_deref(), Ok(host));
        }
        for text in [
            "",
            ".",
            "*.example.org",
            "https://h",
            "h:443",
            "-a.b",
            "a..b",
            "10.0.0",
            "bücher.example",
            "a b",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_leaf_is_good_for_its_hosts_and_ninety_days() {
        let authority = new_authority(&hosts(), Some("box"), NOW, [0xff; 16]).expect("made");
        let leaf = new_leaf(&authority, &hosts(), NOW, [0; 16]).expect("made");
        let read = Certificate::read(leaf.certificate.as_bytes()).expect("sound");
        assert_eq!(read.hosts, hosts());
        assert_eq!(read.issuer, format!("CN=seenby CA {NOW} box"));
        assert_eq!(read.not_after.unix() - read.not_before.unix(), 90 * DAY_S);
        assert_eq!(read.days_left(NOW), 89);
        assert!(api::Tls::new(leaf.certificate.as_bytes(), leaf.key.as_bytes()).is_ok());
        assert!(api::Tls::new(leaf.certificate.as_bytes(), authority.key.as_bytes()).is_err());
    }

    #[test]
    fn an_authority_signs_with_its_own_key_while_it_is_good() {
        let authority = new_authority(&hosts(), None, NOW, [1; 16]).expect("made");
        let other = new_authority(&hosts(), None, NOW, [1; 16]).expect("made");
        let mixed = Made { certificate: authority.certificate.clone(), key: other.key };
        let error = new_leaf(&mixed, &hosts(), NOW, [1; 16]).err().expect("refused");
        assert!(error.to_string().contains("does not belong"), "{error}");
        let late = Second::new(NOW.unix() + (AUTHORITY_DAYS - 80) * DAY_S);
        let error = new_leaf(&authority, &hosts(), late, [1; 16]).err().expect("refused");
        assert!(error.to_string().contains("expires"), "{error}");
    }
}
