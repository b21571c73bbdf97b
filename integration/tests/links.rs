//! Links that come in pieces or end within their first frames, at every byte.

use std::ops::Range;

use campanile_harness::{
    End, Mode, Process, Proxy, PushApi, Towards, Websocket, start_gateway, start_publisher,
};
use campanile_messages::Position;
use futures_util::future::join_all;

/// More than the first frames of a link have, in either direction.
const FIRST_BYTES: usize = 160;

/// How many of these a test runs at once: most of the time they wait for the next attempt to link.
const CHAINS: usize = 5;

/// A broker, a gateway and a publisher with a proxy before each of the two.
struct Chain {
    _broker: Process,
    _gateway: Process,
    _publisher: Process,
    gateway_link: Proxy,
    publisher_link: Proxy,
    client: Websocket,
    push: PushApi,
}

impl Chain {
    async fn start() -> Self {
        let broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
        let address = broker.address("the broker listens").await;
        let (gateway_link, publisher_link) = (Proxy::to(address).await, Proxy::to(address).await);
        let gateway = start_gateway(gateway_link.address, &[]);
        let publisher = start_publisher(publisher_link.address, &[]);
        let push = PushApi::new(publisher.address("the publisher listens").await);
        let listens = gateway.address("the gateway listens").await;
        gateway.said("the gateway takes connections").await;
        let client = Websocket::v1(listens, &["g"]).await;
        Self {
            _broker: broker,
            _gateway: gateway,
            _publisher: publisher,
            gateway_link,
            publisher_link,
            client,
            push,
        }
    }

    /// Gives the next connection of both links this mode, and waits for it.
    async fn connect_anew(&mut self, mode: Mode) {
        for link in [&self.gateway_link, &self.publisher_link] {
            let connections = link.accepted();
            link.new_ones(mode);
            link.live(Mode::Cut(End::Reset));
            link.more_accepted_than(connections).await;
            link.new_ones(Mode::Pass);
        }
    }

    /// Asserts that everything that is pushed now arrives, once and in order.
    async fn works(&mut self, what: &str) {
        let mut last: Option<Position> = None;
        for group in [None, Some("g")] {
            let to = group.map(|group| ("to_group", group));
            let parameters: Vec<_> = to.into_iter().chain([("content", what)]).collect();
            let position = self.push.position(&parameters).await;
            loop {
                let said = self.client.json().await;
                if said["type"] == "position" {
                    continue;
                }
                assert_eq!((&said["content"], &said["id"]), (&what.into(), &(&*position).into()));
                break;
            }
            let position: Position = position.parse().expect("a position");
            assert!(last.is_none_or(|last| last.sequence < position.sequence));
            last = Some(position);
        }
    }
}

/// Disturbs both links at each of these bytes, and checks that everything works after it.
async fn works_at_each(bytes: Range<usize>, towards: Towards, mode: impl Fn(usize) -> Mode) {
    let chains = (0..CHAINS).map(async |first| {
        let mut chain = Chain::start().await;
        for bytes in bytes.clone().skip(first).step_by(CHAINS) {
            chain.connect_anew(mode(bytes)).await;
            chain.works(&format!("{towards:?} {bytes}")).await;
        }
    });
    join_all(chains).await;
}

async fn works_in_two_pieces(towards: Towards) {
    works_at_each(1..FIRST_BYTES, towards, |bytes| Mode::SplitAt(towards, bytes)).await;
}

async fn works_after_a_short_one(towards: Towards) {
    let end = |bytes: usize| [End::Fin, End::Reset][bytes % 2];
    let mode = |bytes| Mode::Truncate(towards, bytes, end(bytes));
    works_at_each(0..FIRST_BYTES, towards, mode).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_works_if_the_hello_comes_in_two_pieces() {
    works_in_two_pieces(Towards::Target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_works_if_the_welcome_comes_in_two_pieces() {
    works_in_two_pieces(Towards::Client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_ends_within_the_hello_is_replaced() {
    works_after_a_short_one(Towards::Target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_ends_within_the_welcome_is_replaced() {
    works_after_a_short_one(Towards::Client).await;
}
