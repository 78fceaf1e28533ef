//! Values from standard input (`-f -`): read once, before the lock is taken, and given to each Helm from their beginning.
//!
//! Whoever types them, or the end of a pipe that does not come, then keeps nobody else from the release; and a Helm that has to
//! run once more reads the same values again. They are in memory only.

use std::{
    io::{IsTerminal, Read},
    sync::Arc,
    time::Duration,
};

use super::cancel::{End, unless_stopped};
use crate::{
    exit,
    private_file::InMemory,
    release::codec::MAX_DECODED,
    report::Outcome,
    request::{Request, Task},
    signals::Signals,
    text::duration,
};

/// All of standard input, if Helm will read values from it.
///
/// Its end is waited for until this process is asked to stop; where nobody types, for `--timeout` at most.
pub(super) async fn read(request: &Request, signals: &Signals) -> Result<Option<Arc<InMemory>>, End> {
    if request.task != Task::Helm || !request.invocation.reads_stdin() {
        return Ok(None);
    }
    let limit = request.limits().helm;
    let limit = if std::io::stdin().is_terminal() || limit.is_zero() { Duration::MAX } else { limit };
    let read = tokio::time::timeout(limit, tokio::task::spawn_blocking(all));
    let read = unless_stopped(signals, "reading values from standard input", read).await?;
    let refused = |why: &str, next: &[&str]| {
        End::new(Outcome::Refused, exit::REFUSED, format!("values from standard input: {why}"), next)
    };
    match read {
        Ok(Ok(Ok(file))) => Ok(Some(Arc::new(file))),
        Ok(Ok(Err(error))) => Err(refused(&error.to_string(), &[])),
        Ok(Err(error)) => Err(refused(&error.to_string(), &[])),
        Err(_) => {
            let why = format!("no end within {}", duration(limit.as_secs_f64()));
            Err(refused(&why, &["close the pipe, or give the values in a file"]))
        }
    }
}

fn all() -> std::io::Result<InMemory> {
    let mut text = Vec::new();
    std::io::stdin().lock().take(MAX_DECODED + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_DECODED {
        return Err(std::io::Error::other(format!("more than {} MiB", MAX_DECODED >> 20)));
    }
    InMemory::new(&text)
}
