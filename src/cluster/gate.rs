//! A stream with a gate before it: nothing leaves while the gate is shut, neither to the API server nor to a database.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Asked before every write to a connection's socket: may bytes leave now?
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// A stream, most likely a socket, with a gate before it. Without a gate all passes.
pub struct Gated<S> {
    /// What is behind the gate.
    pub stream: S,
    /// Asked before each write.
    pub gate: Option<Gate>,
}

impl<S> Gated<S> {
    fn leave(&self) -> io::Result<()> {
        match &self.gate {
            Some(gate) if !gate() => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "the lock is not safely held"))
            }
            _ => Ok(()),
        }
    }
}

impl<S: Connection> Connection for Gated<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.leave()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly end would deliver the rest first.
        self.leave()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.leave()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
