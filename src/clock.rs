//! The clocks. Made once at the rim and passed in: monotonic for deadlines, wall only for display.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// The real clocks; monotonic time counts from now.
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start of the process. For deadlines.
    pub fn monotonic(self) -> Duration {
        self.start.elapsed()
    }

    /// Time of day. For people, and for values that nobody compares.
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    pub fn wall(self) -> Timestamp {
        Timestamp::now()
    }
}
