//! One connection that is kept: a request goes out, its answer comes back. As little as a client can do, so that what is
//! measured is the server. Refuses to hold: several requests at once, TLS, redirects.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Context as _;

/// Headers of an answer, at most.
const HEADERS_MAX: usize = 64;

/// To one server.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come of the answer.
    came: Vec<u8>,
}

/// How long the body of an answer is.
pub(crate) enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    pub(crate) fn open(host: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, came: Vec::with_capacity(16 << 10) })
    }

    /// Status and body of the answer to a request.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.exchange_parts(&[request])
    }

    /// The same of a request in parts, which are not copied together.
    pub(crate) fn exchange_parts(&mut self, request: &[&[u8]]) -> anyhow::Result<(u16, Vec<u8>)> {
        for part in request {
            self.stream.write_all(part)?;
        }
        self.came.clear();
        let (status, head, length) = loop {
            self.read_on()?;
            if let Some(head) = head(&self.came)? {
                break head;
            }
        };
        match length {
            Length::Bytes(bytes) => {
                while self.came.len() < head + bytes {
                    self.read_on()?;
                }
                Ok((status, self.came[head..head + bytes].to_vec()))
            }
            Length::Chunked => {
                while !self.came.ends_with(b"0\r\n\r\n") {
                    self.read_on()?;
                }
                Ok((status, unchunked(&self.came[head..])?))
            }
        }
    }

    fn read_on(&mut self) -> anyhow::Result<()> {
        let mut block = [0; 16 << 10];
        let bytes = self.stream.read(&mut block)?;
        anyhow::ensure!(bytes > 0, "the server hung up");
        self.came.extend_from_slice(&block[..bytes]);
        Ok(())
    }
}

/// Status, length of the head and of the body, once the head is whole.
pub(crate) fn head(came: &[u8]) -> anyhow::Result<Option<(u16, usize, Length)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(came)? else { return Ok(None) };
    let value = |name: &str| {
        let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| str::from_utf8(header.value).ok())
    };
    let length = match value("content-length") {
        Some(bytes) => Length::Bytes(bytes.trim().parse()?),
        None if value("transfer-encoding").is_some() => Length::Chunked,
        None => Length::Bytes(0),
    };
    Ok(Some((answer.code.context("a status")?, head, length)))
}

fn unchunked(mut chunks: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let httparse::Status::Complete((at, bytes)) =
        httparse::parse_chunk_size(chunks).map_err(|_| anyhow::anyhow!("a broken chunk"))?
    {
        let (at, bytes) = (at, usize::try_from(bytes)?);
        if bytes == 0 {
            break;
        }
        body.extend_from_slice(chunks.get(at..at + bytes).context("a whole chunk")?);
        chunks = chunks.get(at + bytes + 2..).context("the end of a chunk")?;
    }
    Ok(body)
}
