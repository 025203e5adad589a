//! A wire between gateway and upstream that keeps every byte of both directions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::caller::{Answer, Connection};

/// What one connection carried.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    pub up: Vec<u8>,
    pub down: Vec<u8>,
}

/// The wire.
pub struct Tap {
    pub address: SocketAddr,
    carried: Arc<Mutex<Vec<Carried>>>,
}

impl Tap {
    /// A wire to `upstream`.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let carried = Arc::new(Mutex::new(Vec::new()));
        let book = carried.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(upstream).await.unwrap();
                let number = {
                    let mut book = book.lock().unwrap();
                    book.push(Carried::default());
                    book.len() - 1
                };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                let (up, down) = (book.clone(), book.clone());
                tokio::spawn(copy(near_in, far_out, move |part| {
                    up.lock().unwrap()[number].up.extend_from_slice(part);
                }));
                tokio::spawn(copy(far_in, near_out, move |part| {
                    down.lock().unwrap()[number].down.extend_from_slice(part);
                }));
            }
        });
        Self { address, carried }
    }

    /// What the connections carried so far.
    pub fn carried(&self) -> Vec<Carried> {
        self.carried.lock().unwrap().clone()
    }

    /// Forgets what was carried so far.
    pub fn forget(&self) {
        for carried in self.carried.lock().unwrap().iter_mut() {
            *carried = Carried::default();
        }
    }

    /// The last answer that came down since [`Tap::forget`].
    pub async fn answer(&self) -> Answer {
        let carried = self.carried().into_iter().find(|carried| !carried.down.is_empty()).unwrap();
        Connection::over(std::io::Cursor::new(carried.down)).answer().await
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    keep: impl Fn(&[u8]),
) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut part).await {
        keep(&part[..count]);
        if to.write_all(&part[..count]).await.is_err() {
            return;
        }
    }
}
