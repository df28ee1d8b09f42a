//! Bringing here what other members have, and telling them what they lack.

pub(crate) mod answer;
pub(crate) mod backlog;
pub(crate) mod difference;
pub(crate) mod follow;
pub(crate) mod reconcile;
pub(crate) mod records;
pub(crate) mod refused;
pub(crate) mod room_news;
pub(crate) mod wants;
