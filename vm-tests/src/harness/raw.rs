//! What a server says to bytes that no client library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// Longer than any limit of the server.
const LIMIT: Duration = Duration::from_secs(40);

/// A connection of plain bytes.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects to `ADDRESS:PORT`.
    pub fn open(authority: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority).context("connecting")?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self(stream))
    }

    /// Sends bytes; false when the server has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Everything up to the end of the connection, which a server that was not done reading may reset.
    pub fn rest(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error).context("no end in time"),
            _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Whether the connection ends within `limit`; what the server says until then is thrown away.
    pub fn ends_within(&mut self, limit: Duration) -> Result<bool> {
        self.0.set_read_timeout(Some(limit))?;
        let ended = match self.0.read(&mut [0; 4096]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.0.set_read_timeout(Some(LIMIT))?;
        Ok(ended)
    }

    /// What the server says without being asked, if it does so within `limit`.
    pub fn first_words(&mut self, limit: Duration) -> Result<Option<String>> {
        self.0.set_read_timeout(Some(limit))?;
        let mut bytes = [0; 4096];
        let words = match self.0.read(&mut bytes) {
            Ok(count) => Some(String::from_utf8_lossy(&bytes[..count]).into_owned()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => return Err(error).context("waiting for the server's words"),
        };
        self.0.set_read_timeout(Some(LIMIT))?;
        Ok(words)
    }

    /// Sends a request line with these headers and reads the complete answer.
    pub fn ask(authority: &str, line: &str, headers: &[(&str, &str)]) -> Result<String> {
        let mut raw = Self::open(authority)?;
        raw.send(format!("{line} HTTP/1.1\r\n").as_bytes());
        for (name, value) in headers {
            raw.send(format!("{name}: {value}\r\n").as_bytes());
        }
        raw.send(b"Connection: close\r\n\r\n");
        raw.rest()
    }
}

/// The status of an answer, 0 where there is none.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// The value of a header, by its name in lower case.
pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
