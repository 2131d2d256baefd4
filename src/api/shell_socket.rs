//! The end of a web socket that serves a shell: frames become what is typed, and what is shown frames.
//!
//! Binary frames are bytes both ways, text frames sizes (`node::socket`). A frame of more than
//! [`MAX_FRAME`] bytes, or a text that is no size, ends it.

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt, future};

use crate::daemon::platform::{Onlooker, Shown, Typed};
use crate::node::socket::{Control, MAX_FRAME};
use crate::runtime::{Keyboard, Terminal};

/// The code of a close that is nobody's fault.
const NORMAL: u16 = 1000;

/// With the bounds that every socket of ours has.
pub(super) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME)
}

/// Both directions of `socket`.
pub(super) fn onlooker(socket: WebSocket) -> Onlooker {
    let (sink, stream) = socket.split();
    let shown = sink.with(|shown| {
        let message = match shown {
            Shown::Bytes(bytes) => Message::Binary(bytes),
            Shown::Closed(reason) => {
                Message::Close(Some(CloseFrame { code: NORMAL, reason: reason.into() }))
            }
        };
        future::ready(Ok::<_, axum::Error>(message))
    });
    Onlooker { typed: typed(stream), shown: Box::pin(shown.sink_map_err(|_| ())) }
}

/// What comes in, until it makes no sense or ends.
fn typed(
    stream: impl futures_util::Stream<Item = Result<Message, axum::Error>> + Send + 'static,
) -> BoxStream<'static, Typed> {
    let read = stream.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Some(Typed::Bytes(bytes))),
            Ok(Message::Text(text)) => Some(Control::size(&text).map(Typed::Resize)),
            Ok(Message::Ping(_) | Message::Pong(_)) => None,
            Ok(Message::Close(_)) | Err(_) => Some(None),
        })
    });
    read.take_while(|typed| future::ready(typed.is_some())).filter_map(future::ready).boxed()
}

/// Serves `terminal` to whoever asked, to its end. What is allowed and recorded is the platform's.
pub(super) fn serve(upgrade: WebSocketUpgrade, terminal: Terminal) -> Response {
    bounded(upgrade).on_upgrade(move |socket| async move {
        let Terminal { output, mut keyboard } = terminal;
        let Onlooker { typed, mut shown } = onlooker(socket);
        tokio::select! {
            () = type_in(typed, keyboard.as_mut()) => {}
            () = async {
                let mut output = output;
                while let Some(Ok(bytes)) = output.next().await {
                    if shown.send(Shown::Bytes(bytes)).await.is_err() {
                        return;
                    }
                }
            } => {}
        }
        // Whoever is gone is told nothing.
        let _ = shown.send(Shown::Closed("over")).await;
        keyboard.end().await;
    })
}

async fn type_in(mut typed: BoxStream<'static, Typed>, keyboard: &mut dyn Keyboard) {
    while let Some(typed) = typed.next().await {
        let done = match typed {
            Typed::Bytes(bytes) => keyboard.type_in(&bytes).await,
            Typed::Resize(size) => keyboard.resize(size).await,
        };
        if done.is_err() {
            return;
        }
    }
}
