//! Records: what a writer signs about a file's name, and which records of a name count.
//!
//! Start with [`RecordDraft`] to sign one, [`Record`] to read one, and [`settle`] for all of a name.

pub(crate) mod clear;
pub(crate) mod file_type;
pub(crate) mod key;
pub(crate) mod meta;
pub(crate) mod runs;
pub(crate) mod signed;
pub(crate) mod vector;
pub(crate) mod version;

pub use clear::{Clear, ForgetKind, HEIGHT_MAX, RecordError, RecordKind};
pub use file_type::{FileType, LINK_MAX};
pub use key::{Key, KeyError, MAX_KEY, NameKey};
pub use meta::{
    INLINE_MAX, MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_VALUE, MAX_ATTRIBUTES, Meta, MetaError, MetaKeys,
    OpenMetaError,
};
pub use runs::{ChunkRuns, RUNS_MAX};
pub use signed::{MAX_RECORD, Record, RecordDraft, SignError, Verifier};
pub use vector::{Dot, MAX_SEEN, N_MAX, Reached, SeenFull, Vector, Writer};
pub use version::{
    Gone, Settled, compare_leaves, covered_vector, covers, dead_vector, forgets, head,
    includes_forget, leaves, settle,
};
