//! The limits of the services that SIGHUP can change. A change holds for what comes after it, and closes
//! nobody.

use std::sync::{Arc, OnceLock};

use campanile_edge::AddressLimits;
use campanile_gateway::GatewayLimits;
use campanile_publisher::default_addresses;
use tokio::sync::watch;

use crate::cli::{GatewayArgs, PublisherArgs, ServiceArgs};
use crate::files;

/// The flags whose values can change, as their ids.
pub const IDS: [&str; 14] = [
    "gateway-max-connections",
    "gateway-max-connections-per-address",
    "gateway-max-connections-per-user",
    "gateway-max-handshakes-per-second-per-address",
    "gateway-max-handshakes-per-second",
    "gateway-max-messages-per-second",
    "gateway-max-joins-per-second",
    "gateway-max-publishes-per-second",
    "gateway-max-unauthenticated",
    "gateway-max-unauthenticated-per-address",
    "gateway-trusted-proxies",
    "publisher-max-connections-per-address",
    "publisher-max-pushes-per-second",
    "publisher-trusted-proxies",
];

/// The limits of all services of a process; of those that it does not run, the defaults.
#[derive(Debug)]
pub struct ServiceLimits {
    gateway: GatewayLimits,
    publisher: AddressLimits,
}

impl ServiceLimits {
    /// Those that flags say.
    pub fn of(args: &ServiceArgs) -> Self {
        let publisher = args.publisher.as_ref().map(PublisherArgs::addresses);
        Self {
            gateway: args.gateway.as_ref().map(GatewayArgs::limits).unwrap_or_default(),
            publisher: publisher.unwrap_or_else(default_addresses),
        }
    }
}

/// Holds the ends by which the services learn of other limits.
#[derive(Debug)]
pub struct LimitsNow {
    gateway: watch::Sender<Arc<GatewayLimits>>,
    publisher: watch::Sender<Arc<AddressLimits>>,
    /// How many connections of clients the limit of open files allows.
    room: OnceLock<usize>,
}

impl LimitsNow {
    /// Begins with the limits of the start.
    pub fn start(first: ServiceLimits) -> Self {
        Self {
            gateway: watch::Sender::new(Arc::new(first.gateway)),
            publisher: watch::Sender::new(Arc::new(first.publisher)),
            room: OnceLock::new(),
        }
    }

    /// The open files leave room for so many connections of clients, for as long as this process runs.
    /// Logs if that is fewer than wanted now, and returns it.
    pub fn for_gateway(&self, room: usize) -> usize {
        let room = *self.room.get_or_init(|| room.max(1));
        self.compare_with_room(self.gateway.borrow().max_connections);
        room
    }

    /// Changes all of them.
    pub fn change(&self, limits: ServiceLimits) {
        self.compare_with_room(limits.gateway.max_connections);
        self.gateway.send_replace(Arc::new(limits.gateway));
        self.publisher.send_replace(Arc::new(limits.publisher));
    }

    fn compare_with_room(&self, wanted: usize) {
        if let Some(room) = self.room.get() {
            files::limited("[gateway] max_connections", wanted, *room);
        }
    }

    /// Those of the gateway.
    pub fn gateway(&self) -> watch::Receiver<Arc<GatewayLimits>> {
        self.gateway.subscribe()
    }

    /// Those of addresses at the publisher.
    pub fn publisher(&self) -> watch::Receiver<Arc<AddressLimits>> {
        self.publisher.subscribe()
    }
}
