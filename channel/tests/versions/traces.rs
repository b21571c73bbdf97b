//! Traces, between peers of which some do not know them.

use super::*;

/// Where traces are known, and nothing else.
const TRACING: Dialect = Dialect {
    terms: b"\x91\xa6traces\x92\xce\x01\x01\x00\x00\xce\x01\x00\x00\x00",
    agreed: b"\x91\xa6traces",
    ..THIS
};

#[actix::test]
async fn a_trace_reaches_only_a_gateway_that_knows_what_it_is() {
    let broker = TestBroker::start(BrokerConfig::default()).await;
    let role = [b"\x81\xa7Gateway", &THIS.fields(&[b"\x01", b"\x90"])[..]].concat();
    let (mut older, _) = enter(&broker, THIS.hello(2, &role)).await;
    let (mut newer, _) = enter(&broker, TRACING.hello(3, &role)).await;
    for gateway in [&mut older, &mut newer] {
        let change = THIS.fields(&[NEWS, b"\x03"]);
        let changes = [b"\x91", &change[..]].concat();
        gateway.send_bytes(&THIS.message("Interest", &[b"\x01", &changes], b"")).await;
        gateway.send_bytes(&THIS.message("Attach", &[b"\xc0"], b"")).await;
        assert!(said(gateway).await.starts_with(b"\x81\xa8Attached"));
        assert!(said(gateway).await.starts_with(b"\x81\xa9Confirmed"));
    }
    let (mut publisher, _) = enter(&broker, TRACING.publisher()).await;
    let ids = [&b"\xc4\x10"[..], &[7; 16], b"\xc4\x08", &[8; 8], b"\x01"].concat();
    let context = [b"\x93", &ids[..]].concat();
    publisher.send_bytes(&THIS.message("Traced", &[b"\x01", &context], b"")).await;
    let head: [&[u8]; 7] = [b"\x01", b"\x01", b"\xc0", b"\xc0", NEWS, b"\xc0", b"\xa1t"];
    publisher.send_bytes(&THIS.message("Publish", &head, b"\xc4\x02hi")).await;
    let traced = [b"\x81\xa6Traced\x92\x01", &context[..]].concat();
    assert_eq!(said(&mut newer).await, traced);
    let hi = b"\x81\xa5Event\x94\x01\x81\xa5Group\xa4news\xc0\xa1t\xc4\x02hi";
    assert_eq!(said(&mut newer).await, hi);
    assert_eq!(said(&mut older).await, hi);
    drop((older, newer, publisher));
    broker.stop().await;
}
