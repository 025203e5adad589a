//! The writer over a scripted store, with time paused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use headgate_providers::Usage;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::{OTHER_MODEL, UsageQueue, UsageRecord, Waiting};
use super::{Book, Retention, Sink, Unwritten, Writer};
use crate::call::RequestId;
use crate::clock::Clock;
use crate::config::checked::UsageRecords;
use crate::metrics::Metrics;
use crate::settle::Outcome;

/// What the store did: sizes of the batches written, and what was to be forgotten.
#[derive(Clone, Default)]
struct Scripted {
    fails: Arc<Mutex<VecDeque<Unwritten>>>,
    written: Arc<Mutex<Vec<Vec<RequestId>>>>,
    models: Arc<Mutex<Vec<String>>>,
    tries: Arc<Mutex<usize>>,
    forgotten: Arc<Mutex<Vec<Retention>>>,
    old_steps: Arc<Mutex<usize>>,
    /// Gets one more record while a batch is written, as from requests that go on; up to 50 batches.
    busy: Arc<Mutex<Option<Arc<UsageQueue>>>>,
}

impl Scripted {
    fn failing(fails: impl IntoIterator<Item = Unwritten>) -> Self {
        let scripted = Self::default();
        scripted.fails.lock().unwrap().extend(fails);
        scripted
    }

    fn sizes(&self) -> Vec<usize> {
        self.written.lock().unwrap().iter().map(Vec::len).collect()
    }
}

impl Sink for Scripted {
    async fn write(&self, batch: &Arc<Vec<UsageRecord>>) -> Result<(), Unwritten> {
        *self.tries.lock().unwrap() += 1;
        if let Some(fail) = self.fails.lock().unwrap().pop_front() {
            return Err(fail);
        }
        if let Some(queue) = &*self.busy.lock().unwrap()
            && *self.tries.lock().unwrap() < 50
        {
            let _is_taken = queue.push(record());
        }
        let models = batch.iter().map(|record| record.counted_model().to_owned());
        self.models.lock().unwrap().extend(models);
        self.written.lock().unwrap().push(batch.iter().map(|record| record.id.clone()).collect());
        std::future::ready(Ok(())).await
    }

    async fn forget(&self, before: Retention, _: usize) -> Result<bool, Unwritten> {
        self.forgotten.lock().unwrap().push(before);
        let more = {
            let mut left = self.old_steps.lock().unwrap();
            *left = left.saturating_sub(1);
            *left > 0
        };
        std::future::ready(Ok(more)).await
    }
}

fn settings() -> UsageRecords {
    UsageRecords {
        queue: 10,
        flush: Duration::from_millis(500),
        batch_rows: 4,
        max_models: 2,
        retry_max: Duration::from_secs(5),
        close: Duration::from_secs(2),
        keep_records: Duration::from_secs(86_400),
        keep_hourly: Duration::from_secs(2 * 86_400),
        keep_daily: Duration::from_secs(3 * 86_400),
    }
}

fn record() -> UsageRecord {
    UsageRecord {
        id: RequestId::new(),
        at: SystemTime::UNIX_EPOCH,
        operation: "messages",
        tenant: None,
        key: "".into(),
        backend: "".into(),
        model: "m".to_owned(),
        served: None,
        named: false,
        stream: false,
        usage: Usage::default(),
        cost: None,
        attempts: 0,
        queued: Duration::ZERO,
        first_content: None,
        duration: Duration::ZERO,
        status: 200,
        outcome: Outcome::Ok,
        cause: "",
    }
}

struct Desk {
    queue: Arc<UsageQueue>,
    close: oneshot::Sender<()>,
    ended: JoinHandle<u64>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Desk {
    fn new(sink: &Scripted) -> Self {
        let queue = Arc::new(UsageQueue::default());
        let waiting = queue.open(settings().queue).unwrap();
        let (metrics, clock) = (Arc::new(Metrics::new().unwrap()), Clock::starting_at(day(10)));
        let book = Book::new(sink.clone(), waiting, settings(), clock, metrics.clone());
        let (close, closing) = oneshot::channel();
        Self { queue, close, ended: tokio::spawn(book.keep(closing)), metrics, clock }
    }

    fn push(&self, records: usize) -> usize {
        (0..records).filter(|_| self.queue.push(record())).count()
    }

    async fn close(self) -> u64 {
        drop(self.close);
        self.ended.await.unwrap()
    }
}

fn day(day: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400)
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn later() -> Unwritten {
    Unwritten::Later("away".to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_written_in_batches_at_every_flush() {
    let sink = Scripted::default();
    let desk = Desk::new(&sink);
    pass(100).await;
    assert_eq!(desk.push(9), 9);
    pass(300).await;
    assert_eq!(sink.sizes(), [0; 0], "before the flush");
    pass(200).await;
    assert_eq!(sink.sizes(), [4, 4, 1]);
    pass(5000).await;
    assert_eq!(*sink.tries.lock().unwrap(), 3, "an empty queue writes nothing");
    assert_eq!(desk.close().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_is_written_waits_for_the_next_flush() {
    let sink = Scripted::default();
    let desk = Desk::new(&sink);
    *sink.busy.lock().unwrap() = Some(desk.queue.clone());
    desk.push(5);
    pass(600).await;
    assert_eq!(sink.sizes(), [4, 2], "a transaction for every record, as long as requests go on");
    pass(1000).await;
    assert_eq!(sink.sizes(), [4, 2, 1, 1]);
    *sink.busy.lock().unwrap() = None;
    assert_eq!(desk.close().await, 0);
    assert_eq!(sink.sizes(), [4, 2, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_takes_no_more_and_says_so() {
    let sink = Scripted::default();
    let desk = Desk::new(&sink);
    assert_eq!(desk.push(13), 10);
    pass(600).await;
    assert_eq!(desk.push(1), 1);
    assert_eq!(desk.close().await, 0);
    assert_eq!(sink.sizes().iter().sum::<usize>(), 11);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_same_batch_is_tried_ever_more_rarely() {
    let sink = Scripted::failing(vec![later(); 5]);
    let desk = Desk::new(&sink);
    desk.push(1);
    // After 0.5 s, then pauses of 1, 2, 4, 5 and 5 s.
    for (millis, tries) in [(600, 1), (1000, 2), (2000, 3), (4000, 4), (5000, 5), (5000, 6)] {
        pass(millis).await;
        assert_eq!(*sink.tries.lock().unwrap(), tries);
    }
    assert_eq!(sink.sizes(), [1]);
    desk.push(1);
    pass(600).await;
    assert_eq!(sink.sizes(), [1, 1], "once it is back, every flush writes again");
    assert_eq!(desk.close().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_for_good_does_not_stand_in_the_way() {
    let sink = Scripted::failing([Unwritten::Never("no".to_owned())]);
    let desk = Desk::new(&sink);
    desk.push(5);
    pass(600).await;
    assert_eq!(sink.sizes(), [1]);
    let metrics = desk.metrics.clone();
    assert_eq!(desk.close().await, 0);
    assert_eq!(metrics.usage_dropped_total(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_end_writes_all_that_waits() {
    let sink = Scripted::failing([later(), later()]);
    let desk = Desk::new(&sink);
    desk.push(10);
    assert_eq!(desk.close().await, 0);
    assert_eq!(sink.sizes(), [4, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_store_that_stays_away() {
    let sink = Scripted::failing(vec![later(); 1000]);
    let desk = Desk::new(&sink);
    desk.push(10);
    let (metrics, clock, begun) = (desk.metrics.clone(), desk.clock, desk.clock.now());
    assert_eq!(desk.close().await, 10);
    assert!(clock.now().since(begun) <= Duration::from_secs(2));
    assert_eq!(metrics.usage_dropped_total(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_forgotten_every_hour_step_by_step() {
    let sink = Scripted::default();
    *sink.old_steps.lock().unwrap() = 3;
    let desk = Desk::new(&sink);
    pass(600).await;
    assert_eq!(sink.forgotten.lock().unwrap().len(), 3);
    let first = sink.forgotten.lock().unwrap()[0];
    let half = Duration::from_millis(500);
    let expected = Retention { records: day(9) + half, hourly: day(8) + half, daily: day(7) + half };
    assert_eq!(first, expected);
    pass(3_600_000).await;
    assert_eq!(sink.forgotten.lock().unwrap().len(), 4);
    assert_eq!(desk.close().await, 0);
}

#[tokio::test(start_paused = true)]
async fn sums_name_so_many_models_and_no_more() {
    let sink = Scripted::default();
    let desk = Desk::new(&sink);
    for model in ["a", "b", "c", "a", "c", "b"] {
        let served = UsageRecord { served: Some(model.into()), named: true, ..record() };
        assert!(desk.queue.push(served));
    }
    assert_eq!(desk.close().await, 0);
    assert_eq!(*sink.models.lock().unwrap(), ["a", "b", OTHER_MODEL, "a", OTHER_MODEL, "b"]);
}

#[tokio::test]
async fn a_writer_on_its_own_thread_closes_after_the_last_record() {
    let sink = Scripted::default();
    let queue = Arc::new(UsageQueue::default());
    let waiting: Waiting = queue.open(10).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let writer = Writer::start(sink.clone(), waiting, settings(), Clock::machine(), metrics).unwrap();
    assert!(queue.push(record()));
    assert_eq!(writer.close().await, 0);
    assert_eq!(sink.sizes(), [1]);
    assert!(!queue.push(record()), "nobody would write it");
}

#[test]
fn a_queue_that_nobody_empties_takes_nothing() {
    let queue = Arc::new(UsageQueue::default());
    assert!(!queue.is_open() && !queue.push(record()));
    let waiting = queue.open(1);
    assert!(queue.is_open() && waiting.is_some());
    assert!(queue.open(1).is_none(), "it has one other end");
}

#[test]
fn a_long_name_of_a_model_is_cut_between_characters() {
    let queue = Arc::new(UsageQueue::default());
    let mut waiting = queue.open(1).unwrap();
    assert!(queue.push(UsageRecord { model: "é".repeat(1000) + "x", ..record() }));
    let kept = waiting.try_recv().unwrap();
    assert_eq!(kept.model, "é".repeat(128));
    assert_eq!(kept.counted_model(), OTHER_MODEL);
    let served = UsageRecord { served: Some("upstream".into()), named: true, ..record() };
    assert_eq!(served.counted_model(), "upstream");
    assert_eq!(UsageRecord { named: true, ..record() }.counted_model(), "m");
}
