//! A body in parts that are sent one after the other, none of them copied.

use std::array;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// The parts that are still to be sent.
pub(super) struct Parts<const N: usize>(array::IntoIter<Bytes, N>);

impl<const N: usize> From<[Bytes; N]> for Parts<N> {
    fn from(parts: [Bytes; N]) -> Self {
        Self(parts.into_iter())
    }
}

impl<const N: usize> HttpBody for Parts<N> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_slice().iter().map(|part| part.len() as u64).sum())
    }
}
