//! What clients publish, on its way to the broker: the same way as a backend's push takes. A session hands
//! it to the desk, and the gateway's [`Courier`] takes it to the broker on a link of its own, which has the
//! role of a publisher's. The link is opened with the first publish, so that a gateway whose clients do not
//! publish has none.
//!
//! The desk is shared by all workers; the courier and its link run on the gateway's main thread. Bounded
//! by the [`Room`], from which each publish takes its bytes until its answer is written, and by
//! [`UserRates`].

pub(crate) mod room;
pub(crate) mod submitter;
pub(crate) mod user_rates;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::client::{Endpoint, hold};
use campanile_channel::courier::{Carry, Courier, Finish, LINK_QUEUE_BYTES};
use campanile_channel::publishing::{Push, WaitLimits};
use campanile_edge::Rate;
use campanile_messages::{InstanceId, UserName};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::error;

use crate::config::GatewayConfig;
use room::Room;
use submitter::Submitter;
use user_rates::{Refused, UserRates};

/// Where sessions hand in what their clients publish.
#[derive(Debug)]
pub(crate) struct Desk {
    courier: Addr<Courier<Submitter>>,
    /// Opens the link.
    opens: Arc<Notify>,
    room: Room,
    users: Mutex<UserRates>,
}

/// The courier's link, which does not exist before the first publish.
#[derive(Debug)]
pub(crate) struct DeskLink(JoinHandle<()>);

impl Desk {
    /// Starts the courier on this thread. `gateway` is the id of this process on its other link, too.
    pub fn start(config: &GatewayConfig, gateway: InstanceId) -> (Arc<Self>, DeskLink) {
        let limits =
            WaitLimits { broker_wait: config.broker_wait, confirm_limit: config.confirm_limit };
        // If the courier panics, the watchdog ends the process.
        let (alive, _) = oneshot::channel();
        let pulse = config.watchdog.watch("gateway's courier");
        let courier = Courier::new(gateway, limits, alive, pulse).start();
        let opens = Arc::new(Notify::new());
        let (owner, opened) = (courier.clone(), opens.clone());
        let broker = Endpoint {
            broker: config.broker.clone(),
            tls: config.broker_tls.clone(),
            secrets: config.secrets.clone(),
        };
        let watchdog = config.watchdog.clone();
        let link = actix_rt::spawn(async move {
            opened.notified().await;
            let pulse = watchdog.watch("gateway's publishing link");
            let held = hold(owner, broker, LINK_QUEUE_BYTES, pulse, async || {}).await;
            if let Err(reason) = held {
                // Nobody publishes before the gateway's other link has found a broker.
                error!(%reason, "what clients publish cannot reach the broker");
            }
        });
        let room = Room::new(config.max_pending_bytes);
        let users = Mutex::new(UserRates::new());
        (Arc::new(Self { courier, opens, room, users }), DeskLink(link))
    }

    /// Counts a publish of a user, on whichever connection.
    ///
    /// # Errors
    /// The user may not publish now.
    pub fn count(&self, user: &UserName, rate: Rate, now: Instant) -> Result<(), Refused> {
        // Every change is complete before anything can panic.
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.take(user, rate, now)
    }

    /// The room for what is under way.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Takes a push to the broker. The submitter gets its answer.
    pub fn carry(&self, push: Push, submitter: Submitter) {
        self.opens.notify_one();
        self.courier.do_send(Carry { push, caller: submitter });
    }

    /// Accepts nothing more, and waits for the answers to what was handed over, at most for `limit`.
    /// Returns whether everything has ended.
    pub async fn finish(&self, DeskLink(mut link): DeskLink, limit: Duration) -> bool {
        let ended = timeout(limit, async {
            // Without a link, there is no use in trying to make one.
            if let Ok(true) = self.courier.send(Finish).await {
                let _ = (&mut link).await;
            }
        });
        let ended = ended.await.is_ok();
        link.abort();
        ended
    }
}
