//! An embedded blob store in a directory: put files, list them, get them back.
//!
//! `cargo run -p stash-store --example blobs` shows all of it in a directory of its own.
//! `cargo run -p stash-store --example blobs -- DIR put FILE…`
//! `cargo run -p stash-store --example blobs -- DIR ls`
//! `cargo run -p stash-store --example blobs -- DIR get NAME > FILE`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to use")]

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stash_store::{Address, Batch, Blob, OpenError, Options, Store};

/// Bytes of a piece. The list of a file's pieces is a row under the file's name.
const PIECE: usize = 1024 * 1024;

fn open(dir: &Path) -> Result<Store, OpenError> {
    match Store::open(dir, &Options::default()) {
        Err(OpenError::NoStore { .. }) => Store::create(dir, &Options::default()),
        result => result,
    }
}

fn put(store: &Store, path: &Path) -> Result<(), Box<dyn Error>> {
    let name = path.file_name().ok_or("the path has no file name")?.to_string_lossy();
    let bytes = std::fs::read(path)?;
    let (mut list, mut batch) = (Vec::new(), Batch::new());
    for piece in bytes.chunks(PIECE) {
        let blob = Blob::hash(piece.to_vec());
        let address = blob.address();
        list.extend_from_slice(address.as_bytes());
        batch = batch.require(address);
        store.stage(blob)?;
    }
    store.commit(batch.row(name.as_bytes(), Some(&list)))?;
    println!("{name}: {} bytes in {} pieces", bytes.len(), list.len() / 32);
    Ok(())
}

fn get(store: &Store, name: &str) -> Result<(), Box<dyn Error>> {
    let list = store.row(name.as_bytes())?.ok_or_else(|| format!("there is no {name}"))?;
    let mut piece = Vec::new();
    for address in list.chunks_exact(32) {
        let address = Address::from_bytes(address.try_into()?);
        if !store.read_into(&address, &mut piece)? {
            return Err(format!("piece {address} of {name} is missing").into());
        }
        std::io::stdout().write_all(&piece)?;
    }
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: blobs [DIR put FILE… | DIR ls | DIR get NAME]";
    let Some(dir) = args.next() else { return demo() };
    let store = open(&PathBuf::from(dir))?;
    match (args.next().as_deref(), args.next()) {
        (Some("put"), Some(first)) => {
            for path in std::iter::once(first).chain(args) {
                put(&store, Path::new(&path))?;
            }
            Ok(())
        }
        (Some("ls"), None) => {
            for (name, list) in store.rows(b"")? {
                println!("{:6} pieces  {}", list.len() / 32, String::from_utf8_lossy(&name));
            }
            Ok(())
        }
        (Some("get"), Some(name)) => get(&store, &name),
        _ => Err(usage.into()),
    }
}

/// Puts this crate's own README, closes the store, and gets it back.
fn demo() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    put(&open(dir.path())?, &Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    get(&open(dir.path())?, "README.md")
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
