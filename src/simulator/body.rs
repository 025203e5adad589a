//! The body of a sound answer: pieces at their pace, charged as they leave, recorded when over.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::clock::sleep;
use super::owner::Meter;
use super::record::{Ending, Receipt};
use super::reply::Piece;
use super::server::Busy;

/// What a body keeps until its end.
pub struct Paperwork {
    /// Its connection is not idle.
    pub busy: Busy,
    /// Who pays, and the record.
    pub books: Option<(Meter, Receipt)>,
}

/// A body under way.
pub struct ReplyBody {
    pieces: VecDeque<Piece>,
    length: u64,
    exact: bool,
    pause: Option<Pin<Box<Sleep>>>,
    books: Option<(Meter, Receipt)>,
    _busy: Busy,
}

impl ReplyBody {
    /// A body; `exact` announces its length.
    pub fn new(pieces: Vec<Piece>, exact: bool, paperwork: Paperwork) -> Self {
        let length = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
        let Paperwork { busy, mut books } = paperwork;
        if let (0, Some((_, receipt))) = (length, &mut books) {
            receipt.ends(Ending::Complete);
        }
        Self { pieces: pieces.into(), length, exact, pause: None, books, _busy: busy }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(next) = this.pieces.front_mut() else {
            return Poll::Ready(None);
        };
        if !next.after.is_zero() {
            this.pause = Some(Box::pin(sleep(std::mem::take(&mut next.after))));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let Some(piece) = this.pieces.pop_front() else { return Poll::Ready(None) };
        if let Some((meter, receipt)) = &mut this.books {
            meter.charge(piece.tokens);
            if this.pieces.is_empty() {
                receipt.ends(Ending::Complete);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece.bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.exact { SizeHint::with_exact(self.length) } else { SizeHint::default() }
    }
}
