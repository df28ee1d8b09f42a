//! Stores a file in a new stash, lists it, and reads it back.
//!
//! `cargo run -p stash-vault --example put_and_get`

use std::io::Write;
use std::time::Duration;

use futures::StreamExt;
use stash_vault::{Home, InitOptions, Key, Progress, PutOptions, RunOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("letter.txt");
    std::fs::write(&source, "Dear reader,\n".repeat(1000))?;

    let data = dir.path().join("data");
    let home = Home::init(&data, InitOptions::default())?;
    let node = Home::open(&data, None, RunOptions::default()).await?;
    let vault = node.vault.clone().ok_or("a founder has a vault")?;

    let key = Key::new("letters/first")?;
    let options = PutOptions::default();
    let report = vault.put_path(&source, Some(key.clone()), options, &Progress::new()).await?;

    let mut out = std::io::stdout();
    writeln!(out, "stash {}", home.stash_id())?;
    writeln!(
        out,
        "put   {} ({} bytes, {} of {} copies)",
        report.key, report.bytes, report.copies, report.wanted
    )?;
    for entry in vault.ls("letters", None, 100).await? {
        writeln!(out, "ls    {} {} bytes, {}", entry.key, entry.size, entry.here.word())?;
    }
    let mut reading = vault.read(&key, Some(0..12), true).await?;
    while let Some(piece) = reading.next().await {
        writeln!(out, "read  {}", String::from_utf8_lossy(&piece?))?;
    }
    drop((reading, vault));
    node.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
