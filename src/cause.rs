//! The innermost cause of an error. The layers of a client add nothing to what the system says. Pure.

use std::error::Error;

/// The error at the end of the chain of causes.
pub fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_below_all_layers() {
        let error = std::io::Error::other(std::io::Error::other(std::fmt::Error));
        assert_eq!(root(&error).to_string(), std::fmt::Error.to_string());
        assert!(root(&error).source().is_none());
        assert!(root(&std::fmt::Error).is::<std::fmt::Error>(), "one without a cause is its own root");
    }
}
