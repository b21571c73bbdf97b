use std::net::Ipv4Addr;

use campanile_messages::link::InterestChange;
use campanile_messages::{Audience, Content, Durability, InstanceId, Position};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::{sleep, timeout};

use super::super::config::Storage;
use super::super::server::run;
use super::super::stuck_store::{Gate, StuckStore};
use super::*;

/// Makes the actor panic, as a bug would.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Panic;

impl Handler<Panic> for Broker {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

/// A broker whose disk can be stuck.
struct TestBroker {
    gate: Gate,
    broker: Addr<Broker>,
    gone: Option<oneshot::Receiver<StoreError>>,
    meters: BrokerMeters,
    health: BrokerHealth,
}

impl TestBroker {
    fn of(durability: Durability) -> Self {
        let gate = Gate::default();
        let storage = Storage { dir: "stuck".into(), durability };
        let config = BrokerConfig { storage: Some(storage), ..BrokerConfig::default() };
        let recovered = Recovered { epoch: 7, ..Recovered::default() };
        let found = Some((StuckStore::new(&gate), recovered));
        let (broker, gone) =
            Broker::launch_on(&config, (Clock::starting_at(Duration::ZERO), 0xab), found).unwrap();
        let BrokerConfig { meters, health, .. } = config;
        Self { gate, broker, gone: Some(gone), meters, health }
    }

    fn hello(&self, instance: u64, role: Role) -> (Answer, Outbound) {
        let (answer, answered) = oneshot::channel();
        let outbound = Outbound::new(64 << 20);
        let hello = Hello { instance: InstanceId(instance), role };
        let peer = (Ipv4Addr::LOCALHOST, 1).into();
        let agreement = Agreement::ours();
        let principal = Principal::default();
        let enter = Enter { hello, agreement, principal, peer, outbound: outbound.clone(), answer };
        self.broker.do_send(enter);
        (answered, outbound)
    }

    /// What operators see under this name.
    fn shown(&self, name: &str) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        self.meters.register(&mut registry);
        encode(&mut text, &registry).unwrap();
        let line = format!("campanile_broker_{name} ");
        text.lines().find_map(|shown| shown.strip_prefix(&line)).unwrap().to_owned()
    }

    /// Lets the broker tick until a condition holds.
    async fn until(&self, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < until);
            self.broker.send(Tick).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn publisher(&self) -> (Welcomed, Outbound) {
        let (answered, outbound) = self.hello(1, Role::Publisher { unanswered: 1 });
        (answered.await.unwrap().unwrap(), outbound)
    }

    async fn say(&self, seat: &Seat, message: ToBroker) -> bool {
        let messages = vec![message];
        self.broker.send(FromLink { link: seat.link(), messages }).await.unwrap()
    }
}

type Answer = oneshot::Receiver<Result<Welcomed, Unwelcome>>;

fn publish(number: u64, len_bytes: usize) -> ToBroker {
    ToBroker::Publish {
        number,
        unanswered: number,
        id: None,
        count_within_millis: None,
        audience: Audience::Everyone,
        except: None,
        content: Content::Binary(vec![0; len_bytes].into()),
        from: None,
    }
}

#[actix::test]
async fn publishers_are_held_back_while_the_disk_is_stuck() {
    for durability in [Durability::Memory, Durability::Written, Durability::Disk] {
        let test = TestBroker::of(durability);
        let (Welcomed { seat, is_behind }, _outbound) = test.publisher().await;
        let mut is_behind = is_behind.unwrap();
        test.gate.shut();
        // The peer's task does the same: it reads while the broker is not behind.
        let mut number = 0;
        while !*is_behind.borrow() && number < 200 {
            number += 1;
            assert!(test.say(&seat, publish(number, 1 << 20)).await);
        }
        assert!(number < 70, "{durability:?}: {number} MiB wait for the disk");
        test.broker.send(Tick).await.unwrap();
        assert!(*is_behind.borrow(), "{durability:?}");
        test.gate.open();
        let free = is_behind.wait_for(|is_behind| !is_behind);
        timeout(Duration::from_secs(20), free).await.unwrap().unwrap();
    }
}

#[actix::test]
async fn a_stuck_disk_holds_up_neither_gateways_nor_the_actor() {
    let test = TestBroker::of(Durability::Disk);
    test.gate.shut();
    let gateway = || Role::Gateway { workers: 1_024, held: vec![] };
    let mut welcomed = Vec::new();
    for instance in 1..=4 {
        let (answered, outbound) = test.hello(instance, gateway());
        welcomed.push((answered.await.unwrap().unwrap(), outbound));
    }
    // The next ids are not reserved on disk yet, so this gateway waits, and nobody else does.
    let (mut late, _outbound) = test.hello(5, gateway());
    let (Welcomed { seat, .. }, _publisher) = test.publisher().await;
    assert!(test.say(&seat, ToBroker::Settled { unanswered: 1 }).await);
    assert!(late.try_recv().is_err());
    // A peer that no longer waits gets no link.
    drop(test.hello(6, gateway()));
    test.gate.open();
    timeout(Duration::from_secs(20), late).await.unwrap().unwrap().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    test.broker.send(Close { until }).await.unwrap().unwrap();
    assert_eq!(test.gate.calls().last(), Some(&"close"));
}

#[actix::test]
async fn links_wait_for_a_new_epoch_and_that_for_the_disk() {
    let test = TestBroker::of(Durability::Disk);
    let (answered, _outbound) = test.hello(2, Role::Gateway { workers: 1, held: vec![] });
    let Welcomed { seat, .. } = answered.await.unwrap().unwrap();
    test.gate.shut();
    let ahead = Position { epoch: 7, sequence: 100 };
    assert!(!test.say(&seat, ToBroker::Attach { cursor: Some(ahead) }).await);
    let (mut answered, outbound) = test.hello(1, Role::Publisher { unanswered: 1 });
    test.broker.send(Tick).await.unwrap();
    assert!(answered.try_recv().is_err());
    assert_eq!(outbound.queued_bytes(), 0);
    test.gate.open();
    timeout(Duration::from_secs(20), answered).await.unwrap().unwrap().unwrap();
    assert!(test.gate.calls().contains(&"set_epoch"));
}

#[actix::test]
async fn every_link_learns_of_a_long_wait_for_the_disk() {
    let test = TestBroker::of(Durability::Memory);
    let gateway = || Role::Gateway { workers: 1, held: vec![] };
    let (answered, outbound) = test.hello(2, gateway());
    let _link = answered.await.unwrap().unwrap();
    let (Welcomed { seat, .. }, _publisher) = test.publisher().await;
    let disk = |is_waiting| FromBroker::Disk { is_waiting }.encode().len_bytes();
    let welcome_bytes = outbound.queued_bytes();
    test.gate.shut();
    test.say(&seat, publish(1, 1)).await;
    test.until(|| outbound.queued_bytes() == welcome_bytes + disk(true)).await;
    test.broker.send(Tick).await.unwrap();
    assert_eq!(outbound.queued_bytes(), welcome_bytes + disk(true), "said once");
    assert_eq!((test.health.hindrance(), &*test.shown("disk_waits")), (Some("disk"), "1"));
    assert_ne!(test.shown("staged_bytes"), "0");
    let (answered, late) = test.hello(3, gateway());
    let _late_link = answered.await.unwrap().unwrap();
    assert_eq!(late.queued_bytes(), welcome_bytes + disk(true));
    test.gate.open();
    let said = disk(true) + disk(false);
    test.until(|| outbound.queued_bytes() == welcome_bytes + said).await;
    assert_eq!(late.queued_bytes(), welcome_bytes + said);
    assert_eq!((test.health.hindrance(), &*test.shown("disk_waits")), (None, "0"));
    assert_eq!(test.shown("write_duration_seconds_count"), "1");
    test.until(|| test.shown("staged_bytes") == "0").await;
}

#[actix::test]
async fn operators_see_how_far_the_slowest_gateway_is_behind() {
    let test = TestBroker::of(Durability::Memory);
    let (answered, outbound) = test.hello(2, Role::Gateway { workers: 1, held: vec![] });
    let gateway = answered.await.unwrap().unwrap();
    let (publisher, _publisher) = test.publisher().await;
    let change = InterestChange { audience: Audience::Everyone, connections: Some(1) };
    let interest = ToBroker::Interest { revision: 1, changes: vec![change] };
    test.say(&gateway.seat, interest).await;
    test.say(&gateway.seat, ToBroker::Attach { cursor: None }).await;
    // Nobody writes what is queued.
    for number in 1..=3 {
        test.say(&publisher.seat, publish(number, 1)).await;
    }
    test.broker.send(Tick).await.unwrap();
    assert_eq!((&*test.shown("link_lag_events"), &*test.shown("link_events_total")), ("3", "3"));
    assert_eq!(test.shown("link_lag_bytes"), outbound.queued_bytes().to_string());
    let age = || test.shown("link_lag_seconds").parse::<f64>().unwrap();
    test.until(|| age() > 0.1).await;
    drop(gateway);
    test.until(|| test.shown("link_lag_events") == "0").await;
    assert_eq!(test.shown("links{role=\"gateway\"}"), "0");
    // Nobody writes the answers to the publisher, either.
    assert!(age() > 0.1);
    drop(publisher);
    test.until(|| age() == 0.0).await;
}

#[actix::test]
async fn a_stuck_disk_cannot_exceed_the_limit_of_a_shutdown() {
    let mut test = TestBroker::of(Durability::Memory);
    let (Welcomed { seat, .. }, _publisher) = test.publisher().await;
    test.gate.shut();
    test.say(&seat, publish(1, 1)).await;
    let shutdown_limit = Duration::from_millis(500);
    let storage = Some(Storage { dir: "stuck".into(), durability: Durability::Memory });
    let config = BrokerConfig { storage, shutdown_limit, ..BrokerConfig::default() };
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = test.gone.take().unwrap();
    let asked = Instant::now();
    run(config, vec![listener], async {}, test.broker.clone(), gone).await.unwrap();
    let took = asked.elapsed();
    assert!(took >= shutdown_limit && took < 4 * shutdown_limit, "{took:?}");
    test.gate.open();
}

#[actix::test]
async fn the_actor_ends_with_its_last_address_and_with_a_panic() {
    let (broker, gone) = Broker::launch(&BrokerConfig::default()).unwrap();
    drop(broker);
    assert!(gone.await.is_err());
    let (broker, gone) = Broker::launch(&BrokerConfig::default()).unwrap();
    broker.do_send(Panic);
    assert!(gone.await.is_err());
    assert!(broker.send(ShutDown).await.is_err());
}
