//! Reads the body of an answer: a document, or lines.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;

use super::error::{ClientError, ended};

/// The longest silence of a node within an answer: a document comes at once, and an operation tells of its
/// progress every 5 s.
const SILENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that is one document; a page of a listing is the longest.
const DOCUMENT_MAX: usize = 64 * 1024 * 1024;

/// Reads an answer that is one JSON document, of 64 MiB at most, within half a minute.
///
/// # Errors
///
/// [`ClientError::Ended`] if it does not come to its end, and [`ClientError::Unexpected`] if it is
/// another document.
pub async fn document<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let ended = || ClientError::Ended { source: None };
    let bytes = collect(response.into_body()).await.ok_or_else(ended)?;
    serde_json::from_slice(&bytes).map_err(ClientError::Unexpected)
}

pub(super) async fn collect(body: Incoming) -> Option<Bytes> {
    let whole = Limited::new(body, DOCUMENT_MAX).collect();
    Some(tokio::time::timeout(SILENCE, whole).await.ok()?.ok()?.to_bytes())
}

/// Cuts a body into lines.
pub(super) struct Lines<B> {
    body: B,
    buffer: BytesMut,
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Lines<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next line without its end; `None` at a clean end of the body.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let broken_off = || ClientError::Ended { source: None };
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + end + 1);
                line.truncate(searched + end);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > DOCUMENT_MAX {
                return Err(broken_off());
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Err(_) => return Err(ClientError::Silent),
                Ok(Some(Ok(frame))) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                Ok(Some(Err(source))) => return Err(ended(source)),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(broken_off()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// The lines before the end, and the end.
    async fn lines(pieces: &[&'static str]) -> (Vec<Bytes>, Result<(), ClientError>) {
        let frames: Vec<Result<_, hyper::Error>> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        let mut lines = Lines::new(StreamBody::new(futures::stream::iter(frames)));
        let mut all = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => all.push(line),
                Ok(None) => return (all, Ok(())),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_found_however_the_body_was_cut() {
        for pieces in [&["ab\n\nc\n"][..], &["a", "b\n", "\nc", "\n"]] {
            let (found, end) = lines(pieces).await;
            assert_eq!(found, ["ab", "", "c"]);
            assert!(end.is_ok());
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_within_a_line_is_an_error() {
        let (found, end) = lines(&["ab\nc"]).await;
        assert_eq!(found, ["ab"]);
        assert!(matches!(end, Err(ClientError::Ended { source: None })));
    }
}
