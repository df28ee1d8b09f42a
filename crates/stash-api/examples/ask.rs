//! Asks a node for its status and its first files: the one at the socket that is named, or a stand-in
//! that answers as a node does.
#![allow(clippy::print_stdout, reason = "it shows what it was told")]

use std::error::Error;
use std::path::PathBuf;

use stash_api::files::Listing;
use stash_api::node::Status;
use stash_api::{Client, ClientError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let socket = match std::env::args_os().nth(1) {
        Some(named) => PathBuf::from(named),
        None => {
            let socket = directory.path().join("stash.sock");
            tokio::spawn(stand_in(UnixListener::bind(&socket)?));
            socket
        }
    };
    let client = Client::new(socket);
    let status = client.get(&Status::route()).await?;
    println!("{} of {} members are connected", status.connected, status.members);
    match client.get(&Listing::route("", None, 10)).await {
        Ok(page) => page.entries.iter().for_each(|entry| println!("{} {}", entry.size, entry.key)),
        // A keeper has no names to list.
        Err(ClientError::Answered(problem)) => println!("{}: {}", problem.code, problem.message),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

/// Answers one request a connection, from what `docs/api.md` shows.
async fn stand_in(listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        // Whoever asked has gone: the next one may not have.
        let _gone = answer(stream).await;
    }
}

async fn answer(mut stream: UnixStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let (status, body) = match head.starts_with(b"GET /v1/status ") {
        true => ("200 OK", STATUS),
        false => ("409 Conflict", KEEPER),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}

const STATUS: &str = r#"{"node_id":"00","stash_id":"01","role":"keeper","name":null,"listen":[],
    "synchronised":true,"members":3,"connected":2,"records":4,"files":null,"chunks":5,"bytes":6,
    "missing_copies":0,"incomplete":0,"read_only":null,"away":null,"alarms":[],"quarantined":0,
    "traffic":{"sent":1,"received":2,"up":null,"down":null,"background_down":null},
    "store":{"used":1,"soft":null,"hard":null,"reserve":null,"disk_free":null,"state":"enough","why":null},
    "gc":{"running":false,"last":null,"freed":0,"collectable":0,"chunks":0,"waiting":0,"waiting_chunks":0},
    "scrub":{"passes":0,"last":null,"done_bytes":0,"total_bytes":0,"findings":0,"last_findings":0,
             "found":0,"healed":0,"unhealed":0},
    "repair":{"running":false,"last":null,"copies":null,"below":null},"damaged":[],"version":"0.1.0"}"#;

const KEEPER: &str =
    r#"{"error":{"code":"refused","message":"this node is a keeper","hint":null}}"#;
