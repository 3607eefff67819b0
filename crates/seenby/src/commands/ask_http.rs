//! The few words of HTTP/1.1 with which the demo asks its own server. Refuses to hold: TLS, redirects and anything
//! else a client for other servers needs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, ensure};

/// Posts a form; gives the body of a 200.
pub(super) fn post_form(host: &str, path: &str, form: &str) -> anyhow::Result<String> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}",
        form.len()
    );
    exchange(host, &head, form)
}

/// Gets a resource with a token; gives the body of a 200.
pub(super) fn get(host: &str, path: &str, token: &str) -> anyhow::Result<String> {
    exchange(host, &format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}"), "")
}

fn exchange(host: &str, head: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(host).with_context(|| format!("nobody answers at {host}"))?;
    write!(stream, "{head}\r\nHost: {host}\r\nConnection: close\r\n\r\n{body}")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("a reply without a head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body).context("a reply in bad chunks")? } else { body.to_owned() };
    ensure!(status == "200", "the server said {status}: {}", sighting::escape(&body));
    Ok(body)
}

/// Joins the chunks of a body.
fn unchunk(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..length)?);
        chunks = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn chunks_are_joined() {
        assert_eq!(super::unchunk("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").as_deref(), Some("abcde"));
        assert_eq!(super::unchunk("3\r\nab"), None);
    }
}
