//! Signals as values: what asks this process to stop.

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// More than anybody sends who still expects something.
const MOST: usize = 16;

/// Keeps signals waiting from the first moment of the process until somebody listens. Children start without it.
///
/// Before that their default action would end this process without a word; and process 1 of a container would never
/// hear of them.
pub fn hold_back() {
    // It fails only for a mask that is none.
    let _ = ours().thread_block();
}

/// Undoes [`hold_back`]: those that wait come now.
pub fn let_come() {
    let _ = ours().thread_unblock();
}

fn ours() -> SigSet {
    [Number::SIGINT, Number::SIGTERM, Number::SIGHUP].into_iter().collect()
}

/// Listens from the moment it is made; SIGHUP is swallowed, so that a closed terminal ends nothing. Copies hear the same.
#[derive(Clone, Debug)]
pub struct Signals {
    heard: watch::Receiver<Vec<Signal>>,
    /// How many of them [`Signals::next`] has given.
    given: usize,
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
    /// Starts listening, within the runtime.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub fn listen() -> std::io::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hup = signal(SignalKind::hangup())?;
        let (sender, heard) = watch::channel(Vec::new());
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = int.recv() => Signal::Int,
                    _ = term.recv() => Signal::Term,
                    _ = hup.recv() => continue,
                    () = sender.closed() => return,
                };
                sender.send_if_modified(|heard| {
                    let room = heard.len() < MOST;
                    if room {
                        heard.push(signal);
                    }
                    room
                });
            }
        });
        Ok(Self { heard, given: 0 })
    }

    /// The first request to stop, if there was one.
    pub fn heard(&self) -> Option<Signal> {
        self.heard.borrow().first().copied()
    }

    /// The first request to stop; at once if there was one already.
    pub async fn first(&self) -> Signal {
        self.clone().nth(0).await
    }

    /// The next request to stop that this copy has not given yet.
    pub async fn next(&mut self) -> Signal {
        let signal = self.nth(self.given).await;
        self.given += 1;
        signal
    }

    async fn nth(&mut self, nth: usize) -> Signal {
        // Asked again and again, by each of the copies: what was heard is never taken away.
        match self.heard.wait_for(|heard| heard.len() > nth).await.map(|heard| heard[nth]) {
            Ok(signal) => signal,
            // Nobody listens any more: the runtime ends.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_copy_hears_all_in_their_order() {
        let (sender, heard) = watch::channel(Vec::new());
        let mut one = Signals { heard, given: 0 };
        assert_eq!(one.heard(), None);
        sender.send_modify(|heard| heard.push(Signal::Int));
        assert_eq!(one.next().await, Signal::Int);
        let mut other = one.clone();
        sender.send_modify(|heard| heard.push(Signal::Term));
        assert_eq!((one.next().await, other.next().await), (Signal::Term, Signal::Term));
        assert_eq!((one.heard(), one.first().await), (Some(Signal::Int), Signal::Int));
    }
}
