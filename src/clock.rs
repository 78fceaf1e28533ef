//! The clocks. Made once at the rim and passed in: monotonic for deadlines, wall only for display.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// The real clocks; monotonic time counts from now.
    pub fn start() -> Self {
        Self { start: since_boot() }
    }

    /// A clock that has been running for a while.
    #[cfg(test)]
    pub(crate) fn running_for(time: Duration) -> Self {
        Self { start: since_boot().saturating_sub(time) }
    }

    /// Time since the start of the process. For deadlines.
    pub fn monotonic(self) -> Duration {
        since_boot().saturating_sub(self.start)
    }

    /// Time of day. For people, and for values that nobody compares.
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    pub fn wall(self) -> Timestamp {
        Timestamp::now()
    }
}

/// Counts while the machine sleeps, as `std::time::Instant` does not: a laptop that wakes up must not believe in a lock
/// that it had an hour ago.
fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}
