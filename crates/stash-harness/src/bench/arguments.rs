//! The benches, with their arguments.

#![expect(
    missing_docs,
    reason = "a doc line here is a line of --help, and not every option has one"
)]

use clap::Subcommand;

/// A bench.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Put and get one big file on three nodes, beside straight-line code doing the same work
    Transfer {
        /// Size of the file: bytes, or with a suffix (KiB, MiB, GiB)
        #[arg(long, default_value = "1GiB", value_parser = parse_size)]
        size: u64,
        /// Rounds; the medians are reported
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        #[arg(long)]
        json: bool,
    },
    /// Put a file on three nodes: another program's file stays in the page cache, theirs do not enter it
    Cache {
        /// Size of the file that is put
        #[arg(long, default_value = "4GiB", value_parser = parse_size)]
        size: u64,
        /// Size of the other program's file
        #[arg(long, default_value = "2GiB", value_parser = parse_size)]
        warm: u64,
        /// Leaves so much memory to everything, the other program's file included, and takes the rest
        #[arg(long, value_parser = parse_size)]
        leave: Option<u64>,
        #[arg(long)]
        json: bool,
    },
    /// Files between a limited node and another, while both ask each other questions
    Bwlimit {
        /// Bytes a second that the node may send, and receive
        #[arg(long, default_value = "2MiB", value_parser = parse_size)]
        limit: u64,
        /// Size of each file
        #[arg(long, default_value = "32MiB", value_parser = parse_size)]
        size: u64,
        #[arg(long)]
        json: bool,
    },
    /// Many clients put and get objects of 1 KiB over the local API of one node
    Objects {
        /// Clients, each with a connection of its own: the local API takes 64
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=64))]
        clients: u32,
        /// Objects in all
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=999_999))]
        objects: u32,
        #[arg(long)]
        json: bool,
    },
    /// A keeper that missed many records: until it has them, until it hears of a removal, and memory
    Catchup {
        /// Records that it missed; a million take about 10 GB of disk
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
        records: u32,
        #[arg(long)]
        json: bool,
    },
    /// A tree of many small files on one node: the rate of each tenth, and what is asked of the node then
    Files {
        /// Number of files; a million of 4 KiB take about 15 GB of disk, and 4 GB of memory for the tree
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
        count: u32,
        /// Bytes of each file; up to 4096 lie in the record
        #[arg(long, default_value_t = 4096)]
        size: u16,
        #[arg(long)]
        json: bool,
    },
    /// Put a directory of 4 KiB files on three nodes and get it back on another
    Small {
        /// Number of files
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        files: u32,
        /// Rounds; the medians are reported
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        #[arg(long)]
        json: bool,
    },
}

/// Parses `4096`, `64KiB`, `512MiB`, `1GiB` (and the short forms `64K`, `512M`, `1G`).
fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit.trim_end_matches("iB") {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("unit {unit:?} is not one of KiB, MiB, GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size"))?;
    match number.checked_mul(1 << shift) {
        Some(0) | None => Err(format!("{text:?} is out of range")),
        Some(size) => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units_only() {
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        for bad in ["", "GiB", "1GB", "-1", "0", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
