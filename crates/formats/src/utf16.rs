//! Text in UTF-16, as PowerShell and `wevtutil` write it on Windows, turned into UTF-8 as it comes in. Holds: how such text is
//! known (by its byte order mark, and by nothing else) and what is left over between pieces. Refuses to hold: what the text is, and
//! the mending of it: half a surrogate pair becomes bytes that are no UTF-8, so that its record is refused as such.
//!
//! `ff fe 3c 00 45 00` = a mark that says little-endian, `<`, `E`.

/// Which byte of a unit comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Little,
    Big,
}

/// How many bytes a byte order mark has.
const MARK_BYTES: usize = 2;

impl Order {
    /// What the mark at the start of an input says.
    pub(crate) fn of(head: &[u8]) -> Option<Order> {
        match head {
            [0xff, 0xfe, ..] => Some(Order::Little),
            [0xfe, 0xff, ..] => Some(Order::Big),
            _ => None,
        }
    }

    /// Whether one byte more would tell whether there is a mark.
    pub(crate) fn may_follow(head: &[u8]) -> bool {
        head.len() < MARK_BYTES && head.first().is_none_or(|byte| *byte >= 0xfe)
    }

    /// The text of the first bytes of an input, as far as they are whole letters.
    pub(crate) fn text(self, head: &[u8]) -> Vec<u8> {
        Decoder::new(self).push(head)
    }

    const fn unit(self, pair: [u8; 2]) -> u16 {
        match self {
            Order::Little => u16::from_le_bytes(pair),
            Order::Big => u16::from_be_bytes(pair),
        }
    }
}

/// Pieces of UTF-16 in, UTF-8 out. Where the pieces were cut changes nothing.
pub(crate) struct Decoder {
    order: Order,
    /// Half a unit, half a pair of surrogates, or one and a half of two.
    left_over: Vec<u8>,
    /// Bytes that were pushed.
    pushed: u64,
}

impl Decoder {
    pub(crate) const fn new(order: Order) -> Decoder {
        Decoder { order, left_over: Vec::new(), pushed: 0 }
    }

    /// How many bytes of UTF-16 came.
    pub(crate) const fn pushed(&self) -> u64 {
        self.pushed
    }

    /// The text of one more piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.pushed += piece.len() as u64;
        let mut bytes = std::mem::take(&mut self.left_over);
        bytes.extend_from_slice(piece);
        let whole = self.whole(&bytes);
        self.left_over = bytes.split_off(whole);
        let (pairs, _) = bytes.as_chunks::<2>();
        let mut text = Vec::with_capacity(bytes.len());
        for letter in char::decode_utf16(pairs.iter().map(|pair| self.order.unit(*pair))) {
            match letter {
                Ok(letter) => text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(half) => text.extend(surrogate(half.unpaired_surrogate())),
            }
        }
        text
    }

    /// What is left over at the end of the input: half of something, which is no text.
    pub(crate) fn finish(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.left_over).is_empty() { &[] } else { &[0xff] }
    }

    /// How many of the bytes do not depend on what comes next.
    fn whole(&self, bytes: &[u8]) -> usize {
        let (pairs, half) = bytes.as_chunks::<2>();
        let is_first_of_two =
            pairs.last().is_some_and(|pair| (0xd800..0xdc00).contains(&self.order.unit(*pair)));
        bytes.len() - half.len() - if is_first_of_two { 2 } else { 0 }
    }
}

/// Half a pair as the bytes that it would be if it were a letter, which UTF-8 forbids.
fn surrogate(half: u16) -> [u8; 3] {
    let [high, low] = half.to_be_bytes();
    [0xe0 | high >> 4, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(order: Order, bytes: &[u8], expected: &[u8]) {
        for length in 1..=bytes.len().max(1) {
            let mut decoder = Decoder::new(order);
            let mut text: Vec<u8> = bytes.chunks(length).flat_map(|piece| decoder.push(piece)).collect();
            text.extend_from_slice(decoder.finish());
            assert_eq!(text, expected, "in pieces of {length}");
            assert_eq!(decoder.pushed(), bytes.len() as u64);
        }
    }

    fn encoded(order: Order, text: &str) -> Vec<u8> {
        let bytes = |unit: u16| match order {
            Order::Little => unit.to_le_bytes(),
            Order::Big => unit.to_be_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn text_survives_wherever_it_is_cut() {
        for order in [Order::Little, Order::Big] {
            for text in
                ["", "<Event>\r\n", "\u{feff}a\u{e9}\u{20ac}\u{1f600}b", "\u{0}\u{d7ff}\u{e000}\u{10ffff}"]
            {
                check(order, &encoded(order, text), text.as_bytes());
            }
        }
    }

    #[test]
    fn halves_are_no_text() {
        check(Order::Little, b"a\0b", b"a\xff");
        check(Order::Little, b"\x3d\xd8", b"\xff");
        check(Order::Little, b"\x3d\xd8a\0", b"\xed\xa0\xbda");
        check(Order::Big, b"\xde\0\0a", b"\xed\xb8\x80a");
        check(Order::Big, b"\xd8\x3d\xd8\x3d\xde\0", b"\xed\xa0\xbd\xf0\x9f\x98\x80");
        for half in [0xd800, 0xd83d, 0xdc00, 0xdfff] {
            assert!(str::from_utf8(&surrogate(half)).is_err());
        }
    }

    #[test]
    fn marks() {
        assert_eq!(Order::of(b"\xff\xfe<\0"), Some(Order::Little));
        assert_eq!(Order::of(b"\xfe\xff"), Some(Order::Big));
        for head in [b"".as_slice(), b"\xff", b"\xef\xbb\xbf", b"<\0", b"\xff\xff"] {
            assert_eq!(Order::of(head), None);
        }
        for (head, may) in
            [(b"".as_slice(), true), (b"\xff", true), (b"\xfe", true), (b"{", false), (b"\xff\xff", false)]
        {
            assert_eq!(Order::may_follow(head), may);
        }
    }
}
