//! A client of the local API that waits for every answer.
//!
//! It is none of `stash_api`: that one has a runtime, and a connection for each request, which would be
//! measured with what the node does. Here a thread keeps one connection, and writes and reads it itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use stash_api::route::Get;

/// An answer takes no longer, or the node hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection, kept for all requests.
pub(super) struct Client {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Client {
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let to = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        to.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { from: BufReader::new(to.try_clone()?), to })
    }

    /// Gets a document.
    pub(super) fn get<T: DeserializeOwned>(&mut self, what: &Get<T>) -> Result<T> {
        Ok(serde_json::from_slice(&self.ask("GET", what.path(), b"")?)?)
    }

    /// Sends a request and reads its answer; an answer that is no success is an error.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        );
        self.to.write_all(&[head.as_bytes(), body].concat())?;
        let (status, length) = self.head()?;
        let mut answer = vec![0; length];
        self.from.read_exact(&mut answer)?;
        if status != 200 {
            bail!("{method} {path} is answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    /// Status and length of an answer.
    fn head(&mut self) -> Result<(u16, usize)> {
        let (mut status, mut length) = (None, None);
        loop {
            let mut line = String::new();
            ensure!(self.from.read_line(&mut line)? > 0, "the node ends the connection");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().and_then(|word| word.parse().ok());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        status.zip(length).context("an answer without a status or a length")
    }
}
