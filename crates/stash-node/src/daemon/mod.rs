//! The running node: what the local API asks, and how it starts and stops.

pub(crate) mod home;
pub(crate) mod joining;
mod known;
pub(crate) mod label;
mod lan;
pub(crate) mod limits;
pub(crate) mod notices;
pub(crate) mod ready;
mod serve;
mod served;
mod socket;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use stash_api::settings::Reloaded;

use crate::config::{Arguments, Network, NotifySettings, Settings, is_taken_anew, matters_later};
use crate::error::{Class, Problem};

pub(crate) use serve::Serving;
pub(crate) use served::{Place, Served};
pub(crate) use socket::{Socket, holder as socket_holder};

/// The process that serves one data directory. The node inside changes when it joins a stash
/// or gets another role.
pub(crate) struct Daemon {
    /// The settings that it was started with.
    pub(crate) settings: Settings,
    /// Asks the process to stop.
    pub(crate) stop: CancellationToken,
    /// Tasks that run beside the node: joins.
    pub(crate) joins: TaskTracker,
    /// Held by whoever swaps the node: a join, or a change of its role.
    pub(crate) joining: tokio::sync::Mutex<()>,
    /// Tells that the settings were read anew.
    pub(crate) reloaded: Notify,
    arguments: Arguments,
    /// The settings among them that may change while it runs.
    now: Mutex<(Network, NotifySettings)>,
    passphrase: Option<Zeroizing<String>>,
    served: Mutex<Option<Arc<Served>>>,
}

impl Daemon {
    /// Without a node yet.
    pub(crate) fn new(
        settings: Settings,
        arguments: Arguments,
        passphrase: Option<Zeroizing<String>>,
    ) -> Self {
        Self {
            reloaded: Notify::new(),
            arguments,
            now: Mutex::new((settings.network.clone(), settings.notify.clone())),
            settings,
            stop: CancellationToken::new(),
            joins: TaskTracker::new(),
            joining: tokio::sync::Mutex::new(()),
            passphrase,
            served: Mutex::new(None),
        }
    }

    /// The settings in use.
    pub(crate) fn settings_now(&self) -> Settings {
        Settings { network: self.network(), notify: self.notify(), ..self.settings.clone() }
    }

    /// The share of the line that the node takes.
    pub(crate) fn network(&self) -> Network {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Who is told when something is wrong.
    pub(crate) fn notify(&self) -> NotifySettings {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Reads the settings anew, and uses those that may change while a node runs. Blocking.
    pub(crate) fn reload(&self) -> Result<Reloaded, Problem> {
        let new = self.arguments.settings()?;
        let before = self.settings_now().rows();
        let changed = new
            .rows()
            .into_iter()
            .zip(before)
            .filter(|(new, old)| new.value != old.value && matters_later(&new.name));
        let (taken, at_next_start) =
            changed.map(|(new, _)| new.name).partition(|name| is_taken_anew(name));
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (new.network, new.notify);
        self.reloaded.notify_one();
        Ok(Reloaded { taken, at_next_start })
    }

    /// The passphrase that opens the keys of this directory.
    pub(crate) fn passphrase(&self) -> Option<Zeroizing<String>> {
        self.passphrase.clone()
    }

    /// The node that is served.
    pub(crate) fn served(&self) -> Result<Arc<Served>, Problem> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.clone().ok_or_else(|| {
            Problem::new(Class::Temporary, "the node is starting, stopping or joining a stash")
                .hint("repeat the command in a moment")
        })
    }

    /// Serves this node from now on.
    pub(crate) fn start(&self, served: Served) -> Arc<Served> {
        let served = Arc::new(served);
        let mut place = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Arc::clone(&served));
        served
    }

    /// Takes the node away: nobody else starts anything with it.
    pub(crate) fn take(&self) -> Option<Arc<Served>> {
        self.take_if(|_| true)
    }

    /// Takes the node away if it is as `which` says.
    pub(crate) fn take_if(&self, which: impl FnOnce(&Served) -> bool) -> Option<Arc<Served>> {
        let mut place = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        place.take_if(|served| which(served))
    }
}
