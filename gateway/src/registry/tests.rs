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

/// Stands for the end of a turn: the registry goes on when everybody else had theirs.
#[derive(Message)]
#[rtype(result = "()")]
struct Rest;

impl Handler<Rest> for Registry {
    type Result = ();

    fn handle(&mut self, _: Rest, _: &mut Self::Context) {
        self.is_resting = true;
    }
}

/// The turn of everybody else is over.
#[derive(Message)]
#[rtype(result = "()")]
struct GoOn;

impl Handler<GoOn> for Registry {
    type Result = ();

    fn handle(&mut self, _: GoOn, ctx: &mut Self::Context) {
        self.is_resting = false;
        self.perform_deliveries(ctx);
    }
}

/// A registry whose gateway listens to this many audiences, and which has no broker.
fn start(audiences: usize) -> (Addr<Registry>, Deliveries) {
    // Nobody listens there.
    let broker = "127.0.0.1:1".to_owned();
    let config = Arc::new(GatewayConfig { workers: 1, broker, ..GatewayConfig::default() });
    let audiences = Arc::new(AtomicUsize::new(audiences));
    let deliveries = Deliveries::default();
    let mut registry = None;
    Bridge::create(|ctx| {
        let (id, queue) = (Arc::new(OnceLock::new()), deliveries.clone());
        let started =
            Registry::new(0, id.clone(), config.clone(), queue, ctx.address(), audiences.clone());
        let started = registry.insert(started.start()).clone();
        let signals = started.recipient();
        let workers = vec![Worker { id, deliveries: deliveries.clone(), signals }];
        Bridge::new(&config, workers, audiences, Box::new(|| {}), Health::default())
    });
    (registry.expect("started"), deliveries)
}

/// A client of a registry, and the other end of its connection.
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
        since: None,
    };
    registry.send(attach).await.expect("it lives");
    client.expect("connected")
}

/// Its mailbox comes before its timers: messages that are each answered with a turn would leave them
/// none for as long as deliveries come.
#[actix::test]
async fn a_registry_that_rests_is_not_roused_by_more_deliveries() {
    let (registry, deliveries) = start(0);
    registry.send(Rest).await.expect("it lives");
    assert!(deliveries.push(Delivery::Mark(Position { epoch: 1, sequence: 1 })));
    registry.send(Signal::Deliver).await.expect("it lives");
    assert!(!deliveries.is_taken(), "it was roused");
    registry.send(GoOn).await.expect("it lives");
    assert!(deliveries.is_taken());
}

#[actix::test]
async fn a_gateway_without_room_for_more_groups_says_so() {
    let (registry, _deliveries) = start(MAX_AUDIENCES);
    let mut client = attach(&registry, 1, &["news"]).await;
    let mut frame = [0; 60];
    let read = timeout(DEADLINE, client.read(&mut frame)).await;
    let len = read.expect("it is closed").expect("no reset");
    let (code, reason) = frame[2..len].split_first_chunk().expect("a close with a code");
    assert_eq!((frame[0], u16::from_be_bytes(*code)), (0x88, 1013));
    assert_eq!(str::from_utf8(reason), Ok("no room for more groups, try again later or elsewhere"));
}
