//! Flow exports from small descriptions: what a test wants to say, and the bytes that say it. Nothing here knows how they are read.
#![allow(dead_code, reason = "every test uses its own part")]

/// 2031-03-04T10:01:02Z.
pub(crate) const SENT: u32 = 1_930_384_862;

/// One record of NetFlow 5: from, to, protocol, milliseconds of uptime at its first packet.
pub(crate) type V5Record = ([u8; 4], [u8; 4], u8, u32);

/// NetFlow 5 of engine 0.
pub(crate) fn v5(uptime: u32, sequence: u32, records: &[V5Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, &[&5u16.to_be_bytes(), &(records.len() as u16).to_be_bytes()]);
    put(&mut bytes, &[&uptime.to_be_bytes(), &SENT.to_be_bytes(), &0u32.to_be_bytes()]);
    put(&mut bytes, &[&sequence.to_be_bytes(), &[0; 4]]);
    for (source, destination, protocol, first) in records {
        put(&mut bytes, &[source, destination, &[0; 16], &first.to_be_bytes(), &(first + 900).to_be_bytes()]);
        put(
            &mut bytes,
            &[&50_001u16.to_be_bytes(), &443u16.to_be_bytes(), &[0, 0x1b, *protocol, 0], &[0; 8]],
        );
    }
    bytes
}

/// NetFlow 9 of a source id.
pub(crate) fn v9(source_id: u32, uptime: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, &[&9u16.to_be_bytes(), &(sets.len() as u16).to_be_bytes(), &uptime.to_be_bytes()]);
    put(&mut bytes, &[&SENT.to_be_bytes(), &sequence.to_be_bytes(), &source_id.to_be_bytes()]);
    bytes.extend(sets.concat());
    bytes
}

/// IPFIX of an observation domain.
pub(crate) fn ipfix(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let length = 16 + sets.iter().map(Vec::len).sum::<usize>();
    let mut bytes = Vec::new();
    put(&mut bytes, &[&10u16.to_be_bytes(), &(length as u16).to_be_bytes(), &SENT.to_be_bytes()]);
    put(&mut bytes, &[&sequence.to_be_bytes(), &domain.to_be_bytes()]);
    bytes.extend(sets.concat());
    bytes
}

/// A set of any content.
pub(crate) fn set(id: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, &[&id.to_be_bytes(), &(content.len() as u16 + 4).to_be_bytes(), content]);
    bytes
}

/// A template of fields (number, length): in set 0 for NetFlow 9, in set 2 for IPFIX.
pub(crate) fn template(set_id: u16, id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut content = Vec::new();
    put(&mut content, &[&id.to_be_bytes(), &(fields.len() as u16).to_be_bytes()]);
    for (number, length) in fields {
        put(&mut content, &[&number.to_be_bytes(), &length.to_be_bytes()]);
    }
    set(set_id, &content)
}

/// A template of options of IPFIX, with one field of scope.
pub(crate) fn options(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut content = Vec::new();
    put(&mut content, &[&id.to_be_bytes(), &(fields.len() as u16).to_be_bytes(), &1u16.to_be_bytes()]);
    for (number, length) in fields {
        put(&mut content, &[&number.to_be_bytes(), &length.to_be_bytes()]);
    }
    set(3, &content)
}

fn put(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
}
