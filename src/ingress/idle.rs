//! A connection that fails when nothing moves on it for a while, in either direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// `io` within a patience.
#[derive(Debug)]
pub(super) struct Idle<T> {
    io: T,
    patience: Duration,
    moved_at: Instant,
    /// Set anew only when it rings: a busy connection does not touch it.
    alarm: Pin<Box<Sleep>>,
}

impl<T> Idle<T> {
    /// Fails `io` after `patience` without a byte.
    pub(super) fn new(io: T, patience: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(patience));
        Self { io, patience, moved_at: Instant::now(), alarm }
    }

    /// Notes what moved, and turns waiting for too long into a failure.
    fn note<R>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.moved_at = Instant::now();
            return outcome;
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let end = self.moved_at + self.patience;
            if end <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Idle<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(cx, outcome)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Idle<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.note(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_and_a_byte_in_either_direction_keeps_it() {
        let (near, mut far) = duplex(64);
        let mut idle = Idle::new(near, PATIENCE);
        let begin = Instant::now();
        let talk = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(40)).await;
                far.write_all(b"x").await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
        };
        let listen = async {
            let mut bytes = [0; 8];
            loop {
                if let Err(error) = idle.read(&mut bytes).await {
                    break error.kind();
                }
            }
        };
        let kind = tokio::select! { kind = listen => kind, () = talk => panic!("it never ended") };
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), 180);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_ends_it_too() {
        let (near, _far) = duplex(4);
        let mut idle = Idle::new(near, PATIENCE);
        let error = idle.write_all(b"more than fits").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
