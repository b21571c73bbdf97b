use std::path::Path;
use std::time::Duration;

use campanile_messages::{Audience, Content, Durability, InstanceId};

use super::super::record::Record;
use super::super::store::{Recovered, Store};
use super::super::stuck_store::{Gate, StuckStore};
use super::*;

fn open(dir: &Path) -> (Store, Recovered) {
    Store::open(dir, Durability::Disk, || 7).unwrap()
}

fn event(sequence: u64, len: usize) -> Changes {
    let record = Record {
        sequence,
        at: Duration::ZERO,
        audience: Audience::Everyone,
        except: None,
        content: Content::Binary(vec![0; len].into()),
        from: None,
        publisher: InstanceId(1),
        number: sequence,
        gateways: 0,
        matched: 0,
    };
    Changes { events: vec![record], ..Changes::default() }
}

fn close(writer: Writer, next_worker: Option<u64>) -> Result<Closed, StoreError> {
    close_within(writer, next_worker, Duration::from_secs(20))
}

fn close_within(
    writer: Writer,
    next_worker: Option<u64>,
    limit: Duration,
) -> Result<Closed, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(writer.close(next_worker, limit))
}

fn start(store: impl DurableStore) -> (Writer, Receiver<Report>) {
    let (reports, reported) = mpsc::channel();
    let none = BrokerConfig::default();
    let writer = Writer::start(store, &none, move |report| reports.send(report).unwrap()).unwrap();
    (writer, reported)
}

#[test]
fn everything_is_reported_in_order_and_stored_at_the_close() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reported) = start(open(dir.path()).0);
    for sequence in 1..=500 {
        writer.send(event(sequence, 10));
    }
    writer.set_next_worker(3);
    close(writer, None).unwrap();
    let reports: Vec<u64> = reported
        .iter()
        .filter_map(|report| match report {
            Report::Stored { up_to } => Some(up_to),
            Report::NextWorker(3) => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(reports.is_sorted() && reports.last() == Some(&500), "{reports:?}");
    assert!(reports.len() < 250, "{} batches for 500 changes", reports.len());
    let (_, recovered) = open(dir.path());
    assert_eq!((recovered.events.len(), recovered.next_worker), (500, 3));
}

#[test]
fn a_new_epoch_begins_after_what_was_sent_before() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reported) = start(open(dir.path()).0);
    writer.send(event(1, 10));
    writer.set_epoch(9);
    writer.send(event(2, 10));
    assert_eq!(close(writer, Some(5)).unwrap(), Closed::Completely);
    let reports: Vec<Report> = reported.iter().collect();
    assert!(matches!(reports[1], Report::Epoch(9)), "{reports:?}");
    let (_, recovered) = open(dir.path());
    assert_eq!((recovered.epoch, recovered.head, recovered.next_worker), (9, 2, 5));
    assert_eq!(recovered.events, event(2, 10).events);
}

#[test]
fn a_failure_is_reported_once_and_nothing_more_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, reported) = start(open(dir.path()).0);
    writer.send(event(1, 10));
    assert!(matches!(reported.recv().unwrap(), Report::Stored { up_to: 1 }));
    writer.send(event(3, 10));
    writer.send(event(2, 10));
    let failed = reported.recv().unwrap();
    assert!(matches!(failed, Report::Failed(StoreError::OutOfSequence { .. })), "{failed:?}");
    // The thread is gone, and its end of the channel with it.
    reported.recv().unwrap_err();
    writer.send(event(2, 10));
    let stopped = close(writer, None).unwrap_err();
    assert!(matches!(stopped, StoreError::Stopped { .. }), "{stopped}");
    assert_eq!(open(dir.path()).1.events, event(1, 10).events);
}

#[test]
fn without_a_close_everything_is_stored_as_in_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (Writer { queue, thread, .. }, reported) = start(open(dir.path()).0);
    queue.send(Command::Store(event(1, 10))).unwrap();
    drop(queue);
    thread.join().unwrap();
    assert!(matches!(reported.recv().unwrap(), Report::Stored { up_to: 1 }));
    let (_, recovered) = open(dir.path());
    assert_eq!((recovered.epoch, recovered.head), (7, 1));
}

#[test]
fn held_bytes_count_until_they_are_stored() {
    let gate = Gate::default();
    let (writer, reported) = start(StuckStore::new(&gate));
    gate.shut();
    let held_bytes: usize = (1..=9)
        .map(|sequence| {
            let changes = event(sequence, 1 << 20);
            let held_bytes = changes.held_bytes();
            writer.send(changes);
            held_bytes
        })
        .sum();
    assert!(held_bytes > 9 << 20);
    assert_eq!(writer.held_bytes(), held_bytes);
    gate.open();
    while !matches!(reported.recv().unwrap(), Report::Stored { up_to: 9 }) {}
    assert_eq!(writer.held_bytes(), 0);
}

#[test]
fn a_close_gives_up_on_a_stuck_disk_after_its_limit() {
    let gate = Gate::default();
    let (writer, reported) = start(StuckStore::new(&gate));
    gate.shut();
    writer.send(event(1, 10));
    while gate.calls().is_empty() {
        thread::yield_now();
    }
    writer.send(event(2, 10));
    writer.send(event(3, 10));
    assert!(writer.wait().look().under_way.is_some());
    let given_up = close_within(writer, None, Duration::from_millis(20));
    assert_eq!(given_up.unwrap(), Closed::GivenUp { events: 3 });
    gate.open();
    assert!(matches!(reported.recv().unwrap(), Report::Stored { up_to: 1 }));
    // The thread has ended without touching what was left.
    reported.recv().unwrap_err();
    assert_eq!(gate.calls(), ["write"]);
}

#[test]
fn a_batch_is_bounded_and_ends_before_other_commands() {
    let (queue, commands) = mpsc::channel();
    for sequence in 2..=10 {
        queue.send(Command::Store(event(sequence, 3 << 20))).unwrap();
    }
    let (reply, _answer) = oneshot::channel();
    queue.send(Command::Close { next_worker: None, reply }).unwrap();
    let sizes: Vec<usize> = std::iter::from_fn(|| match commands.try_recv().ok()? {
        Command::Store(first) => {
            let (group, next) = gather(first, &commands);
            assert!(next.is_none() || matches!(next, Some(Command::Close { .. })));
            Some(group.len())
        }
        _ => None,
    })
    .collect();
    assert_eq!(sizes, [3, 3, 3]);
}
