//! A terminal through a web socket: the end of whoever asked for it.
//!
//! Binary frames are bytes of the terminal both ways; text frames are `{"type":"resize","rows":…,"cols":…}`
//! (`contract/http-api.md` §4.2).
//!
//! # Invariants
//! * A frame of the other side is at most [`MAX_FRAME`] bytes; a larger one ends the terminal.
//!
//! # Not here
//! The end that serves (`api`).

use std::io;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use reqwest::{RequestBuilder, Response, StatusCode, Upgraded, header};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::runtime::terminal::{Keyboard, Terminal, TerminalSize};

/// Largest frame either side may send.
pub const MAX_FRAME: usize = 64 << 10;

/// What a text frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// The terminal has another size.
    Resize {
        /// Rows.
        rows: u64,
        /// Columns.
        cols: u64,
    },
}

impl Control {
    /// That the terminal has this size.
    pub fn resize(size: TerminalSize) -> Self {
        Self::Resize { rows: size.rows().into(), cols: size.columns().into() }
    }

    /// The text of its frame.
    pub fn text(self) -> String {
        serde_json::to_string(&self).expect("two numbers are always JSON")
    }

    /// The size that a frame asks for; `None` for one that no terminal has, and for any other text.
    pub fn size(text: &str) -> Option<TerminalSize> {
        let Self::Resize { rows, cols } = serde_json::from_str(text).ok()?;
        TerminalSize::new(rows, cols)
    }
}

/// `request`, asking for a web socket.
pub fn asking(request: RequestBuilder) -> RequestBuilder {
    let mut key = [0_u8; 16];
    // The key only proves that no cache answers, and none could know a fixed one of ours.
    let _ = getrandom::fill(&mut key);
    request
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, STANDARD.encode(key))
}

/// The terminal behind an answer to [`asking`].
///
/// # Errors
/// With words, when the other side did not agree.
pub async fn opened(response: Response) -> Result<Terminal, String> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err("it opens no web socket".to_owned());
    }
    let stream = response.upgrade().await.map_err(|error| error.without_url().to_string())?;
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(bounds)).await;
    let (sink, stream) = socket.split();
    let output = stream.filter_map(|message| async {
        match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(text)) => Some(Ok(Bytes::from(text))),
            // Answers to pings are the library's; after a close nothing comes.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    Ok(Terminal { output: output.boxed(), keyboard: Box::new(Typing(sink)) })
}

struct Typing(SplitSink<WebSocketStream<Upgraded>, Message>);

#[async_trait]
impl Keyboard for Typing {
    async fn type_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(MAX_FRAME) {
            let frame = Message::Binary(Bytes::copy_from_slice(part));
            self.0.send(frame).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        let frame = Message::Text(Control::resize(size).text().into());
        self.0.send(frame).await.map_err(io::Error::other)
    }

    async fn end(&mut self) {
        // Whoever is gone needs no goodbye.
        let _ = self.0.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_frame_is_a_sane_size_or_nothing() {
        let size = TerminalSize::new(40, 120).unwrap();
        let text = Control::resize(size).text();
        assert_eq!(text, r#"{"type":"resize","rows":40,"cols":120}"#);
        assert_eq!(Control::size(&text), Some(size));
        for text in [
            r#"{"type":"resize","rows":0,"cols":80}"#,
            r#"{"type":"resize","rows":24,"cols":1000000000}"#,
            r#"{"type":"resize","rows":-1,"cols":80}"#,
            r#"{"type":"other"}"#,
            "rm -rf /",
            "",
        ] {
            assert_eq!(Control::size(text), None, "{text}");
        }
    }
}
