//! The faults.

use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt as _;
use tokio::time::{sleep, timeout};

use super::member::Member;
use super::stage::Stage;
use crate::proxy::{End, Mode, Proxy, Towards};

/// How long a process that was killed is gone.
const GONE: Duration = Duration::from_millis(300);

/// A fault that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The broker is killed and started again
    BrokerKill,
    /// The broker is stopped by SIGTERM and started again
    BrokerRestart,
    /// The broker is paused for some seconds
    BrokerPause,
    /// A gateway is killed and started again
    GatewayKill,
    /// A gateway is paused for some seconds
    GatewayPause,
    /// All gateways are stopped by SIGTERM and started again, one after the other
    RollingRestart,
    /// The link of a gateway is cut, several times
    LinkCut,
    /// The link of a gateway ends, and the broker does not know
    LinkHalfOpen,
    /// Nothing passes the link of a gateway any more, until it connects again
    LinkBlackhole,
    /// The link of a gateway stalls for a while
    LinkHold,
    /// The link of a gateway ends within frames, several times
    LinkTruncate,
    /// The bytes of a gateway's link come one by one
    LinkSplit,
    /// A publisher is killed and started again
    PublisherKill,
    /// The link of a publisher is cut, several times
    PublisherLinkCut,
    /// The link of a publisher ends within frames, several times
    PublisherLinkTruncate,
    /// The link of a publisher ends, and the broker does not know
    PublisherLinkHalfOpen,
    /// A third of the clients drop their connections
    ClientsDrop,
}

impl Fault {
    /// Whether it needs links that go through a proxy.
    pub fn is_of_links(self) -> bool {
        use Fault::*;
        match self {
            BrokerKill | BrokerRestart | BrokerPause | GatewayKill | GatewayPause
            | RollingRestart | PublisherKill | ClientsDrop => false,
            LinkCut
            | LinkHalfOpen
            | LinkBlackhole
            | LinkHold
            | LinkTruncate
            | LinkSplit
            | PublisherLinkCut
            | PublisherLinkTruncate
            | PublisherLinkHalfOpen => true,
        }
    }

    /// Makes it happen and waits until it has passed.
    pub async fn inflict(self, stage: &mut Stage) {
        let (gateway, publisher) = (
            stage.choices.random_range(0..stage.gateways.len()),
            stage.choices.random_range(0..stage.publishers.len()),
        );
        let seconds = Duration::from_millis(stage.choices.random_range(2_000..5_000));
        match self {
            Self::BrokerKill => kill(&mut stage.broker).await,
            Self::BrokerRestart => {
                stage.broker.terminate().await;
                stage.broker.come_back().await;
            }
            Self::BrokerPause => stage.broker.pause(seconds).await,
            Self::GatewayKill => kill(&mut stage.gateways[gateway]).await,
            Self::GatewayPause => stage.gateways[gateway].pause(seconds).await,
            Self::RollingRestart => {
                for gateway in &mut stage.gateways {
                    gateway.terminate().await;
                    gateway.come_back().await;
                }
            }
            Self::PublisherKill => kill(&mut stage.publishers[publisher]).await,
            Self::LinkCut => cut(&stage.gateways[gateway]).await,
            Self::PublisherLinkCut => cut(&stage.publishers[publisher]).await,
            Self::LinkHalfOpen => half_open(link(&stage.gateways[gateway])).await,
            Self::PublisherLinkHalfOpen => half_open(link(&stage.publishers[publisher])).await,
            Self::LinkBlackhole => {
                let link = link(&stage.gateways[gateway]);
                let connections = link.accepted();
                link.live(Mode::Swallow);
                link.more_accepted_than(connections).await;
            }
            Self::LinkHold => {
                let link = link(&stage.gateways[gateway]);
                link.live(Mode::Hold);
                sleep(seconds).await;
                link.live(Mode::Delay(Duration::from_millis(50)));
                sleep(Duration::from_millis(500)).await;
                link.live(Mode::Pass);
            }
            Self::LinkTruncate => truncate(stage, |stage| &stage.gateways[gateway]).await,
            Self::PublisherLinkTruncate => {
                truncate(stage, |stage| &stage.publishers[publisher]).await;
            }
            Self::LinkSplit => {
                let link = link(&stage.gateways[gateway]);
                link.all(Mode::Split);
                sleep(Duration::from_secs(1)).await;
                // A new one too, from its first byte on.
                let connections = link.accepted();
                link.live(Mode::Cut(End::Reset));
                link.more_accepted_than(connections).await;
                sleep(Duration::from_secs(2)).await;
                link.all(Mode::Pass);
            }
            Self::ClientsDrop => stage.crowd.hang_up(3),
        }
    }
}

fn link(member: &Member) -> &Proxy {
    member.link.as_ref().expect("links that go through a proxy")
}

async fn kill(member: &mut Member) {
    member.kill().await;
    sleep(GONE).await;
    member.come_back().await;
}

async fn cut(member: &Member) {
    for end in [End::Reset, End::Fin, End::Reset, End::Fin] {
        let connections = link(member).accepted();
        link(member).live(Mode::Cut(end));
        link(member).more_accepted_than(connections).await;
        sleep(GONE).await;
    }
}

async fn half_open(link: &Proxy) {
    for _ in 0..2 {
        let connections = link.accepted();
        link.live(Mode::Cut(End::HalfOpen));
        link.more_accepted_than(connections).await;
        sleep(GONE).await;
    }
}

/// Ends a link after some bytes of one direction, again and again, also within its first frames.
async fn truncate(stage: &mut Stage, member: impl Fn(&Stage) -> &Member) {
    for number in 0..12 {
        let choices = &mut stage.choices;
        let towards = [Towards::Target, Towards::Client][choices.random_range(0..2)];
        let end = [End::Reset, End::Fin][choices.random_range(0..2)];
        let bytes = match choices.random_range(0..3) {
            0 => choices.random_range(0..64),
            _ => choices.random_range(0..8_000),
        };
        let link = link(member(stage));
        let connections = link.accepted();
        let truncated = Mode::Truncate(towards, bytes, end);
        if number % 3 == 2 {
            link.new_ones(truncated);
            link.live(Mode::Cut(end));
            link.more_accepted_than(connections).await;
            link.new_ones(Mode::Pass);
        } else {
            link.live(truncated);
        }
        // In a quiet direction that many bytes take too long.
        let more = link.more_accepted_than(connections + usize::from(number % 3 == 2));
        if timeout(Duration::from_secs(1), more).await.is_err() {
            let connections = link.accepted();
            link.live(Mode::Cut(end));
            link.more_accepted_than(connections).await;
        }
    }
}
