//! An upstream that answers every request with the same bytes and then ends the connection as told: for what no sound
//! library would write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How its connections end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Fin,
    Reset,
    /// It stays open for the next request.
    Keep,
}

/// The upstream.
pub struct Scripted {
    pub address: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Scripted {
    pub async fn start(answer: impl Into<Vec<u8>>, ending: Ending) -> Self {
        Self::in_parts(vec![answer.into()], ending).await
    }

    /// One whose answer comes in these parts, each in a packet of its own.
    pub async fn in_parts(answer: Vec<Vec<u8>>, ending: Ending) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (answer, counter) = (Arc::new(answer), served.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), ending, counter.clone()));
            }
        });
        Self { address, served }
    }

    /// As a backend with one key.
    pub fn backend(&self, name: &str) -> String {
        format!(
            "  - {{ name: {name}, provider: anthropic, base_url: 'http://{}', \
             keys: [{{ name: {name}-key, secret: 'value:{name}-secret' }}] }}\n",
            self.address
        )
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Vec<Vec<u8>>>, ending: Ending, served: Arc<AtomicUsize>) {
    while read_request(&mut stream).await {
        served.fetch_add(1, Ordering::Relaxed);
        for (number, part) in answer.iter().enumerate() {
            if number > 0 {
                // Long enough for the part before to be read alone.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if stream.write_all(part).await.is_err() {
                return;
            }
        }
        match ending {
            Ending::Keep => {}
            Ending::Fin => {
                drop(stream.shutdown().await);
                let mut scrap = [0; 1024];
                while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
                return;
            }
            Ending::Reset => {
                // The bytes are to arrive before the reset destroys them.
                tokio::time::sleep(Duration::from_millis(20)).await;
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
        }
    }
}

/// Reads one request with a content-length; false at the end.
pub async fn read_request(stream: &mut TcpStream) -> bool {
    let (mut read, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            if read.len() >= end + 4 + length.map_or(0, |length| length.parse().unwrap()) {
                return true;
            }
        }
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => read.extend_from_slice(&piece[..count]),
            Ok(0) | Err(_) => return false,
        }
    }
}
