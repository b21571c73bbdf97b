use campanile_messages::Position;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::bridge::Worker;
use crate::connection::socket::Socket;
use crate::delivery::Delivery;
use crate::dialects::Dialect;
use crate::entrance::health::Health;

const DEADLINE: Duration = Duration::from_secs(20);

/// Lets the registry rest, as at the end of a turn.
#[derive(Message)]
#[rtype(result = "()")]
struct Rest;

impl Handler<Rest> for Registry {
    type Result = ();

    fn handle(&mut self, _: Rest, _: &mut Self::Context) {
        self.is_resting = true;
    }
}

/// Ends the rest.
#[derive(Message)]
#[rtype(result = "()")]
struct Continue;

impl Handler<Continue> for Registry {
    type Result = ();

    fn handle(&mut self, _: Continue, ctx: &mut Self::Context) {
        self.is_resting = false;
        self.perform_deliveries(ctx);
    }
}

/// Starts a registry without a broker, whose gateway listens to this many audiences.
fn start(audiences: usize) -> (Addr<Registry>, Deliveries) {
    // Nothing listens there.
    let broker = "127.0.0.1:1".to_owned();
    let config = Arc::new(GatewayConfig { workers: 1, broker, ..GatewayConfig::default() });
    let audiences = Arc::new(AtomicUsize::new(audiences));
    let deliveries = Deliveries::default();
    let mut registry = None;
    Bridge::create(|ctx| {
        let (id, queue) = (Arc::new(OnceLock::new()), deliveries.clone());
        let (bridge, desk) = (ctx.address(), Desk::start(&config).0);
        let (theirs, count) = (config.clone(), audiences.clone());
        let started = Registry::new(0, id.clone(), theirs, queue, bridge, count, desk);
        let started = registry.insert(started.start()).clone();
        let signals = started.recipient();
        let workers = vec![Worker { id, deliveries: deliveries.clone(), signals }];
        Bridge::new(&config, workers, audiences, Box::new(|| {}), Health::default())
    });
    (registry.expect("started"), deliveries)
}

/// Attaches a client to a registry, and returns the other end of its connection.
async fn attach(registry: &Addr<Registry>, number: u64, groups: &[&str]) -> TcpStream {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stream, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
    let groups = groups.iter().map(|name| GroupName::new((*name).to_owned()).expect("a name"));
    let attach = Attach {
        connection: ConnectionId(number),
        line: Line {
            socket: Socket::new(stream.expect("connected").0, 1 << 20),
            dialect: Dialect::Plain,
        },
        principal: Principal::default(),
        groups: groups.collect(),
        user: None,
        since: None,
    };
    registry.send(attach).await.expect("the registry runs");
    client.expect("connected")
}

/// An actor handles its mailbox before its timers. If each message started a turn of deliveries, timers
/// would not run while deliveries arrive.
#[actix::test]
async fn a_resting_registry_is_not_woken_by_more_deliveries() {
    let (registry, deliveries) = start(0);
    registry.send(Rest).await.expect("the registry runs");
    assert!(deliveries.push(Delivery::Mark(Position { epoch: 1, sequence: 1 })));
    registry.send(Signal::Deliver).await.expect("the registry runs");
    assert!(!deliveries.is_taken(), "it was woken");
    registry.send(Continue).await.expect("the registry runs");
    assert!(deliveries.is_taken());
}

#[actix::test]
async fn a_gateway_without_room_closes_clients_with_groups() {
    let (registry, _deliveries) = start(MAX_AUDIENCES);
    let mut client = attach(&registry, 1, &["news"]).await;
    let mut frame = [0; 60];
    let read = timeout(DEADLINE, client.read(&mut frame)).await;
    let len = read.expect("it is closed").expect("no reset");
    let (code, reason) = frame[2..len].split_first_chunk().expect("a close with a code");
    assert_eq!((frame[0], u16::from_be_bytes(*code)), (0x88, 1013));
    assert_eq!(str::from_utf8(reason), Ok("no room for more groups, try again later or elsewhere"));
}
