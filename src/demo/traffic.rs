//! The callers: steady traffic over real sockets, whole and streamed, over several models.
//!
//! Each caller keeps one HTTP/1.1 connection and asks, waits for the whole answer and pauses, again and again. Only a complete
//! answer of the API's own shape counts as one; anything else is an error that a caller saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tally::{Sample, Tally};
use crate::chance::Chance;
use crate::clock::Clock;

/// Callers at the same time.
const CALLERS: u64 = 24;
/// Longest pause between two requests of a caller.
const PAUSE: Duration = Duration::from_millis(300);
/// A caller who waited so long has seen an error.
const PATIENCE: Duration = Duration::from_secs(60);

const MODELS: [&str; 3] = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"];
const PROMPTS: [&str; 4] =
    ["What does a headgate do?", "Tell me about canals.", "Why do rivers meander?", "Name three locks."];

/// The callers at work.
pub struct Traffic {
    tally: Arc<Tally>,
    stop: CancellationToken,
    callers: TaskTracker,
}

impl Traffic {
    /// Sends the callers to `gateway`.
    pub fn start(runtime: &Handle, gateway: SocketAddr, clock: Clock) -> Self {
        let (tally, stop, callers) =
            (Arc::new(Tally::default()), CancellationToken::new(), TaskTracker::new());
        for number in 0..CALLERS {
            let caller = Caller {
                gateway,
                clock,
                chance: Chance::seeded(number),
                tally: tally.clone(),
                connection: None,
            };
            let stop = stop.clone();
            callers.spawn_on(caller.work(stop), runtime);
        }
        callers.close();
        Self { tally, stop, callers }
    }

    /// What they saw so far.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Lets each caller finish what it is at, then returns.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.callers.wait().await;
    }
}

struct Caller {
    gateway: SocketAddr,
    clock: Clock,
    chance: Chance,
    tally: Arc<Tally>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// One request.
struct Ask {
    stream: bool,
    body: Bytes,
}

impl Caller {
    async fn work(mut self, stop: CancellationToken) {
        loop {
            let pause = PAUSE.mul_f64(self.chance.fraction());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let ask = self.ask();
            let under_way = self.tally.begin();
            let answer = tokio::time::timeout(PATIENCE, self.exchange(&ask)).await;
            match answer.unwrap_or_else(|_| Err("no end of the answer".to_owned())) {
                Ok(sample) => under_way.answered(sample),
                Err(error) => {
                    self.connection = None;
                    under_way.failed(error);
                }
            }
        }
    }

    fn ask(&self) -> Ask {
        let stream = self.chance.fraction() < 0.6;
        let body = json!({
            "model": pick(&MODELS, &self.chance),
            "max_tokens": 64,
            "stream": stream,
            "messages": [{ "role": "user", "content": pick(&PROMPTS, &self.chance) }],
        });
        Ask { stream, body: Bytes::from(body.to_string()) }
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<Sample, String> {
        let started = self.clock.now();
        let request = Request::post("/v1/messages")
            .header("host", self.gateway.to_string())
            .header("content-type", "application/json")
            .header("anthropic-version", "2023-06-01")
            .header("x-api-key", "demo")
            .body(Full::new(ask.body.clone()))
            .map_err(|error| error.to_string())?;
        let response = match self.connection().await?.send_request(request).await {
            Ok(response) => response,
            Err(error) => return Err(format!("a broken connection ({error})")),
        };
        let attempts = response.headers().get("x-headgate-attempts").and_then(|value| value.to_str().ok());
        let attempts = attempts.and_then(|value| value.parse().ok()).unwrap_or(1);
        let mut sample = Sample { attempts, ..Sample::default() };
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        if ask.stream {
            let first = read_stream(response, self.clock).await?;
            sample.first_token = Some(first.since(started));
        } else {
            read_whole(response).await?;
        }
        sample.ended = self.clock.now();
        sample.latency = sample.ended.since(started);
        Ok(sample)
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, String> {
        let alive = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !alive {
            let stream = TcpStream::connect(self.gateway).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let (connection, driver) =
                handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
            // How a connection ends shows in the request that meets it.
            tokio::spawn(async move { driver.await.ok() });
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| "no connection".to_owned())
    }
}

fn pick<'a>(all: &[&'a str], chance: &Chance) -> &'a str {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a fraction of a handful"
    )]
    let place = (chance.fraction() * all.len() as f64) as usize;
    all[place.min(all.len() - 1)]
}

async fn refused(response: Response<Incoming>) -> String {
    let status = response.status().as_u16();
    let Ok(body) = response.into_body().collect().await else { return format!("status {status}") };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or("no message");
    format!("status {status}: {message}")
}

async fn read_whole(response: Response<Incoming>) -> Result<(), String> {
    let body = response.into_body().collect().await.map_err(|error| format!("a broken answer ({error})"))?;
    let body: Value = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| format!("an answer that is no JSON ({error})"))?;
    let complete = body["type"] == "message" && body["stop_reason"].is_string();
    if complete { Ok(()) } else { Err("an incomplete answer".to_owned()) }
}

/// Reads a stream to its end; returns the moment of its first content.
async fn read_stream(response: Response<Incoming>, clock: Clock) -> Result<crate::clock::Moment, String> {
    let mut body = response.into_body();
    let (mut line, mut first, mut stopped) = (Vec::new(), None, false);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("a broken stream ({error})"))?;
        for byte in frame.data_ref().into_iter().flatten() {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            match line.as_slice() {
                b"event: content_block_delta" if first.is_none() => first = Some(clock.now()),
                b"event: message_stop" => stopped = true,
                b"event: error" => return Err("an error event in a stream".to_owned()),
                _ => {}
            }
            line.clear();
        }
    }
    first.filter(|_| stopped).ok_or_else(|| "a stream without its end".to_owned())
}
