//! One HTTP/1 connection, read through [`Framing`]: the parser behind it sees only what has one reading.
//!
//! # Invariants
//! * After a refusal nothing more of the client is read, and whoever answers knows why.
//! * After a request for an upgrade nothing is read until it is known what became of it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::framing::{Framing, Refusal, Upgrade};
use super::writes::writes_through;

/// Bytes that are read at a time when they have to be looked at.
const READ_BYTES: usize = 8 << 10;

/// What the reader of a connection and whoever answers its requests tell each other.
#[derive(Debug, Default)]
pub(super) struct Line {
    refusal: OnceLock<Refusal>,
    gate: Mutex<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    /// Which message asks for an upgrade, until it is known what became of that.
    asked: Option<u64>,
    outcome: Option<Upgrade>,
    waker: Option<Waker>,
}

impl Line {
    /// Why the connection ends after this answer.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// Whether message `nth`, counted from 1, asks for an upgrade.
    pub(super) fn is_asked(&self, nth: u64) -> bool {
        self.gate().asked == Some(nth)
    }

    /// Lets the reader go on after message `nth` was answered, when that is what it waits for.
    pub(super) fn resume(&self, nth: u64, outcome: Upgrade) {
        let mut gate = self.gate();
        if gate.asked != Some(nth) {
            return;
        }
        (gate.asked, gate.outcome) = (None, Some(outcome));
        if let Some(waker) = gate.waker.take() {
            waker.wake();
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose reading side is judged.
#[derive(Debug)]
pub(super) struct Judged<T> {
    io: T,
    line: Arc<Line>,
    framing: Framing,
    /// What may go on, from `at` on.
    passed: Vec<u8>,
    at: usize,
    /// What was read and not yet looked at.
    waiting: Vec<u8>,
}

impl<T> Judged<T> {
    /// Judges `io` from its first byte on.
    pub(super) fn new(io: T, line: Arc<Line>, max_head: usize) -> Self {
        let framing = Framing::new(max_head);
        Self { io, line, framing, passed: Vec::new(), at: 0, waiting: Vec::new() }
    }

    /// Looks at `input`, which is all that was read.
    fn look(&mut self, input: &[u8]) {
        let n = self.framing.feed(input, &mut self.passed);
        self.waiting = input[n..].to_vec();
        if let Some(refusal) = self.framing.refusal() {
            let _ = self.line.refusal.set(refusal);
        }
        if let Some(nth) = self.framing.asked() {
            self.line.gate().asked = Some(nth);
        }
    }

    /// Whether the reader may go on after a request for an upgrade; asked again when that changes.
    fn poll_gate(&mut self, cx: &Context<'_>) -> Poll<()> {
        let outcome = {
            let mut gate = self.line.gate();
            match gate.outcome.take() {
                Some(outcome) => outcome,
                None => {
                    gate.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        self.framing.resume(outcome);
        let waiting = std::mem::take(&mut self.waiting);
        self.look(&waiting);
        Poll::Ready(())
    }

    /// Hands on what passed; whether there was any.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let n = (self.passed.len() - self.at).min(buf.remaining());
        buf.put_slice(&self.passed[self.at..self.at + n]);
        self.at += n;
        if self.at == self.passed.len() {
            self.passed.clear();
            self.at = 0;
        }
        n > 0
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Judged<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_on(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.framing.is_cut_short() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if this.framing.refusal().is_some() {
                // The stand-in asks for an answer and for the end of the connection.
                return Poll::Pending;
            }
            if this.framing.asked().is_some() {
                ready!(this.poll_gate(cx));
                continue;
            }
            let unseen = usize::try_from(this.framing.unseen()).unwrap_or(usize::MAX);
            if unseen > 0 {
                // `initialize_unfilled_to` costs once a buffer: the parser keeps and reuses it.
                let room = buf.remaining().min(unseen);
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
                let n = part.filled().len();
                buf.advance(n);
                this.framing.advance(n);
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.look(read.filled());
        }
    }
}

writes_through!(Judged);
