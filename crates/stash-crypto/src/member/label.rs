//! Display names of nodes, sealed for those who may read.

use std::fmt;

use thiserror::Error;

use crate::ids::NodeId;
use crate::siv::{Siv, TAG};

/// Longest display name in bytes; every sealed label is padded to it.
pub const MAX_DISPLAY_NAME: usize = 64;
/// Length of every sealed label: epoch, T, padded name.
pub(crate) const SEALED_LABEL: usize = 4 + TAG + MAX_DISPLAY_NAME;

/// Why a text is no display name. The caller, or the joiner who sent it, is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Longer than [`MAX_DISPLAY_NAME`].
    #[error("a display name has at most {MAX_DISPLAY_NAME} bytes, this one has {len}")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// A control character, NUL included.
    #[error("control character at byte {at}")]
    Control {
        /// Its position.
        at: usize,
    },
}

/// Why a sealed display name cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenLabelError {
    /// No sealed display name has so many bytes. The signer of the entry is at fault.
    #[error("a sealed display name has {expected} bytes, this one has {got}")]
    Length {
        /// Bytes that each has.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// The caller used the keys of another epoch: retry with the right ones.
    #[error("sealed in epoch {sealed}, but the keys are of epoch {keys}")]
    Epoch {
        /// Epoch that the label names.
        sealed: u32,
        /// Epoch of the keys.
        keys: u32,
    },
    /// The tag differs, or the content is no text: it is another node's, or its sealer is at fault.
    #[error("the sealed display name is not authentic: its tag does not match")]
    NotAuthentic,
}

pub(crate) fn check_display_name(name: &str) -> Result<(), LabelError> {
    if name.len() > MAX_DISPLAY_NAME {
        return Err(LabelError::TooLong { len: name.len() });
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(LabelError::Control { at }),
        None => Ok(()),
    }
}

/// Seals and opens the display names of one epoch.
pub struct LabelKeys {
    epoch: u32,
    siv: Siv,
}

impl LabelKeys {
    pub(crate) fn new(epoch: u32, siv: Siv) -> Self {
        Self { epoch, siv }
    }

    /// The epoch of the read root that these keys derive from.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Seals the display name of this node.
    pub fn seal(&self, name: &str, node: &NodeId) -> Result<Vec<u8>, LabelError> {
        check_display_name(name)?;
        let mut padded = [0; MAX_DISPLAY_NAME];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let mut label = self.epoch.to_le_bytes().to_vec();
        label.extend_from_slice(&self.siv.seal(&self.ad(node), &padded));
        Ok(label)
    }

    /// Opens the display name of this node.
    pub fn open(&self, label: &[u8], node: &NodeId) -> Result<String, OpenLabelError> {
        if label.len() != SEALED_LABEL {
            return Err(OpenLabelError::Length { expected: SEALED_LABEL, got: label.len() });
        }
        let sealed = label_epoch(label).unwrap_or(u32::MAX);
        if sealed != self.epoch {
            return Err(OpenLabelError::Epoch { sealed, keys: self.epoch });
        }
        let padded =
            self.siv.open(&self.ad(node), &label[4..]).ok_or(OpenLabelError::NotAuthentic)?;
        let len = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let name = std::str::from_utf8(&padded[..len]).map_err(|_| OpenLabelError::NotAuthentic)?;
        Ok(name.to_owned())
    }

    fn ad(&self, node: &NodeId) -> [u8; 36] {
        let mut ad = [0; 36];
        ad[..4].copy_from_slice(&self.epoch.to_le_bytes());
        ad[4..].copy_from_slice(node.as_bytes());
        ad
    }
}

/// The epoch whose keys open this label; `None` if it is too short to be one.
pub fn label_epoch(label: &[u8]) -> Option<u32> {
    label.first_chunk().map(|epoch| u32::from_le_bytes(*epoch))
}

impl fmt::Debug for LabelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelKeys(epoch {}, redacted)", self.epoch)
    }
}
