//! Links that come in pieces or end within their first frames, at every byte.

mod harness;

use campanile_messages::Position;
use harness::{
    Client, End, Mode, Process, Proxy, Publisher, Towards, start_gateway, start_publisher,
};

/// More than the first frames of a link have, in either direction.
const FIRST_BYTES: usize = 160;

/// A broker, a gateway and a publisher with a proxy before each of the two.
struct Chain {
    _broker: Process,
    _gateway: Process,
    _publisher: Process,
    gateway_link: Proxy,
    publisher_link: Proxy,
    client: Client,
    push: Publisher,
}

impl Chain {
    async fn start() -> Self {
        let broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
        let address = broker.address("the broker listens").await;
        let (gateway_link, publisher_link) = (Proxy::to(address).await, Proxy::to(address).await);
        let gateway = start_gateway(gateway_link.address, &[]);
        let publisher = start_publisher(publisher_link.address, &[]);
        let push = Publisher::new(publisher.address("the publisher listens").await);
        let listens = gateway.address("the gateway listens").await;
        gateway.said("the gateway takes connections").await;
        let client = Client::v1(listens, &["g"]).await;
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

    /// Makes the next connection of both links like this, and waits for it.
    async fn connect_anew(&mut self, mode: Mode) {
        for link in [&self.gateway_link, &self.publisher_link] {
            let connections = link.accepted();
            link.new_ones(mode);
            link.live(Mode::Cut(End::Reset));
            link.more_accepted_than(connections).await;
            link.new_ones(Mode::Pass);
        }
    }

    /// Everything that is pushed now arrives, once and in order.
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

async fn works_in_two_pieces(towards: Towards) {
    let mut chain = Chain::start().await;
    for bytes in 1..FIRST_BYTES {
        chain.connect_anew(Mode::SplitAt(towards, bytes)).await;
        chain.works(&format!("{towards:?} {bytes}")).await;
    }
}

async fn works_after_a_short_one(towards: Towards) {
    let mut chain = Chain::start().await;
    for bytes in 0..FIRST_BYTES {
        let end = [End::Fin, End::Reset][bytes % 2];
        chain.connect_anew(Mode::Truncate(towards, bytes, end)).await;
        chain.works(&format!("{towards:?} {bytes}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_first_bytes_to_the_broker_come_in_two_pieces_works() {
    works_in_two_pieces(Towards::Target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_first_bytes_from_the_broker_come_in_two_pieces_works() {
    works_in_two_pieces(Towards::Client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_ends_within_a_hello_is_followed_by_one_that_works() {
    works_after_a_short_one(Towards::Target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_ends_within_a_welcome_is_followed_by_one_that_works() {
    works_after_a_short_one(Towards::Client).await;
}
