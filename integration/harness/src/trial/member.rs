//! One process of the cluster, which may be started again on its port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::{Process, Signal};
use crate::proxy::Proxy;

/// A broker, a gateway or a publisher.
pub struct Member {
    pub process: Process,
    pub address: SocketAddr,
    /// The proxy between it and the broker; `None` for a direct link, and for the broker.
    pub link: Option<Proxy>,
    service: Service,
    broker: Option<SocketAddr>,
    flags: Vec<String>,
    /// The program by which it is started.
    program: Vec<String>,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Broker,
    Gateway,
    Publisher,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Gateway => "gateway",
            Self::Publisher => "publisher",
        }
    }

    /// The line of its log that has its address.
    fn listens(self) -> &'static str {
        match self {
            Self::Broker => "the broker listens",
            Self::Gateway => "the gateway listens",
            Self::Publisher => "the publisher listens",
        }
    }
}

impl Member {
    /// Starts a broker on a free port, by a program or without one.
    pub async fn broker(flags: Vec<String>, program: Vec<String>) -> Self {
        Self::start(Service::Broker, None, None, flags, program).await
    }

    /// Starts a gateway or a publisher on a free port and waits until it is ready.
    pub async fn of(
        service: Service,
        broker: SocketAddr,
        is_proxied: bool,
        flags: Vec<String>,
    ) -> Self {
        let link = if is_proxied { Some(Proxy::to(broker).await) } else { None };
        let broker = link.as_ref().map_or(broker, |link| link.address);
        Self::start(service, Some(broker), link, flags, Vec::new()).await
    }

    async fn start(
        service: Service,
        broker: Option<SocketAddr>,
        link: Option<Proxy>,
        flags: Vec<String>,
        program: Vec<String>,
    ) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let process = run(service, any, broker, &flags, &program);
        let address = process.address(service.listens()).await;
        let member = Self { process, address, link, service, broker, flags, program };
        member.is_of_use().await;
        member
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Sends it SIGTERM, and checks that it ends with code 0.
    pub async fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0), "{}: {:?}", self.service.name(), self.process.log());
    }

    /// Starts it again on its port, after it ended, and waits until it is ready.
    pub async fn come_back(&mut self) {
        assert!(!self.process.is_running(), "its port is still taken");
        self.process = run(self.service, self.address, self.broker, &self.flags, &self.program);
        self.is_of_use().await;
    }

    /// Pauses it for this time.
    pub async fn pause(&self, time: Duration) {
        self.process.signal(Signal::STOP);
        sleep(time).await;
        self.process.signal(Signal::CONT);
    }

    async fn is_of_use(&self) {
        self.process.said(self.service.listens()).await;
        if self.service == Service::Gateway {
            self.process.said("the gateway takes connections").await;
        }
    }
}

fn run(
    service: Service,
    listen: SocketAddr,
    broker: Option<SocketAddr>,
    flags: &[String],
    program: &[String],
) -> Process {
    let (listen, broker) = (listen.to_string(), broker.map(|broker| broker.to_string()));
    let mut args = vec![service.name(), "--listen", &*listen];
    args.extend(broker.iter().flat_map(|broker| ["--broker", &**broker]));
    args.extend(flags.iter().map(String::as_str));
    Process::start_in(program, &args)
}
