//! The bytes of small values on disk and on the socket: little-endian words, LEB128 numbers, length-prefixed text,
//! and batches. Refuses to hold: pages (see `segment`), frames with checksums (see `journal`) and files.

use sighting::{
    Address, Batch, Day, Identity, IdentityKind, Label, Offset, OrganisationId, Second, SourceName, Uuid,
};

/// Why bytes are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed bytes: {0}")]
pub struct CodecError(pub &'static str);

/// Reads values from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CodecError("too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        self.take(N)?.try_into().map_err(|_| CodecError("too short"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, CodecError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError("a number is too long"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| CodecError("a number is too large"))
    }

    /// A count of things that take at least `bytes_each`, so a damaged count cannot ask for much memory.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, CodecError> {
        let count = self.varint()?;
        if count > (self.left() / bytes_each.max(1)) as u64 {
            return Err(CodecError("a count is larger than what follows"));
        }
        Ok(count as usize)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, CodecError> {
        let len = self.count(1)?;
        str::from_utf8(self.take(len)?).map_err(|_| CodecError("a text is not UTF-8"))
    }

    pub(crate) fn organisation(&mut self) -> Result<OrganisationId, CodecError> {
        Ok(OrganisationId(Uuid::from_bytes(self.array()?)))
    }
}

/// Appends a LEB128 number.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends a text behind its length.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_varint(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Appends an identity: its kind's number and its name.
pub(crate) fn put_identity(bytes: &mut Vec<u8>, identity: &Identity) {
    bytes.push(identity.kind() as u8);
    put_text(bytes, identity.name());
}

/// Reads an identity.
pub(crate) fn take_identity(reader: &mut Reader<'_>) -> Result<Identity, CodecError> {
    let kind = reader.byte()?;
    let kind = IdentityKind::ALL.get(usize::from(kind)).ok_or(CodecError("unknown kind of identity"))?;
    Ok(Identity::from_parts(*kind, reader.text()?))
}

/// A batch as bytes, for the socket between a command and the server that holds the folder.
pub fn encode_batch(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + batch.sightings().len() * 24);
    bytes.extend_from_slice(batch.organisation().0.as_bytes());
    put_text(&mut bytes, batch.source().as_str());
    put_varint(&mut bytes, batch.offsets().len() as u64);
    for offset in batch.offsets() {
        put_text(&mut bytes, &offset.key);
        put_varint(&mut bytes, offset.position);
    }
    // Only what the batch uses, numbered anew: it may know many more from batches before it.
    let mut numbers = vec![0; batch.identities().len()];
    let used = || (0..).zip(batch.identities()).filter(|(index, _)| batch.is_used(*index));
    put_varint(&mut bytes, used().count() as u64);
    for ((index, identity), number) in used().zip(0..) {
        numbers[index as usize] = number;
        put_identity(&mut bytes, identity);
    }
    let number = |index: u32| numbers[index as usize];
    put_varint(&mut bytes, batch.sightings().len() as u64);
    for sighting in batch.sightings() {
        bytes.extend_from_slice(&sighting.address.octets());
        put_varint(&mut bytes, number(sighting.identity));
        bytes.extend_from_slice(&sighting.second.unix().to_le_bytes());
    }
    put_varint(&mut bytes, batch.carriers().len() as u64);
    for fact in batch.carriers() {
        put_varint(&mut bytes, number(fact.name));
        put_varint(&mut bytes, number(fact.agent));
        bytes.extend_from_slice(&fact.second.unix().to_le_bytes());
    }
    put_varint(&mut bytes, batch.reporters().len() as u64);
    for (identity, day) in batch.reporters() {
        put_varint(&mut bytes, number(*identity));
        bytes.extend_from_slice(&day.number().to_le_bytes());
    }
    put_varint(&mut bytes, batch.leases().len() as u64);
    for lease in batch.leases() {
        put_varint(&mut bytes, number(lease.what));
        put_varint(&mut bytes, number(lease.who));
        bytes.extend_from_slice(&lease.since.unix().to_le_bytes());
        bytes.extend_from_slice(&lease.until.unwrap_or(Second::MAX).unix().to_le_bytes());
    }
    put_varint(&mut bytes, batch.merges().len() as u64);
    for merge in batch.merges() {
        put_varint(&mut bytes, number(merge.from));
        put_varint(&mut bytes, number(merge.into));
        bytes.extend_from_slice(&merge.second.unix().to_le_bytes());
    }
    put_varint(&mut bytes, batch.groups().len() as u64);
    for fact in batch.groups() {
        put_varint(&mut bytes, number(fact.agent));
        put_text(&mut bytes, fact.group.as_str());
        bytes.extend_from_slice(&fact.second.unix().to_le_bytes());
    }
    bytes
}

/// The batch of [`encode_batch`]'s bytes. Errors on anything else; never panics.
pub fn decode_batch(bytes: &[u8]) -> Result<Batch, CodecError> {
    let mut reader = Reader::new(bytes);
    let organisation = reader.organisation()?;
    let source = SourceName::new(reader.text()?).ok_or(CodecError("not a source name"))?;
    let mut batch = Batch::new(organisation, source);
    for _ in 0..reader.count(2)? {
        let key = reader.text()?.to_owned();
        batch.set_offset(Offset { key, position: reader.varint()? });
    }
    let identities = reader.count(2)?;
    for index in 0..identities {
        if batch.identity(take_identity(&mut reader)?) as usize != index {
            return Err(CodecError("an identity is repeated"));
        }
    }
    let identity = |reader: &mut Reader<'_>| {
        let index = reader.varint_u32()?;
        if (index as usize) < identities { Ok(index) } else { Err(CodecError("an identity is missing")) }
    };
    for _ in 0..reader.count(21)? {
        let address = Address::from_octets(reader.array()?);
        let who = identity(&mut reader)?;
        batch.sighted(address, who, Second::new(reader.u32()?));
    }
    for _ in 0..reader.count(6)? {
        let (name, agent) = (identity(&mut reader)?, identity(&mut reader)?);
        batch.carried(name, agent, Second::new(reader.u32()?));
    }
    for _ in 0..reader.count(3)? {
        let who = identity(&mut reader)?;
        let day = Day::new(u32::from(reader.u16()?)).ok_or(CodecError("a day out of range"))?;
        batch.reported(who, day.first());
    }
    for _ in 0..reader.count(10)? {
        let (what, who) = (identity(&mut reader)?, identity(&mut reader)?);
        let (since, until) = (Second::new(reader.u32()?), Second::new(reader.u32()?));
        batch.leased(what, who, since, Some(until).filter(|until| *until != Second::MAX));
    }
    for _ in 0..reader.count(6)? {
        let (from, into) = (identity(&mut reader)?, identity(&mut reader)?);
        batch.merged(from, into, Second::new(reader.u32()?));
    }
    for _ in 0..reader.count(6)? {
        let agent = identity(&mut reader)?;
        let group = Label::new(reader.text()?).ok_or(CodecError("not a group"))?;
        batch.grouped(agent, group, Second::new(reader.u32()?));
    }
    if reader.is_empty() { Ok(batch) } else { Err(CodecError("bytes follow the end")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Batch {
        sample_in(Batch::new(OrganisationId(Uuid::from_u128(7)), SourceName::new("mde").expect("a name")))
    }

    fn sample_in(mut batch: Batch) -> Batch {
        let agent = batch.identity(Identity::new(IdentityKind::AgentId, "aa11").expect("a name"));
        let name = batch.identity(Identity::new(IdentityKind::Fqdn, "pc.example.org").expect("a name"));
        batch.sighted(Address::parse("2001:db8::5").expect("an address"), agent, Second::new(1_000_000));
        batch.carried(name, agent, Second::new(1_000_000));
        batch.reported(agent, Second::new(1_000_000));
        let address = batch.identity(Identity::new(IdentityKind::Address, "10.0.0.5").expect("a name"));
        batch.leased(address, name, Second::new(900_000), None);
        batch.leased(address, address, Second::new(950_000), Some(Second::new(990_000)));
        let newer = batch.identity(Identity::new(IdentityKind::AgentId, "aa12").expect("a name"));
        batch.merged(agent, newer, Second::new(1_000_000));
        batch.grouped(newer, Label::new("Servers").expect("a label"), Second::new(1_000_000));
        batch.set_offset(Offset { key: "file".to_owned(), position: 1 << 40 });
        batch
    }

    #[test]
    fn a_batch_is_read_back() {
        assert_eq!(decode_batch(&encode_batch(&sample())), Ok(sample()));
    }

    #[test]
    fn what_a_batch_only_knows_does_not_travel() {
        let source = SourceName::new("mde").expect("a name");
        let mut batch = Batch::new(OrganisationId(Uuid::from_u128(7)), source.clone());
        batch.identity(Identity::new(IdentityKind::AgentId, "bb22").expect("a name"));
        let mut batch = sample_in(batch.emptied(source));
        batch.identity(Identity::new(IdentityKind::AgentId, "cc33").expect("a name"));
        assert_eq!(decode_batch(&encode_batch(&batch)), Ok(sample()));
    }

    proptest! {
        #[test]
        fn damaged_batches_are_errors_or_batches(at in 0usize..240, byte: u8, cut in 0usize..240) {
            let mut bytes = encode_batch(&sample());
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(len.min(cut.max(1)));
            // Either is fine; a panic or a huge allocation is not.
            let _ = decode_batch(&bytes);
        }
    }
}
