//! A terminal that shows what is typed into it, and ends with `exit`.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::runtime::terminal::{Keyboard, Terminal, TerminalSize};

struct Echo(Option<mpsc::UnboundedSender<io::Result<Bytes>>>);

impl Echo {
    fn show(&self, bytes: Bytes) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.as_ref().ok_or_else(gone)?.send(Ok(bytes)).map_err(|_| gone())
    }
}

#[async_trait]
impl Keyboard for Echo {
    async fn type_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.show(Bytes::copy_from_slice(bytes))?;
        if bytes.starts_with(b"exit") {
            self.0 = None;
        }
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        self.show(format!("{}x{}\r\n", size.rows(), size.columns()).into())
    }

    async fn end(&mut self) {
        self.0 = None;
    }
}

/// One that first shows `greeting`.
pub(super) fn echoing(greeting: &str) -> Terminal {
    let (shown, output) = mpsc::unbounded_channel();
    let echo = Echo(Some(shown));
    // Whoever reads is there until this returns.
    let _ = echo.show(format!("{greeting}\r\n").into());
    let output = UnboundedReceiverStream::new(output).boxed();
    Terminal { output, keyboard: Box::new(echo) }
}
