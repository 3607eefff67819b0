//! Decompression of a body as it comes: gzip and zstd by their first bytes, deflate by the header's word, and how much may come
//! out of it. Refuses to hold: what comes out.

use std::io::{self, Write};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use super::body::Stop;

/// What HTTP allows for zstd (RFC 8878): 8 MiB are kept of what came.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The bytes by which a compression is told.
const MAGIC_BYTES: usize = 4;

/// What a header says of a body's compression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// Nothing, or one of those that tell themselves.
    ByItself,
    /// zlib, which HTTP calls deflate.
    Deflate,
}

/// What the headers say.
pub(crate) fn said(headers: &HeaderMap) -> Result<Said, Stop> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Said::ByItself) };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" | "gzip" | "x-gzip" | "zstd" => Ok(Said::ByItself),
        "deflate" => Ok(Said::Deflate),
        _ => Err(Stop::UnknownEncoding),
    }
}

/// A body on its way through decompression.
pub(crate) enum Unpack<W: Write> {
    /// Its first bytes are not known yet.
    Begun(W, Vec<u8>),
    Plain(W),
    Gzip(Box<MultiGzDecoder<W>>),
    Deflate(Box<ZlibDecoder<W>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
    /// It failed, and nothing is left of it.
    Failed,
}

impl<W: Write> Unpack<W> {
    /// Gives what comes out to `outlet`.
    pub(crate) fn new(said: Said, outlet: W) -> Unpack<W> {
        match said {
            Said::ByItself => Unpack::Begun(outlet, Vec::new()),
            Said::Deflate => Unpack::Deflate(Box::new(ZlibDecoder::new(outlet))),
        }
    }

    /// Takes some of the body.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Unpack::Begun(_, head) = self {
            let (begin, rest) = bytes.split_at(bytes.len().min(MAGIC_BYTES - head.len()));
            head.extend_from_slice(begin);
            bytes = rest;
            if head.len() < MAGIC_BYTES {
                return Ok(());
            }
            self.begin()?;
        }
        self.write(bytes)
    }

    /// Gives on what is held back, now that the body has ended.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        match self {
            Unpack::Begun(..) => self.begin(),
            Unpack::Plain(_) | Unpack::Failed => Ok(()),
            Unpack::Gzip(decoder) => decoder.try_finish(),
            Unpack::Deflate(decoder) => decoder.try_finish(),
            Unpack::Zstd(decoder) => decoder.do_finish(),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let Unpack::Begun(outlet, head) = std::mem::replace(self, Unpack::Failed) else { return Ok(()) };
        *self = match head.as_slice() {
            [0x1f, 0x8b, ..] => Unpack::Gzip(Box::new(MultiGzDecoder::new(outlet))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut decoder = zstd::stream::write::Decoder::new(outlet)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Unpack::Zstd(Box::new(decoder))
            }
            _ => Unpack::Plain(outlet),
        };
        self.write(&head)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Unpack::Begun(..) | Unpack::Failed => Err(failed()),
            Unpack::Plain(outlet) => outlet.write_all(bytes),
            Unpack::Gzip(decoder) => decoder.write_all(bytes),
            Unpack::Deflate(decoder) => decoder.write_all(bytes),
            Unpack::Zstd(decoder) => decoder.write_all(bytes),
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("the body failed before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("finished")
    }

    fn unpacked(said: Said, body: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut unpack = Unpack::new(said, Vec::new());
        for piece in body.chunks(piece.max(1)) {
            unpack.push(piece)?;
        }
        unpack.settle()?;
        Ok(match unpack {
            Unpack::Begun(outlet, _) | Unpack::Plain(outlet) => outlet,
            Unpack::Gzip(decoder) => decoder.finish()?,
            Unpack::Deflate(decoder) => decoder.finish()?,
            Unpack::Zstd(decoder) => decoder.finish()?,
            Unpack::Failed => return Err(failed()),
        })
    }

    #[test]
    fn what_comes_out() {
        let text = b"one\ntwo\n".repeat(9_000);
        let zstd = zstd::encode_all(text.as_slice(), 1).expect("encoded");
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).expect("written");
        let zlib = zlib.finish().expect("finished");
        let (half, rest) = text.split_at(text.len() / 2);
        let members = [gzip(half), gzip(rest)].concat();
        for piece in [1, 3, 4, 5, 1_000, usize::MAX] {
            for (said, body) in [
                (Said::ByItself, &text),
                (Said::ByItself, &gzip(&text)),
                (Said::ByItself, &members),
                (Said::ByItself, &zstd),
                (Said::Deflate, &zlib),
            ] {
                let whole = unpacked(said, body, piece).expect("sound");
                assert!(whole == text, "{said:?} in pieces of {piece}");
            }
        }
        for short in [b"".as_slice(), b"a", b"abc"] {
            assert_eq!(unpacked(Said::ByItself, short, 1).expect("sound"), short);
        }
    }

    #[test]
    fn what_is_damaged_or_cut_is_told() {
        let whole = gzip(&b"one\ntwo\n".repeat(9_000));
        assert!(unpacked(Said::ByItself, &whole[..whole.len() - 9], 100).is_err());
        let zstd = zstd::encode_all(b"one\ntwo\n".as_slice(), 1).expect("encoded");
        assert!(unpacked(Said::ByItself, &zstd[..zstd.len() - 1], 100).is_err());
        let mut damaged = whole.clone();
        damaged[40] ^= 0xff;
        assert!(unpacked(Said::ByItself, &damaged, 100).is_err());
        assert!(unpacked(Said::Deflate, b"no zlib", 100).is_err());
    }
}
