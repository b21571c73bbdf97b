use std::io::IoSlice;

use campanile_messages::{Address, ConnectionId, Content, WorkerId};

use super::*;

fn frame(head: usize, content: usize) -> EncodedFrame {
    EncodedFrame {
        head: Bytes::from(vec![0; head]),
        content: (content > 0).then(|| Bytes::from(vec![0; content])),
    }
}

fn full(queued_bytes: usize) -> Result<(), Full> {
    Err(Full { queued_bytes, max_bytes: 100 })
}

#[test]
fn the_bound_counts_whole_frames_and_takes_one_of_any_size() {
    let outbound = Outbound::new(100);
    assert_eq!(outbound.send(&frame(10, 500)), Ok(()));
    assert_eq!(outbound.send(&frame(1, 0)), full(510));

    let outbound = Outbound::new(100);
    assert_eq!(outbound.send(&frame(10, 50)), Ok(()));
    assert_eq!(outbound.send(&frame(10, 31)), full(60));
    assert_eq!(outbound.send(&frame(10, 30)), Ok(()));
}

#[test]
fn forced_frames_do_not_count_against_the_bound() {
    let outbound = Outbound::new(100);
    outbound.force(&frame(1_000, 0));
    outbound.force(&frame(1_000, 0));
    assert_eq!(outbound.send(&frame(60, 0)), Ok(()));
    assert_eq!(outbound.send(&frame(60, 0)), full(60));
    outbound.lock().outbox.advance(1_500);
    assert_eq!(outbound.send(&frame(60, 0)), full(60));
    outbound.lock().outbox.advance(530);
    assert_eq!(outbound.send(&frame(60, 0)), Ok(()));
    assert_eq!(outbound.queued_bytes(), 90);
}

#[test]
fn frames_are_forced_together_until_too_many_wait() {
    let frames = [frame(100, 0), frame(36, 0)];
    let held = 2 * (68 + 64);
    let outbound = Outbound::new(100);
    assert_eq!(outbound.force_all(&frames, 0), Ok(()), "nothing was forced before");
    assert_eq!(outbound.force_all(&[], held), Ok(()));
    assert_eq!(
        outbound.force_all(&frames, held - 1),
        Err(Full { queued_bytes: held, max_bytes: held - 1 })
    );
    assert_eq!(outbound.queued_bytes(), 136);
    assert_eq!(outbound.send(&frame(60, 0)), Ok(()), "forced frames do not count");
    outbound.lock().outbox.advance(136);
    assert_eq!(outbound.force_all(&frames, 0), Ok(()), "no forced frame waits");
}

#[test]
fn joined_frames_are_the_same_bytes_within_the_same_bound() {
    let publish = |content: &Bytes| {
        let content = Content::Binary(content.clone());
        ToBroker::Direct { number: 1, to: ADDRESS, content }
    };
    let contents: Vec<Bytes> =
        [1, 600, 2, 512, 513, 3].map(|len| Bytes::from(vec![b'x'; len])).into();
    let frames: Vec<_> = contents.iter().map(|content| publish(content).encode()).collect();
    let sum: usize = frames.iter().map(EncodedFrame::len_bytes).sum();

    let apart = Outbound::new(usize::MAX);
    frames.iter().for_each(|frame| apart.force(frame));
    for max_bytes in [sum, sum - 1] {
        let together = Outbound::new(max_bytes);
        let mut sending = together.sending();
        let sent: Vec<_> = contents
            .iter()
            .map(|content| {
                let head =
                    ToBroker::Direct { number: 1, to: ADDRESS, content: ContentKind::Binary };
                sending.send(None, &head, content).is_ok()
            })
            .collect();
        drop(sending);
        let fits = max_bytes == sum;
        assert_eq!(sent, [true, true, true, true, true, fits]);
        let expected = bytes(&apart);
        let last = if fits { 0 } else { frames[5].len_bytes() };
        assert_eq!(bytes(&together), expected[..expected.len() - last]);
    }
}

#[test]
fn a_push_and_what_goes_right_before_it_are_queued_together_or_not() {
    let first = ToBroker::Settled { unanswered: 3 };
    let content = Bytes::from(vec![b'x'; 600]);
    let head = ToBroker::Direct { number: 1, to: ADDRESS, content: ContentKind::Binary };
    let alone = Outbound::new(usize::MAX);
    alone.force(&first.clone().encode());
    alone.sending().send(None, &head, &content).unwrap();
    let expected = bytes(&alone);
    // Any size is accepted if nothing waits.
    let outbound = Outbound::new(1);
    outbound.sending().send(Some(first.clone()), &head, &content).unwrap();
    assert_eq!(bytes(&outbound), expected);
    for (room, fits) in [(expected.len(), true), (expected.len() - 1, false)] {
        let outbound = Outbound::new(10 + room);
        outbound.send(&frame(10, 0)).unwrap();
        let sent = outbound.sending().send(Some(first.clone()), &head, &content);
        assert_eq!(sent.is_ok(), fits);
        assert_eq!(outbound.queued_bytes(), if fits { 10 + room } else { 10 });
    }
}

#[test]
fn a_message_is_only_for_a_peer_that_has_its_feature() {
    let later = Some(Feature("later"));
    let outbound = Outbound::new(100);
    assert!(outbound.may_carry(None) && !outbound.may_carry(later));
    outbound.agree(Features::default());
    assert!(outbound.may_carry(None) && !outbound.may_carry(later));

    let outbound = Outbound::new(100);
    outbound.agree(Features::of([Feature("later")]));
    assert!(outbound.may_carry(None) && outbound.may_carry(later));
}

const ADDRESS: Address = Address { worker: WorkerId(3), connection: ConnectionId(7) };

/// The bytes that wait.
fn bytes(outbound: &Outbound) -> Vec<u8> {
    let state = outbound.lock();
    let mut slices = [IoSlice::new(&[]); 100];
    let filled = state.outbox.slices(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

#[test]
fn a_link_that_ends_takes_no_more_and_stays_cut() {
    let outbound = Outbound::new(100);
    outbound.finish();
    outbound.force(&frame(10, 0));
    assert_eq!(outbound.send(&frame(1_000, 0)), Ok(()));
    assert_eq!(outbound.queued_bytes(), 0);
    outbound.cut();
    outbound.finish();
    assert_eq!(outbound.lock().phase, LinkPhase::Cut);
}

#[test]
fn events_are_counted_until_their_last_byte_is_written() {
    let outbound = Outbound::new(1_000);
    assert_eq!(outbound.send_event(None, &frame(10, 50)), Ok(()));
    assert_eq!(outbound.send(&frame(10, 0)), Ok(()));
    assert_eq!(outbound.send_event(None, &frame(10, 0)), Ok(()));
    assert_eq!(outbound.waiting(), (2, 80));
    outbound.write(|outbox| outbox.advance(59));
    assert_eq!(outbound.waiting(), (2, 21));
    outbound.write(|outbox| outbox.advance(11));
    assert_eq!(outbound.waiting(), (1, 10));
    assert_eq!(outbound.force_events(&[frame(5, 0), frame(5, 0)], 1_000), Ok(()));
    assert_eq!(outbound.force_all(&[frame(5, 0)], 1_000), Ok(()));
    assert_eq!(outbound.waiting(), (3, 25));
    outbound.write(|outbox| outbox.advance(25));
    assert_eq!(outbound.waiting(), (0, 0));
}

#[test]
fn what_does_not_fit_is_no_event_that_waits() {
    let outbound = Outbound::new(100);
    assert_eq!(outbound.send_event(None, &frame(90, 0)), Ok(()));
    assert_eq!(outbound.send_event(None, &frame(20, 0)), full(90));
    assert_eq!(outbound.waiting(), (1, 90));
}

#[test]
fn what_goes_before_an_event_does_not_make_it_too_large() {
    let outbound = Outbound::new(10);
    let stamp = frame(3, 0);
    assert_eq!(outbound.send_event(Some(&stamp), &frame(50, 0)), Ok(()), "nothing waits");
    assert_eq!(outbound.waiting(), (1, 53));
    assert!(outbound.send_event(Some(&stamp), &frame(1, 0)).is_err());
    assert_eq!(outbound.waiting(), (1, 53), "both or none");
}
