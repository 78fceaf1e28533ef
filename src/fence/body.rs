//! Bodies of requests and answers: streamed, with a copy of their beginning up to a limit.

use std::{convert::Infallible, task::Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use tower::BoxError;

use crate::cluster::transport::Body;

/// Reads at least `enough` of a body, if it is that long, and gives it with the whole body as it was.
pub async fn begin(mut body: Body, enough: usize) -> Result<(Bytes, Body), BoxError> {
    let mut beginning = BytesMut::new();
    while beginning.len() < enough {
        match body.frame().await {
            None => break,
            // Trailers are the last of a body, and no API server or client of one has any.
            Some(frame) => beginning.extend(frame?.into_data().ok()),
        }
    }
    let beginning = beginning.freeze();
    let whole = Beginning { data: Some(beginning.clone()).filter(|data| !data.is_empty()), rest: body };
    Ok((beginning, whole.boxed_unsync()))
}

/// A body of which the beginning has been read.
struct Beginning {
    data: Option<Bytes>,
    rest: Body,
}

impl hyper::body::Body for Beginning {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.data.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => std::pin::Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let known = self.data.as_ref().map_or(0, |data| data.len() as u64);
        let mut hint = self.rest.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + known);
        }
        hint.set_lower(hint.lower() + known);
        hint
    }
}

/// What comes from the other end, as it comes.
pub fn passed_on(body: Incoming) -> Body {
    body.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync()
}

/// A body that is all there.
pub fn full(text: impl Into<Bytes>) -> Body {
    Full::from(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}
