//! The first message of a TLS client, read before anything is answered: it names the host.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::host::name_of;
use super::writes::writes_through;

/// Largest first message; those with keys for times after quantum computers have about 2 KiB.
const MAX_BYTES: usize = 32 << 10;

/// What a client that speaks HTTP to the port of TLS is told.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nServer: flagops\r\nConnection: close\r\n\
Content-Type: text/plain\r\nContent-Length: 28\r\n\r\nThis port speaks TLS: https\n";

/// A client that has said whom it wants.
#[derive(Debug)]
pub(super) struct Hello<T> {
    /// The host in lower case; `None` when it names none.
    pub(super) host: Option<String>,
    /// The connection, from its first byte on.
    pub(super) io: Rewound<T>,
}

/// Reads the first message from `io`. `None` when it is none; who speaks plain HTTP was told.
///
/// # Errors
/// When the connection fails.
pub(super) async fn read<T>(mut io: T) -> io::Result<Option<Hello<T>>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(2 << 10);
    loop {
        let seen = bytes.len();
        if seen >= MAX_BYTES || io.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        if bytes[0].is_ascii_uppercase() {
            io.write_all(NOT_TLS).await?;
            return Ok(None);
        }
        let mut new = Cursor::new(&bytes[seen..]);
        while new.position() < new.get_ref().len() as u64 {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let host = accepted.client_hello().server_name().and_then(name_of);
                    return Ok(Some(Hello { host, io: Rewound { prefix: bytes, at: 0, io } }));
                }
                Err((_, mut alert)) => {
                    let mut words = Vec::new();
                    alert.write_all(&mut words)?;
                    io.write_all(&words).await?;
                    return Ok(None);
                }
            }
        }
    }
}

/// A connection whose first bytes are read again.
#[derive(Debug)]
pub(super) struct Rewound<T> {
    prefix: Vec<u8>,
    at: usize,
    io: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at == this.prefix.len() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let n = (this.prefix.len() - this.at).min(buf.remaining());
        buf.put_slice(&this.prefix[this.at..this.at + n]);
        this.at += n;
        if this.at == this.prefix.len() {
            (this.prefix, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

writes_through!(Rewound);
