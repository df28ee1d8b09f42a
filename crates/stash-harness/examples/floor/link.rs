//! A link: length ‖ ciphertext ‖ tag, one AES-256-GCM per direction and link, over TCP on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::block::Block;
use crate::seal::{CHUNK, OVERHEAD};

const LENGTH: usize = 4;
const TAG: usize = 16;

/// The longest message: a sealed chunk with the number in front.
const MESSAGE: usize = 8 + OVERHEAD + CHUNK;

pub(crate) struct Link {
    stream: TcpStream,
    key: LessSafeKey,
    sent: u64,
    /// One message as it is on the wire, reused. What is in it begins at a page.
    wire: Block,
}

impl Link {
    /// Connects to the side that listens and says which link this is.
    pub(crate) fn connect(port: u16, number: usize) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(&[u8::try_from(number)?])?;
        Self::new(stream, number)
    }

    /// Accepts `count` links, in the order of their numbers.
    pub(crate) fn accept(listener: &TcpListener, count: usize) -> Result<Vec<Self>> {
        let mut links: Vec<Option<Self>> = (0..count).map(|_| None).collect();
        for _ in 0..count {
            let (mut stream, _) = listener.accept()?;
            let mut number = [0];
            stream.read_exact(&mut number)?;
            let number = usize::from(number[0]);
            *links.get_mut(number).context("unknown link")? = Some(Self::new(stream, number)?);
        }
        links.into_iter().map(|link| link.context("a link came twice")).collect()
    }

    fn new(stream: TcpStream, number: usize) -> Result<Self> {
        stream.set_nodelay(true)?;
        let secret = [u8::try_from(number)? + 3; 32];
        let key = UnboundKey::new(&AES_256_GCM, &secret).map_err(|_| anyhow!("bad key"))?;
        Ok(Self { stream, key: LessSafeKey::new(key), sent: 0, wire: Block::new(LENGTH) })
    }

    /// Encrypts and sends one message: one write.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<()> {
        let end = LENGTH + message.len();
        let wire = &mut self.wire.all()[..end + TAG];
        wire[..LENGTH].copy_from_slice(&u32::try_from(message.len())?.to_le_bytes());
        let (body, tag) = wire[LENGTH..].split_at_mut(message.len());
        let nonce = nonce(self.sent);
        self.key
            .seal_out_of_place_scatter(nonce, Aad::empty(), message, body, &[], tag)
            .map_err(|_| anyhow!("sealing for the link failed"))?;
        self.sent += 1;
        self.stream.write_all(wire)?;
        Ok(())
    }

    /// Receives one message, decrypted in place in the link's buffer. An empty one is the end.
    pub(crate) fn receive(&mut self) -> Result<&mut [u8]> {
        let (room, length) = self.receive_in_room()?;
        Ok(&mut room[..length])
    }

    /// As `receive`: room that begins with the message, and the message's length.
    pub(crate) fn receive_in_room(&mut self) -> Result<(&mut [u8], usize)> {
        let mut length = [0; LENGTH];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length))?;
        ensure!(length <= MESSAGE, "a message of {length} bytes");
        let room = &mut self.wire.all()[LENGTH..];
        let wire = &mut room[..length + TAG];
        self.stream.read_exact(wire)?;
        let nonce = nonce(self.sent);
        self.sent += 1;
        let (body, tag) = wire.split_at_mut(length);
        self.key
            .open_in_place_separate_tag(nonce, Aad::empty(), tag, body)
            .map_err(|_| anyhow!("a message does not open"))?;
        Ok((room, length))
    }

    /// Says that everything is on disk.
    pub(crate) fn answer(&mut self) -> Result<()> {
        Ok(self.stream.write_all(&[1])?)
    }

    pub(crate) fn wait_answer(&mut self) -> Result<()> {
        Ok(self.stream.read_exact(&mut [0])?)
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
