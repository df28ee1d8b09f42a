//! The hello: the first frame each way, a MessagePack map.
//!
//! | key | value |
//! |---|---|
//! | `run` | integer: random, new at each start of an endpoint |
//! | `streams` | integer: streams that the receiver of this hello may have open |
//! | `stream_window` | integer: bytes it may send on a new stream |
//! | `connection_window` | integer: bytes it may send on the connection |
//! | `capabilities` | array of at most 64 strings; unknown ones are ignored |
//! | `app` | binary: what the application says, at most 64 KiB |
//!
//! Unknown keys are ignored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::ProtocolError;
use crate::limits::{
    MAX_CAPABILITIES, MAX_CREDIT, MAX_HELLO_APP, MIN_CONNECTION_WINDOW, MIN_STREAM_WINDOW,
};

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) run: u64,
    pub(crate) streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) capabilities: Vec<String>,
    pub(crate) app: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    run: u64,
    streams: u32,
    stream_window: u32,
    connection_window: u32,
    capabilities: Vec<String>,
    #[serde(with = "serde_bytes")]
    app: Vec<u8>,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            run: self.run,
            streams: self.streams,
            stream_window: self.stream_window,
            connection_window: self.connection_window,
            capabilities: self.capabilities.clone(),
            app: self.app.to_vec(),
        };
        rmp_serde::to_vec_named(&wire).expect("a map of plain values always encodes")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut decoder = rmp_serde::Deserializer::new(bytes);
        decoder.set_max_depth(8);
        let wire = Wire::deserialize(&mut decoder).map_err(|_| ProtocolError::BadHello)?;
        let fits = decoder.get_ref().is_empty()
            && wire.streams > 0
            && wire.stream_window >= MIN_STREAM_WINDOW
            && wire.connection_window >= MIN_CONNECTION_WINDOW
            && u64::from(wire.stream_window) <= MAX_CREDIT
            && u64::from(wire.connection_window) <= MAX_CREDIT
            && wire.capabilities.len() <= MAX_CAPABILITIES
            && wire.app.len() <= MAX_HELLO_APP;
        fits.then_some(Self {
            run: wire.run,
            streams: wire.streams,
            stream_window: wire.stream_window,
            connection_window: wire.connection_window,
            capabilities: wire.capabilities,
            app: wire.app.into(),
        })
        .ok_or(ProtocolError::BadHello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            run: 9,
            streams: 10,
            stream_window: MIN_STREAM_WINDOW,
            connection_window: MIN_CONNECTION_WINDOW,
            capabilities: vec!["of-another-age".into()],
            app: Bytes::from_static(b"app"),
        }
    }

    #[test]
    fn a_hello_survives_its_encoding() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn an_unknown_key_is_ignored() {
        let mut bytes = hello().encode();
        assert_eq!(bytes[0], 0x86);
        bytes[0] = 0x87;
        bytes.extend_from_slice(b"\xa6future\x93\x01\x02\x03");
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
    }

    // Fault cases 32 and 33.
    #[test]
    fn bombs_cuts_and_trailing_bytes_are_refused() {
        let good = hello().encode();
        for len in 0..good.len() {
            assert_eq!(Hello::decode(&good[..len]), Err(ProtocolError::BadHello));
        }
        let mut trailing = good.clone();
        trailing.push(0);
        let mut array = good.clone();
        let at = good.windows(12).position(|w| w == b"capabilities").unwrap() + 12;
        array.splice(at..=at, *b"\xdd\xff\xff\xff\xff");
        let mut deep = good.clone();
        deep[0] = 0x87;
        deep.extend_from_slice(b"\xa1x");
        deep.extend(std::iter::repeat_n(0x91, 60_000));
        let twice = [&[0x87], &good[1..], b"\xa3run\x01"].concat();
        for bomb in [trailing, array, deep, twice, vec![0xdd, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(Hello::decode(&bomb), Err(ProtocolError::BadHello));
        }
    }

    // Fault case 29.
    #[test]
    fn every_list_is_taken_at_its_limit_and_refused_one_beyond() {
        let capabilities = |count| Hello { capabilities: vec!["c".into(); count], ..hello() };
        let app = |count| Hello { app: vec![0; count].into(), ..hello() };
        for (most, beyond) in [
            (capabilities(MAX_CAPABILITIES), capabilities(MAX_CAPABILITIES + 1)),
            (app(MAX_HELLO_APP), app(MAX_HELLO_APP + 1)),
        ] {
            assert_eq!(Hello::decode(&most.encode()), Ok(most));
            assert_eq!(Hello::decode(&beyond.encode()), Err(ProtocolError::BadHello));
        }
    }

    #[test]
    fn impossible_limits_are_refused() {
        let small = Hello { stream_window: MIN_STREAM_WINDOW - 1, ..hello() };
        let none = Hello { streams: 0, ..hello() };
        let huge = Hello { connection_window: u32::MAX, ..hello() };
        for bad in [small, none, huge] {
            assert_eq!(Hello::decode(&bad.encode()), Err(ProtocolError::BadHello));
        }
    }
}
