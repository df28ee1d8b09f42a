//! The committed inputs of a fuzz target.

use std::fs;
use std::path::Path;

use crate::mutation::{self, Random};

/// Fuzzed function: true if it accepted the bytes. It panics when a promise is broken.
pub type Target = fn(&[u8]) -> bool;

/// Input that the code itself encodes, with the name of its file.
pub type Seed = (String, Vec<u8>);

/// Names of seeds that are not accepted begin so.
const REFUSED: &str = "refused-";

/// Makes a [`Seed`]. The name begins with `refused-` if the target does not accept the bytes.
pub fn seed(name: &str, bytes: impl AsRef<[u8]>) -> Seed {
    (name.to_owned(), bytes.as_ref().to_vec())
}

/// The committed inputs of a target.
#[derive(Debug)]
pub struct Corpus {
    target: &'static str,
    run: Target,
    inputs: Vec<Seed>,
}

impl Corpus {
    /// Reads `fuzz/corpus/<target>` of the package in the directory `package`, which holds at least
    /// `seeds`, each under its name. They are accepted, or else their names say that they are refused: a
    /// target that stops at the first byte of everything is noticed.
    ///
    /// With `STASH_WRITE_CORPUS=1` in the environment it writes the seeds first: for new targets and
    /// changed formats.
    ///
    /// # Panics
    ///
    /// If a seed is not committed as it is given, or is accepted against its name; if there is no input,
    /// or one cannot be read.
    pub fn open(
        package: impl AsRef<Path>,
        target: &'static str,
        run: Target,
        seeds: &[Seed],
    ) -> Corpus {
        let directory = package.as_ref().join("fuzz/corpus").join(target);
        for (name, bytes) in seeds {
            let path = directory.join(name);
            if std::env::var_os("STASH_WRITE_CORPUS").is_some() {
                let written = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, bytes));
                written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
            let same = fs::read(&path).is_ok_and(|committed| committed == *bytes);
            assert!(same, "{} is not what the code encodes", path.display());
            assert_eq!(run(bytes), !name.starts_with(REFUSED), "{target}/{name}");
        }
        let inputs = inputs(&directory).unwrap_or_else(|e| panic!("{target}: {e}"));
        assert!(!inputs.is_empty(), "{target} has no inputs");
        Corpus { target, run, inputs }
    }

    /// Runs every committed input, then `mutations` others, from the seed in `STASH_SEED`, or else always
    /// from the same one. It prints the seed.
    ///
    /// # Panics
    ///
    /// If the target does; the input is printed in hex then.
    pub fn run(&self, mutations: u32) {
        for (name, bytes) in &self.inputs {
            let _told = Told { target: self.target, which: name.clone(), input: bytes };
            (self.run)(bytes);
        }
        let seed = std::env::var("STASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        eprintln!("replay with STASH_SEED={seed}");
        let inputs: Vec<&[u8]> = self.inputs.iter().map(|(_, bytes)| &bytes[..]).collect();
        let mut random = Random(seed);
        for number in 0..mutations {
            let bytes = mutation::of(&inputs, &mut random);
            let which = format!("mutation {number} of STASH_SEED={seed}");
            let _told = Told { target: self.target, which, input: &bytes };
            (self.run)(&bytes);
        }
    }
}

/// The files of a directory, in the order of their names.
fn inputs(directory: &Path) -> std::io::Result<Vec<Seed>> {
    let mut inputs = Vec::new();
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        inputs.push((name, fs::read(file.path())?));
    }
    inputs.sort();
    Ok(inputs)
}

/// Says which input it was if a run panics.
struct Told<'a> {
    target: &'static str,
    which: String,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {}, {}: {hex}", self.target, self.which);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn package(inputs: &[Seed]) -> tempfile::TempDir {
        let package = tempfile::tempdir().unwrap();
        let directory = package.path().join("fuzz/corpus/short");
        fs::create_dir_all(&directory).unwrap();
        for (name, bytes) in inputs {
            fs::write(directory.join(name), bytes).unwrap();
        }
        package
    }

    /// Accepts up to eight bytes, and breaks at a ninth that is 0xff.
    fn short(bytes: &[u8]) -> bool {
        assert_ne!(bytes.get(8), Some(&0xff), "the planted fault");
        bytes.len() <= 8
    }

    #[test]
    fn seeds_are_committed_as_they_are_encoded_and_accepted_as_they_are_named() {
        let (eight, nine) = (seed("eight", [1; 8]), seed("refused-nine", [1; 9]));
        let package = package(&[eight.clone(), nine.clone(), seed("odd", [1; 7])]);
        let open = |seeds: &[Seed]| {
            let opened = catch_unwind(|| Corpus::open(package.path(), "short", short, seeds));
            opened.map(|corpus| corpus.inputs.len())
        };
        assert_eq!(open(&[eight, nine]).ok(), Some(3), "all that lies there is run");
        for wrong in [seed("eight", [2; 8]), seed("absent", [1; 8])] {
            assert!(open(std::slice::from_ref(&wrong)).is_err(), "{}", wrong.0);
        }
    }

    #[test]
    fn a_seed_that_is_accepted_against_its_name_fails() {
        let wrong = seed("refused-eight", [1; 8]);
        let package = package(std::slice::from_ref(&wrong));
        assert!(catch_unwind(|| Corpus::open(package.path(), "short", short, &[wrong])).is_err());
    }

    #[test]
    fn a_target_without_inputs_fails() {
        let package = package(&[]);
        assert!(catch_unwind(|| Corpus::open(package.path(), "short", short, &[])).is_err());
        assert!(catch_unwind(|| Corpus::open(package.path(), "none", short, &[])).is_err());
    }

    #[test]
    fn every_input_is_run_and_mutations_find_a_fault_beside_them() {
        let package = package(&[seed("eight", [1; 8]), seed("refused-nine", [1; 9])]);
        let corpus = Corpus::open(package.path(), "short", short, &[]);
        corpus.run(0);
        assert!(catch_unwind(|| corpus.run(2_000)).is_err(), "nobody met the planted fault");
        fs::write(package.path().join("fuzz/corpus/short/found"), [0xff; 9]).unwrap();
        let corpus = Corpus::open(package.path(), "short", short, &[]);
        assert!(catch_unwind(|| corpus.run(0)).is_err(), "a committed input was not run");
    }
}
