//! Looking for bytes in texts, eight at a time: where the first of some is, where the nth is, where each is. Keys and values are short,
//! so that getting ready for wide blocks costs more than it saves. Refuses to hold: what the bytes mean, and bytes that are not ASCII,
//! between which a text cannot be cut.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
/// Bytes that are counted at once where most are passed over.
const WIDE: usize = 32;

/// The high bit of the lowest byte that is the wanted one; bits above it mean nothing.
#[inline(always)]
pub(crate) const fn lowest(block: u64, wanted: u8) -> u64 {
    let zero = block ^ (ONES * wanted as u64);
    // The lowest high bit is at the first hit; what a borrow sets above that does not matter.
    zero.wrapping_sub(ONES) & !zero & HIGHS
}

/// The same for the lowest byte below an ASCII one.
#[inline(always)]
pub(crate) const fn lowest_below(block: u64, bound: u8) -> u64 {
    block.wrapping_sub(ONES * bound as u64) & !block & HIGHS
}

/// The high bit of every byte that is the wanted one, and nothing else.
#[inline(always)]
const fn every(block: u64, wanted: u8) -> u64 {
    let zero = block ^ (ONES * wanted as u64);
    !((zero & !HIGHS).wrapping_add(!HIGHS) | zero) & HIGHS
}

/// The block of bytes at a place, and nothing where fewer are left.
#[inline(always)]
fn block(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|block| u64::from_le_bytes(*block))
}

/// The byte of a block that the lowest bit is in.
#[inline(always)]
const fn byte_of(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

/// The place of the first of the wanted bytes from `at` on, or the end.
#[inline(always)]
pub(crate) fn first_of<const N: usize>(bytes: &[u8], mut at: usize, wanted: [u8; N]) -> usize {
    while let Some(block) = block(bytes, at) {
        let hits = wanted.iter().fold(0, |hits, byte| hits | lowest(block, *byte));
        if hits != 0 {
            return at + byte_of(hits);
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    let place = at + tail.iter().position(|byte| wanted.contains(byte)).unwrap_or(tail.len());
    place.min(bytes.len())
}

/// The place of the first wanted byte from `at` on that is not behind a backslash, or the end.
#[inline(always)]
pub(crate) fn unescaped(bytes: &[u8], mut at: usize, wanted: u8) -> usize {
    loop {
        let place = first_of(bytes, at, [wanted, b'\\']);
        if bytes.get(place) != Some(&b'\\') {
            return place;
        }
        at = place + 2;
    }
}

/// The place of the nth wanted byte from `at` on, of which 1 is the first.
#[inline]
pub(crate) fn nth(bytes: &[u8], mut at: usize, wanted: u8, mut n: usize) -> Option<usize> {
    while let Some(wide) = bytes.get(at..).and_then(|rest| rest.first_chunk::<WIDE>()) {
        let count = wide.iter().fold(0u8, |count, byte| count.wrapping_add(u8::from(*byte == wanted)));
        if usize::from(count) >= n {
            break;
        }
        n -= usize::from(count);
        at += WIDE;
    }
    while let Some(block) = block(bytes, at) {
        let mut hits = every(block, wanted);
        // The sum of its bytes, of which each is 0 or 1: not every processor counts bits at once.
        let count = ((hits >> 7).wrapping_mul(ONES) >> 56) as usize;
        if count >= n {
            (1..n).for_each(|_| hits &= hits - 1);
            return Some(at + byte_of(hits));
        }
        n -= count;
        at += 8;
    }
    let mut tail = bytes.get(at..)?.iter().enumerate().filter(|(_, byte)| **byte == wanted);
    tail.nth(n.checked_sub(1)?).map(|(place, _)| at + place)
}

/// Tells the places of all wanted bytes.
#[inline(always)]
pub(crate) fn each(bytes: &[u8], wanted: u8, mut tell: impl FnMut(usize)) {
    let mut at = 0;
    while let Some(block) = block(bytes, at) {
        let mut hits = every(block, wanted);
        while hits != 0 {
            tell(at + byte_of(hits));
            hits &= hits - 1;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    tail.iter().enumerate().filter(|(_, byte)| **byte == wanted).for_each(|(place, _)| tell(at + place));
}

/// What stands before and behind the first wanted byte, an ASCII one: like [`str::split_once`], without its searcher.
#[inline(always)]
pub(crate) fn split_once(text: &str, wanted: u8) -> Option<(&str, &str)> {
    let place = first_of(text.as_bytes(), 0, [wanted]);
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// The parts of a text between ASCII bytes: like [`str::split`], without its searcher.
pub(crate) fn split(text: &str, wanted: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, behind) =
            split_once(text, wanted).map_or((text, None), |(part, behind)| (part, Some(behind)));
        rest = behind;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts that are full of what is looked for, its neighbours and letters of several bytes.
    const ANY_TEXT: &str = "[,\\-+\\\\ab\\x01é€]{0,80}";

    proptest! {
        #[test]
        fn finds_what_a_walk_finds(text in ANY_TEXT, at in 0usize..90, n in 1usize..40) {
            let bytes = text.as_bytes();
            let from = |wanted: &'static [u8]| (at..bytes.len()).filter(move |place| wanted.contains(&bytes[*place]));
            let or_end = |place: Option<usize>| place.unwrap_or(bytes.len());
            prop_assert_eq!(first_of(bytes, at, [b',']), or_end(from(b",").next()));
            prop_assert_eq!(first_of(bytes, at, [b'-', b'b']), or_end(from(b"-b").next()));
            prop_assert_eq!(nth(bytes, at, b',', n), from(b",").nth(n - 1));
            let mut all = Vec::new();
            each(bytes, b',', |place| all.push(place));
            prop_assert_eq!(all, (0..bytes.len()).filter(|place| bytes[*place] == b',').collect::<Vec<_>>());
            prop_assert_eq!(split_once(&text, b','), text.split_once(','));
            prop_assert!(split(&text, b',').eq(text.split(',')));
        }

        #[test]
        fn passes_what_is_escaped(text in ANY_TEXT, at in 0usize..90) {
            let bytes = text.as_bytes();
            let mut is_escaped = false;
            let walked = (at..bytes.len()).find(|place| {
                let ends = bytes[*place] == b',' && !is_escaped;
                is_escaped = bytes[*place] == b'\\' && !is_escaped;
                ends
            });
            prop_assert_eq!(unescaped(bytes, at, b','), walked.unwrap_or(bytes.len()));
        }
    }
}
