//! An authenticated echo for another program: both ends know each other's key, nobody else gets a
//! byte.
//!
//! ```text
//! cargo run -p stash-p2p --example echo key                      # prints a fresh secret and its key
//! cargo run -p stash-p2p --example echo serve 127.0.0.1:0 CLIENT_KEY < server.secret
//! cargo run -p stash-p2p --example echo ask ADDRESS SERVER_KEY hello < client.secret
//! cargo run -p stash-p2p --example echo                          # both in one process
//! ```

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stash_p2p::{
    Class, Endpoint, Event, Events, Frame, Limits, MemoryGate, Peer, PublicKey, Realm,
    StaticSecret, Stream, StreamError,
};
use tokio::io::AsyncReadExt;

type AnyResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The network of this program. A real one derives the two keys from a secret of its members:
/// they keep strangers from even being answered. Who a peer *is* rests on its static key alone.
fn realm() -> Realm {
    Realm {
        label: *b"echo----------------------------",
        prologue: b"echo 1".to_vec(),
        tag_key: [1; 32],
        psk: [2; 32],
    }
}

fn bind(
    listen: &[SocketAddr],
    secret: StaticSecret,
    other: PublicKey,
) -> AnyResult<(Endpoint, Events)> {
    // A program with a disk implements `Gate` itself and keeps the counters.
    let gate = MemoryGate::new(vec![realm()]);
    gate.add(other);
    Ok(Endpoint::bind(listen, secret, Arc::new(gate), Limits::default())?)
}

#[tokio::main]
async fn main() -> AnyResult<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["key"] => {
            let secret = StaticSecret::from_bytes(rand::random());
            let digits: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
            println!("secret {digits}\nkey    {}", secret.public());
            Ok(())
        }
        ["serve", listen, client] => {
            let (endpoint, events) =
                bind(&[listen.parse()?], secret_from_stdin().await?, client.parse()?)?;
            println!("listening on {}", endpoint.local_addresses()[0]);
            serve(events).await;
            Ok(())
        }
        ["ask", address, server, text] => {
            let server = server.parse()?;
            let (endpoint, _events) = bind(&[], secret_from_stdin().await?, server)?;
            println!("{}", ask(&endpoint, address.parse()?, server, text).await?);
            endpoint.shutdown(Duration::from_secs(5)).await;
            Ok(())
        }
        [] => demo().await,
        _ => Err("say: key | serve LISTEN CLIENT_KEY | ask ADDRESS SERVER_KEY TEXT".into()),
    }
}

async fn demo() -> AnyResult<()> {
    let (server, client) = (StaticSecret::from_bytes([1; 32]), StaticSecret::from_bytes([2; 32]));
    let server_key = server.public();
    let (listener, events) = bind(&["127.0.0.1:0".parse()?], server, client.public())?;
    tokio::spawn(serve(events));
    let (endpoint, _events) = bind(&[], client, server_key)?;
    let addr = listener.local_addresses()[0];
    println!("{}", ask(&endpoint, addr, server_key, "hello").await?);
    endpoint.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// A secret is not for the command line: 64 hexadecimal digits come in on standard input.
async fn secret_from_stdin() -> AnyResult<StaticSecret> {
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    // Secret and public keys have the same text form.
    let bytes: PublicKey = text.trim().parse()?;
    Ok(StaticSecret::from_bytes(*bytes.as_bytes()))
}

async fn serve(mut events: Events) {
    while let Some(event) = events.next().await {
        match event {
            Event::Up(peer) => {
                println!("{} is up", peer.remote().short());
                tokio::spawn(echo_all(peer));
            }
            Event::Down { peer, reason } => println!("{} is down: {reason}", peer.remote().short()),
        }
    }
}

async fn echo_all(peer: Peer) {
    while let Some(stream) = peer.accept().await {
        // A stream that fails concerns nobody else.
        tokio::spawn(async { echo(stream).await.ok() });
    }
}

async fn echo(stream: Stream) -> Result<(), StreamError> {
    let (mut send, mut recv) = stream.split();
    while let Some(frame) = recv.next().await? {
        match frame {
            Frame::Message(bytes) => send.message(bytes).await?,
            Frame::Data(bytes) => send.data(bytes).await?,
        }
    }
    send.finish();
    Ok(())
}

async fn ask(
    endpoint: &Endpoint,
    addr: SocketAddr,
    server: PublicKey,
    text: &str,
) -> AnyResult<String> {
    let peer = endpoint.dial_once(vec![addr], server, realm(), Duration::from_secs(10)).await?;
    let (mut send, mut recv) = peer.open(Class::Control).await?.split();
    send.message(text.to_owned()).await?;
    send.finish();
    match recv.next().await? {
        Some(Frame::Message(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        _ => Err("the server did not echo".into()),
    }
}
