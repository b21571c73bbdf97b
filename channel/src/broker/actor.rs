//! The actor at the heart of the broker: feeds the exchange, performs what it answers.
//!
//! Receives from: the peers, one message a link at a time (that is the bound: a mailbox is none).
//! Sends to: the outbounds of the links, bounded in bytes; a link past its bound is cut.
//! Runs on: the arbiter that called [`serve`](super::serve).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_messages::frame::encode_welcome;
use campanile_messages::{EncodedFrame, FromBroker, Hello, InstanceId, ToBroker};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::conversation::Conversation;
use super::ending::Ending;
use super::exchange::{Effect, Exchange, Start, Unwelcome};
use super::{BrokerConfig, LinkNumber};
use crate::link::{LinkError, Outbound};

/// Between the last event and the goodbye: answers that are on their way arrive, and a publish that
/// was on its way is refused, which its caller may repeat, instead of never answered.
const LAST_CALL: Duration = Duration::from_millis(100);

/// See the module.
pub struct Broker {
    exchange: Exchange,
    links: HashMap<LinkNumber, Link>,
    started: Instant,
    last_call: Duration,
    /// Room that is used again.
    effects: Vec<Effect>,
    /// Dropped with the actor, however it ends.
    _alive: oneshot::Sender<Infallible>,
}

struct Link {
    outbound: Outbound,
    peer: SocketAddr,
    role: &'static str,
    instance: InstanceId,
}

impl Broker {
    /// Starts a broker without links; it ends with its last address. The receiver is closed when
    /// the actor is gone, however it ended.
    pub fn launch(config: &BrokerConfig) -> (Addr<Self>, oneshot::Receiver<Infallible>) {
        let (alive, gone) = oneshot::channel();
        let exchange = Exchange::new(Start {
            epoch: rand::random(),
            // The upper half is random, the lower one counts.
            first_link: u64::from(rand::random::<u32>()) << 32,
            random: Box::new(rand::random),
            log_max_bytes: config.log_max_bytes,
            log_max_age: config.log_max_age,
            max_links: config.max_links,
            max_audiences_per_link: config.max_audiences_per_link,
        });
        let broker = Self {
            exchange,
            links: HashMap::new(),
            started: Instant::now(),
            last_call: LAST_CALL.min(config.shutdown_limit / 2),
            effects: Vec::new(),
            _alive: alive,
        };
        (broker.start(), gone)
    }
}

impl Actor for Broker {
    type Context = Context<Self>;
}

/// A peer has said hello. The welcome is queued before this is answered.
#[derive(Message)]
#[rtype(result = "Result<LinkNumber, Unwelcome>")]
pub struct Enter {
    /// What it said.
    pub hello: Hello,
    /// Who it is.
    pub peer: SocketAddr,
    /// Where to send.
    pub outbound: Outbound,
}

impl Handler<Enter> for Broker {
    type Result = Result<LinkNumber, Unwelcome>;

    fn handle(&mut self, enter: Enter, _: &mut Self::Context) -> Self::Result {
        let instance = enter.hello.instance;
        let role = Conversation::new(&enter.hello.role).role();
        let entered = self.exchange.enter(enter.hello, self.now())?;
        if let Some(replaced) = entered.replaced {
            self.end(replaced, Ending::Replaced);
        }
        enter.outbound.force(&encode_welcome(&Ok(entered.welcome)));
        info!(link = %entered.link, role, %instance, peer = %enter.peer, "link up");
        let link = Link { outbound: enter.outbound, peer: enter.peer, role, instance };
        self.links.insert(entered.link, link);
        Ok(entered.link)
    }
}

/// What a link said, in order. Answers whether there is any use in listening further.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct FromLink {
    /// Which link.
    pub link: LinkNumber,
    /// What it said.
    pub messages: Vec<ToBroker>,
}

impl Handler<FromLink> for Broker {
    type Result = bool;

    fn handle(&mut self, FromLink { link, messages }: FromLink, _: &mut Self::Context) -> bool {
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        for message in messages {
            let heard = self.exchange.receive(link, message, now, &mut effects);
            self.perform(&mut effects);
            if let Err(violation) = heard {
                self.end(link, violation.into());
            }
        }
        self.effects = effects;
        self.links.contains_key(&link)
    }
}

/// A link can be used no longer, for the reason given.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LinkLost {
    /// Which link.
    pub link: LinkNumber,
    /// Why.
    pub error: LinkError,
}

impl Handler<LinkLost> for Broker {
    type Result = ();

    fn handle(&mut self, LinkLost { link, error }: LinkLost, _: &mut Self::Context) {
        self.end(link, error.into());
    }
}

/// Drops what was kept long enough.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

impl Handler<Tick> for Broker {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.exchange.tick(self.now());
    }
}

/// No link is taken in and nothing is published from here on; a moment later every link is told
/// goodbye.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ShutDown;

impl Handler<ShutDown> for Broker {
    type Result = ();

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) {
        self.exchange.close();
        ctx.run_later(self.last_call, |broker, _| {
            let links: Vec<_> = broker.links.keys().copied().collect();
            for link in links {
                broker.end(link, Ending::ShutDown);
            }
        });
    }
}

impl Broker {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { link, message } => self.send(link, &message.encode()),
                Effect::Route { links, frame } => {
                    for link in links {
                        self.send(link, &frame);
                    }
                }
                Effect::Replay { link, frames } => {
                    if let Some(link) = self.links.get(&link) {
                        frames.iter().for_each(|frame| link.outbound.force(frame));
                    }
                }
            }
        }
    }

    fn send(&mut self, link: LinkNumber, frame: &EncodedFrame) {
        let Some(to) = self.links.get(&link) else {
            return;
        };
        if let Err(full) = to.outbound.send(frame) {
            self.end(link, LinkError::from(full).into());
        }
    }

    /// The one place where a link is forgotten. A link that is gone already is no matter.
    fn end(&mut self, number: LinkNumber, ending: Ending) {
        let Some(link) = self.links.remove(&number) else {
            return;
        };
        self.exchange.remove(number, self.now());
        let reason = ending.to_string();
        let (role, instance, peer) = (link.role, link.instance, link.peer);
        if ending.is_ordinary() {
            info!(link = %number, role, %instance, %peer, reason, "link down");
        } else {
            warn!(link = %number, role, %instance, %peer, reason, "link down");
        }
        if ending.is_told() {
            link.outbound.force(&FromBroker::Goodbye { reason }.encode());
            link.outbound.finish();
        } else {
            link.outbound.cut();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Stands for a bug.
    #[derive(Message)]
    #[rtype(result = "()")]
    pub struct Panic;

    impl Handler<Panic> for Broker {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("on purpose");
        }
    }

    #[actix::test]
    async fn the_actor_ends_with_its_last_address_and_with_a_panic() {
        let (broker, gone) = Broker::launch(&BrokerConfig::default());
        drop(broker);
        assert!(gone.await.is_err());
        let (broker, gone) = Broker::launch(&BrokerConfig::default());
        broker.do_send(Panic);
        assert!(gone.await.is_err());
        assert!(broker.send(ShutDown).await.is_err());
    }
}
