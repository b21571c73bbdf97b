use campanile_edge::rights::{GroupRights, Operations};
use campanile_edge::tokens::{Expected, Keys, Verifier};
use campanile_messages::{InstanceId, Position};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::*;
use crate::access::Access;
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
    start_with(audiences, GatewayConfig::default())
}

fn start_with(audiences: usize, config: GatewayConfig) -> (Addr<Registry>, Deliveries) {
    // Nothing listens there.
    let broker = "127.0.0.1:1".to_owned();
    let config = Arc::new(GatewayConfig { workers: 1, broker: broker.into(), ..config });
    let audiences = Arc::new(AtomicUsize::new(audiences));
    let deliveries = Deliveries::default();
    let mut registry = None;
    Bridge::create(|ctx| {
        let (id, queue) = (Arc::new(OnceLock::new()), deliveries.clone());
        let (bridge, desk) = (ctx.address(), Desk::start(&config, InstanceId(1)).0);
        let (theirs, count) = (config.clone(), audiences.clone());
        let started = Registry::new(0, id.clone(), theirs, queue, bridge, count, desk);
        let started = registry.insert(started.start()).clone();
        let (signals, inquiries) = (started.clone().recipient(), started.recipient());
        let workers = vec![Worker { id, deliveries: deliveries.clone(), signals, inquiries }];
        let (instance, health) = (InstanceId(1), Health::default());
        Bridge::new(
            instance,
            &config,
            workers,
            audiences,
            (Box::new(|| {}), oneshot::channel().0),
            health,
        )
    });
    (registry.expect("started"), deliveries)
}

/// Attaches a client to a registry, and returns the other end of its connection.
async fn attach(registry: &Addr<Registry>, number: u64, groups: &[&str]) -> TcpStream {
    attach_as(Principal::default(), registry, number, groups).await
}

async fn attach_as(
    principal: Principal,
    registry: &Addr<Registry>,
    number: u64,
    groups: &[&str],
) -> TcpStream {
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
        principal,
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
    assert!(deliveries.push(Delivery::Mark(Position { epoch: 1, sequence: 1 }), Instant::now()));
    registry.send(Signal::Deliver).await.expect("the registry runs");
    assert!(!deliveries.is_taken(), "it was woken");
    registry.send(Continue).await.expect("the registry runs");
    assert!(deliveries.is_taken());
}

/// The code and the reason with which a client is closed.
async fn closed(mut client: TcpStream) -> (u16, String) {
    let mut frame = [0; 127];
    let read = timeout(DEADLINE, client.read(&mut frame)).await;
    let len = read.expect("it is closed").expect("no reset");
    let (code, reason) = frame[2..len].split_first_chunk().expect("a close with a code");
    assert_eq!(frame[0], 0x88);
    (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"))
}

#[actix::test]
async fn a_gateway_without_room_closes_clients_with_groups() {
    let (registry, _deliveries) = start(MAX_AUDIENCES);
    let client = attach(&registry, 1, &["news"]).await;
    let reason = "no room for more groups, try again later or elsewhere".to_owned();
    assert_eq!(closed(client).await, (1013, reason));
}

/// Here nobody is ever greeted. A client that is not cannot be told that it has left a group.
#[actix::test]
async fn guests_on_their_way_in_are_judged_by_the_latest_rights() {
    let access = |pattern: &str| {
        let subscribe = Operations { subscribe: true, ..Operations::default() };
        let groups = GroupRights::new([(pattern.parse().expect("a pattern"), subscribe)]);
        Arc::new(Access { guests: Some(Arc::new(groups)), ..Access::default() })
    };
    let before = access("public/*");
    let guest = || Principal::Guest(before.guests.clone().expect("guests"));
    let (changed, receiver) = watch::channel(before.clone());
    let config = GatewayConfig { access: receiver, ..GatewayConfig::default() };
    let (registry, _deliveries) = start_with(0, config);
    let waits = attach_as(guest(), &registry, 1, &["public/a", "public/b"]).await;
    let stays = attach_as(guest(), &registry, 2, &["public/a"]).await;
    changed.send_replace(access("public/a"));
    assert_eq!(closed(waits).await.0, 4403);
    let late = attach_as(guest(), &registry, 3, &["public/b"]).await;
    assert_eq!(closed(late).await.0, 4403);
    let tokens = Some(Verifier::new(Keys::default(), Expected::default()));
    changed.send_replace(Arc::new(Access { tokens, ..Access::default() }));
    let late = attach_as(guest(), &registry, 4, &[]).await;
    assert_eq!(closed(late).await.0, 4401);
    assert_eq!(closed(stays).await.0, 4401);
}
