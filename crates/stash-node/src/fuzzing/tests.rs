//! Every target, from texts that are in order on: random, with a seed.

use stash_fuzz::{Corpus, Seed, Target, seed};

use crate::config::TEMPLATE;

fn replay(target: &'static str, run: Target, seeds: &[Seed]) {
    Corpus::open(env!("CARGO_MANIFEST_DIR"), target, run, seeds).run(4000);
}

#[test]
fn configurations_hold_their_promises_whatever_the_bytes() {
    let every = TEMPLATE.replace("# data_dir", "data_dir").replace("# socket", "socket");
    let every = every.replace("# listen", "listen").replace("# advertise", "advertise");
    let every = every.replace("# name", "name").replace("# log", "log");
    let seeds = [
        seed("first-run", TEMPLATE),
        seed("every-setting", every),
        seed("relative", "data_dir = \"here\"\nsocket = '../s'\n"),
        seed("refused-key", "naem = \"laptop\"\n"),
        seed("refused-name", "name = \"a\\nb\"\n"),
    ];
    replay("config", super::config, &seeds);
}

// Fault case 40.
#[test]
fn ranges_hold_their_promises_whatever_the_bytes() {
    let range = |name: &str, size: u64, text: &str| {
        seed(name, [&size.to_le_bytes(), text.as_bytes()].concat())
    };
    let seeds = [
        range("between", 10, "bytes=2-5"),
        range("from", 10, "bytes=9-"),
        range("last", u64::MAX, "bytes=-18446744073709551615"),
        range("beyond", 10, "bytes=0-99999999999999999999999"),
        range("refused-several", 10, "bytes=0-1,3-4"),
    ];
    replay("range", super::range, &seeds);
}
