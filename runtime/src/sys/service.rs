//! What a launcher tells systemd, if that started it (`Type=notify`): see `sd_notify(3)`.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Variables by which systemd finds a service's notifications: not for those that the service starts.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    is_there: bool,
    watchdog: Option<Duration>,
    last_sign: Instant,
    ready: bool,
    stopping: bool,
    status: String,
}

impl ServiceManager {
    /// Whoever started this process, as its environment says.
    pub fn of_this_process() -> Self {
        Self {
            is_there: std::env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: sd_notify::watchdog_enabled(),
            last_sign: Instant::now(),
            ready: false,
            stopping: false,
            status: String::new(),
        }
    }

    /// How long one may wait at most before [`ServiceManager::sign_of_life`] is due.
    pub fn patience(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 4)
    }

    /// Everything is ready. Told once.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.tell(&[NotifyState::Ready]);
        }
    }

    /// In words, how it stands. Told when it changes.
    pub fn status(&mut self, status: &str) {
        if self.is_there && self.status != status {
            status.clone_into(&mut self.status);
            self.tell(&[NotifyState::Status(status)]);
        }
    }

    /// The service is about to leave. Told once.
    pub fn stopping(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.tell(&[NotifyState::Stopping]);
        }
    }

    /// The main loop goes round. Told at half the time that the watchdog allows.
    pub fn sign_of_life(&mut self) {
        let Some(watchdog) = self.watchdog else { return };
        if self.last_sign.elapsed() >= watchdog / 2 {
            self.last_sign = Instant::now();
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.is_there {
            // A service manager that doesn't listen is no reason to stop a server.
            let _ = sd_notify::notify(state);
        }
    }
}
