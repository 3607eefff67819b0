//! Where one syslog message ends and the next begins in a stream (RFC 6587): behind as many bytes as a number in front of it
//! says, or at a line end; each message in its own way. Refuses to hold: sockets, and what is in a message.
//!
//! ```text
//! 45 <14>1 2031-03-04T10:01:02Z fw - - - - message<14>1 2031-03-04T10:01:03Z fw - - - - another\n
//! ```

/// The longest message that is read. Each connection may hold so much that has no end yet.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Digits of a length: those of the longest message that is read, and one more.
const DIGITS_MAX: usize = 8;

/// What is in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framed<'a> {
    /// One message, without its line end.
    Message(&'a [u8]),
    /// One that is longer than any that is read.
    TooLong,
}

/// Cuts messages out of a stream that comes in pieces of any size.
#[derive(Default, Debug)]
pub(super) struct Messages {
    pending: Vec<u8>,
    /// So many of them are known to have no line end in them.
    looked_at: usize,
    /// Bytes that still belong to a message that is too long.
    skip: Skip,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Skip {
    #[default]
    Nothing,
    Bytes(usize),
    Line,
}

/// How a message lies in bytes that begin with it.
enum Frame {
    /// From there to there, and so many bytes in all.
    Whole { start: usize, end: usize, length: usize },
    /// It is not all there; so long it is at least.
    Part(usize),
    /// Too many bytes.
    TooLong(usize),
}

impl Messages {
    /// Takes more of the stream.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Framed<'_>)) {
        let mut bytes = self.skipped(bytes);
        // What is too long is dropped on the way, so that no more is held than is read at once.
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            bytes = self.pending.get(at..).unwrap_or_default();
            match frame(bytes, self.looked_at) {
                Frame::Whole { start, end, length } => {
                    self.looked_at = 0;
                    let message = bytes.get(start..end).unwrap_or_default();
                    let message = message.strip_suffix(b"\r").unwrap_or(message);
                    if !message.is_empty() {
                        out(Framed::Message(message));
                    }
                    at += length;
                }
                Frame::Part(length) if length > MESSAGE_BYTES_MAX => {
                    out(Framed::TooLong);
                    self.looked_at = 0;
                    self.skip = Skip::Line;
                    at = self.pending.len();
                    break;
                }
                Frame::Part(length) => {
                    self.looked_at = length;
                    break;
                }
                Frame::TooLong(length) => {
                    out(Framed::TooLong);
                    self.looked_at = 0;
                    let there = bytes.len().min(length);
                    self.skip = if there < length { Skip::Bytes(length - there) } else { Skip::Nothing };
                    at += there;
                }
            }
        }
        self.pending.drain(..at);
    }

    /// The stream has ended: a message without a line end is one all the same; of one that was counted something is missing.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(Framed<'_>)) {
        self.looked_at = 0;
        let rest = std::mem::take(&mut self.pending);
        if counted(&rest).is_none() && !rest.is_empty() {
            out(Framed::Message(&rest));
        }
    }

    fn skipped<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        match self.skip {
            Skip::Nothing => bytes,
            Skip::Bytes(more) => {
                let skipped = more.min(bytes.len());
                self.skip = if skipped < more { Skip::Bytes(more - skipped) } else { Skip::Nothing };
                bytes.get(skipped..).unwrap_or_default()
            }
            Skip::Line => match bytes.iter().position(|byte| *byte == b'\n') {
                None => &[],
                Some(end) => {
                    self.skip = Skip::Nothing;
                    bytes.get(end + 1..).unwrap_or_default()
                }
            },
        }
    }
}

/// `looked_at` of the bytes have no line end in them.
fn frame(bytes: &[u8], looked_at: usize) -> Frame {
    match counted(bytes) {
        Some((_, length)) if length > MESSAGE_BYTES_MAX => Frame::TooLong(length),
        Some((start, length)) if length <= bytes.len() => Frame::Whole { start, end: length, length },
        Some((_, _)) => Frame::Part(0),
        None => match line_end(bytes, looked_at) {
            Some(end) if end > MESSAGE_BYTES_MAX => Frame::TooLong(end + 1),
            Some(end) => Frame::Whole { start: 0, end, length: end + 1 },
            None => Frame::Part(bytes.len()),
        },
    }
}

fn line_end(bytes: &[u8], looked_at: usize) -> Option<usize> {
    let new = bytes.get(looked_at..)?;
    Some(looked_at + new.iter().position(|byte| *byte == b'\n')?)
}

/// Where a message begins whose length stands before it, and where it ends. A line may begin with a number too; a priority
/// behind it is what makes it a length.
fn counted(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS_MAX || bytes.first() == Some(&b'0') {
        return None;
    }
    // While what follows the number has not come, it is a part of a line.
    if bytes.get(digits) != Some(&b' ') || bytes.get(digits + 1) != Some(&b'<') {
        return None;
    }
    let length: usize = std::str::from_utf8(bytes.get(..digits)?).ok()?.parse().ok()?;
    Some((digits + 1, digits + 1 + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut messages, mut found) = (Messages::default(), Vec::new());
        let mut out = |framed: Framed<'_>| {
            found.push(match framed {
                Framed::Message(message) => String::from_utf8_lossy(message).into_owned(),
                Framed::TooLong => "too long".to_owned(),
            });
        };
        for piece in pieces {
            messages.push(piece, &mut out);
        }
        messages.finish(&mut out);
        found
    }

    #[test]
    fn both_ways_in_one_stream() {
        for (stream, expected) in [
            ("<14>a\n<14>b\r\n\n<14>c", &["<14>a", "<14>b", "<14>c"][..]),
            ("5 <14>a6 <14>b\n5 <14>c", &["<14>a", "<14>b\n", "<14>c"]),
            ("<14>a\n5 <14>b<14>c\n", &["<14>a", "<14>b", "<14>c"]),
            // Numbers that are none of these.
            ("1,2031/03/04 10:01:02\n2031 x\n0 <14>a\n", &["1,2031/03/04 10:01:02", "2031 x", "0 <14>a"]),
            // Cut off: what is left is no message.
            ("50 <14>a", &[]),
            ("999999999 <14>a\n", &["999999999 <14>a"]),
            ("3212001 x\n<14>a\n", &["3212001 x", "<14>a"]),
        ] {
            assert_eq!(read([stream.as_bytes()]), expected, "{stream:?}");
            assert_eq!(read(stream.as_bytes().chunks(1)), expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn what_is_too_long_costs_itself() {
        let long = "x".repeat(MESSAGE_BYTES_MAX + 1);
        for stream in [format!("<14>{long}\n<14>a\n"), format!("{} <14>{long}<14>a\n", long.len() + 4)] {
            for size in [stream.len(), 65_536] {
                let found = read(stream.as_bytes().chunks(size));
                assert!(found == ["too long", "<14>a"], "{} found, in pieces of {size}", found.len());
            }
        }
    }

    proptest! {
        #[test]
        fn where_pieces_are_cut_changes_nothing(
            stream in "([0-9]{0,2} ?<?[a-z<> ]{0,12}\r?\n?){0,12}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            places.extend([0, stream.len()]);
            places.sort_unstable();
            let parts = places.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(read([stream.as_bytes()]), read(parts));
        }
    }
}
