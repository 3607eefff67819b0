//! A page of granted calls as bytes (`docs/format.md`): numbers of seven bits a byte, because a page is written every
//! second and read by nobody but the server that starts again. Refuses to hold: tables and transactions, and what a grant
//! means.

use sighting::{ApplicationId, DirectoryError, Extent, GrantPage, Granted, Uuid};

use super::unavailable;
use crate::codec::{CodecError, Reader, put_varint};

/// Two GUIDs and a count: what the grants of one application take at least.
const BYTES_EACH_MIN: usize = 33;

pub(super) fn to_bytes(page: &GrantPage) -> Vec<u8> {
    let moments: usize = page.granted.iter().map(|granted| granted.ages_ms.len()).sum();
    let mut bytes = Vec::with_capacity(64 + page.granted.len() * (BYTES_EACH_MIN + 8) + moments * 3);
    bytes.push(u8::from(page.extent == Extent::Whole));
    bytes.extend_from_slice(page.clock.as_bytes());
    put_varint(&mut bytes, page.steady_ms);
    put_varint(&mut bytes, page.wall_ms);
    put_varint(&mut bytes, page.granted.len() as u64);
    for granted in &page.granted {
        bytes.extend_from_slice(granted.organisation.0.as_bytes());
        bytes.extend_from_slice(granted.application.0.as_bytes());
        put_varint(&mut bytes, granted.ages_ms.len() as u64);
        let mut before = None;
        for age in &granted.ages_ms {
            put_varint(&mut bytes, before.map_or(*age, |before: u64| before.saturating_sub(*age)));
            before = Some(*age);
        }
    }
    bytes
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<GrantPage, DirectoryError> {
    read(bytes).map_err(unavailable)
}

fn read(bytes: &[u8]) -> Result<GrantPage, CodecError> {
    let mut reader = Reader::new(bytes);
    let extent = match reader.byte()? {
        0 => Extent::Further,
        1 => Extent::Whole,
        _ => return Err(CodecError("a page of grants of a newer seenby; run that one")),
    };
    let clock = Uuid::from_bytes(reader.array()?);
    let (steady_ms, wall_ms) = (reader.varint()?, reader.varint()?);
    let applications = reader.count(BYTES_EACH_MIN)?;
    let granted = (0..applications).map(|_| application(&mut reader)).collect::<Result<_, _>>()?;
    if !reader.is_empty() {
        return Err(CodecError("a page of grants is longer than it says"));
    }
    Ok(GrantPage { extent, clock, steady_ms, wall_ms, granted })
}

fn application(reader: &mut Reader<'_>) -> Result<Granted, CodecError> {
    let organisation = reader.organisation()?;
    let application = ApplicationId(Uuid::from_bytes(reader.array()?));
    let count = reader.count(1)?;
    let mut ages_ms = Vec::with_capacity(count);
    for _ in 0..count {
        let number = reader.varint()?;
        let age = match ages_ms.last() {
            None => number,
            Some(before) => u64::checked_sub(*before, number).ok_or(CodecError("a grant of the future"))?,
        };
        ages_ms.push(age);
    }
    Ok(Granted { organisation, application, ages_ms })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sighting::OrganisationId;

    use super::*;

    fn page(extent: Extent, numbers: (u128, u64, u64), ages: Vec<Vec<u64>>) -> GrantPage {
        let granted = ages.into_iter().enumerate().map(|(at, mut ages_ms)| {
            ages_ms.sort_by(|a, b| b.cmp(a));
            let id = Uuid::from_u128(at as u128);
            Granted { organisation: OrganisationId(id), application: ApplicationId(id), ages_ms }
        });
        let (clock, steady_ms, wall_ms) = (Uuid::from_u128(numbers.0), numbers.1, numbers.2);
        GrantPage { extent, clock, steady_ms, wall_ms, granted: granted.collect() }
    }

    proptest! {
        #[test]
        fn a_page_comes_back(
            numbers: (u128, u64, u64),
            whole: bool,
            ages in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..20), 0..8),
        ) {
            let page = page(if whole { Extent::Whole } else { Extent::Further }, numbers, ages);
            prop_assert_eq!(from_bytes(&to_bytes(&page)), Ok(page));
        }

        #[test]
        fn any_bytes_are_a_page_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_bytes(&bytes);
        }
    }

    #[test]
    fn a_page_that_was_cut_is_an_error() {
        let bytes = to_bytes(&page(Extent::Whole, (7, 5_000, 1_700_000_000_000), vec![vec![9, 5, 5, 0]]));
        for end in 0..bytes.len() {
            assert!(from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        assert!(from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}
