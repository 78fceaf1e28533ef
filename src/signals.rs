//! Signals as values: what asks this process to stop.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Listens from the moment it is made; SIGHUP is swallowed, so that a closed terminal ends nothing.
pub struct Signals {
    int: Stream,
    term: Stream,
    hup: Stream,
}

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C; GitHub's first word on cancel.
    Int,
    /// GitHub's second word; what most others send.
    Term,
}

impl Signal {
    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Self::Int => 2,
            Self::Term => 15,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
        }
    }
}

impl Signals {
    /// Starts listening.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// The next request to stop.
    pub async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                _ = self.int.recv() => return Signal::Int,
                _ = self.term.recv() => return Signal::Term,
                _ = self.hup.recv() => {}
            }
        }
    }
}
