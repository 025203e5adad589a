//! The guarded byte stream under every upstream connection.
//!
//! It says what awc would hide: an end before the framing's own end is an error, not a clean end; a reused connection that
//! fails before its first byte of an answer was stale; after a refused write the answer that may already be there is still
//! read; what of an answer is only interim never reaches awc ([`Chunks`]). Sources: behaviour of awc 3.11 as measured,
//! RFC 9112 section 9.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::chunks::Chunks;
use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What the stream knows about a failure; travels inside the `io::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An idle connection had been closed before it was used again.
    Stale,
    /// The peer closed or reset before it answered.
    NoAnswer,
    /// The peer refused the upload and no answer could be read.
    UploadRefused,
    /// The answer ended before its framing said so.
    Truncated,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the idle connection had been closed",
            Self::NoAnswer => "the connection was closed before an answer",
            Self::UploadRefused => "the upload was refused",
            Self::Truncated => "the answer ended early",
        })
    }
}

impl std::error::Error for Broken {}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One upstream connection.
pub struct WireIo {
    stream: Stream,
    /// An answer, or part of one, has been read on this connection.
    served: bool,
    /// Bytes were written since the last read.
    awaiting: bool,
    /// A write failed: further ones are swallowed so that an early answer is read.
    refused: bool,
    chunks: Chunks,
}

impl fmt::Debug for WireIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = matches!(self.stream, Stream::Tls(_));
        f.debug_struct("WireIo").field("tls", &tls).field("served", &self.served).finish_non_exhaustive()
    }
}

impl WireIo {
    /// Over plain TCP.
    #[must_use]
    pub fn plain(stream: TcpStream) -> Self {
        Self::over(Stream::Plain(stream))
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Stream::Tls(Box::new(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, served: false, awaiting: false, refused: false, chunks: Chunks::default() }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }

    fn broken(&self, source: io::ErrorKind) -> io::Error {
        let broken = match (self.awaiting, self.served, self.refused) {
            (true, true, _) => Broken::Stale,
            (true, false, true) => Broken::UploadRefused,
            (true, false, false) => Broken::NoAnswer,
            (false, _, _) => Broken::Truncated,
        };
        io::Error::new(source, broken)
    }
}

impl AsyncRead for WireIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let read = match &mut self.stream {
                Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
                Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
            };
            match std::task::ready!(read) {
                Ok(()) if buffer.filled().len() > before => {
                    self.served = true;
                    if std::mem::take(&mut self.awaiting) {
                        self.chunks.begin();
                    }
                    let left = self.chunks.join(&mut buffer.filled_mut()[before..]);
                    buffer.set_filled(before + left);
                    // Where all of it was interim answers, nothing has come yet: no bytes would mean the end.
                    if left > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Ok(()) if buffer.remaining() == 0 => return Poll::Ready(Ok(())),
                Ok(()) => return Poll::Ready(Err(self.broken(io::ErrorKind::UnexpectedEof))),
                Err(error) => return Poll::Ready(Err(self.broken(error.kind()))),
            }
        }
    }
}

impl WireIo {
    /// Judges the result of a write of `length` bytes.
    fn written(&mut self, result: io::Result<usize>, length: usize) -> io::Result<usize> {
        self.awaiting |= length > 0;
        match result {
            Err(error) if is_refusal(error.kind()) && !(self.served && self.awaiting_first_byte()) => {
                self.refused = true;
                Ok(length)
            }
            Err(error) => Err(self.broken(error.kind())),
            Ok(written) => Ok(written),
        }
    }

    /// Whether the request under way got no byte of an answer yet on a connection that served before.
    fn awaiting_first_byte(&self) -> bool {
        self.awaiting && self.served
    }
}

fn is_refusal(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl AsyncWrite for WireIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refused {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        written.map(|result| self.written(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.refused {
            return Poll::Ready(Ok(length));
        }
        let written = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        written.map(|result| self.written(result, length))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused {
            return Poll::Ready(Ok(()));
        }
        let flushed = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        flushed.map(|result| self.written(result.map(|()| 0), 0).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl ActixStream for WireIo {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), cx)
    }
}
