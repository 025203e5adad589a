//! The connection's bytes: plain or TLS, with the rude endings that hyper would not make.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::clock::sleep;
use super::owner::Meter;
use super::record::{Ending, Receipt};
use super::staged::{Curtain, Play};

const LINGER: Duration = Duration::from_secs(5);

/// A client's connection.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Writes a play and ends the connection as it says.
    pub async fn perform(mut self, play: Play, mut meter: Meter, mut receipt: Receipt) {
        for line in play.lines {
            if !line.after.is_zero() {
                tokio::select! {
                    () = sleep(line.after) => {}
                    () = drained(&mut self) => return,
                }
            }
            if self.send(&line.bytes).await.is_err() {
                return;
            }
            meter.charge(line.tokens);
        }
        if play.curtain == Curtain::Hang {
            drained(&mut self).await;
            let ending = if play.complete { Ending::Complete } else { Ending::ClientAborted };
            receipt.ends(ending);
            return;
        }
        receipt.ends(if play.complete { Ending::Complete } else { Ending::Broken });
        drop(receipt);
        self.end(play.curtain).await;
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }

    async fn end(mut self, curtain: Curtain) {
        match curtain {
            Curtain::Reset => return self.reset(),
            // Errors here mean that the client has left already.
            Curtain::Fin => drop(SockRef::from(self.tcp()).shutdown(Shutdown::Write)),
            Curtain::Close | Curtain::Hang => drop(self.shutdown().await),
        }
        // Unread bytes would turn the close into a reset: they are read away until the client closes too.
        tokio::select! {
            () = drained(&mut self) => {}
            () = sleep(LINGER) => {}
        }
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        // A socket that is gone already needs no reset.
        drop(SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)));
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// Reads and forgets until the client closes or the connection breaks.
async fn drained(socket: &mut Socket) {
    let mut scrap = [0_u8; 8 * 1024];
    while matches!(socket.read(&mut scrap).await, Ok(1..)) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
