//! The servers under test, each on a thread and a port of its own: the echo of `examples/echo.rs`,
//! and whole gateways with a broker. Their peers and clients are those of `campanile-harness`.

#![allow(dead_code, reason = "every test uses its own part of the harness")]

use std::net::SocketAddr;
use std::sync::{LazyLock, mpsc};
use std::thread::JoinHandle;

use actix_rt::System;
use campanile_channel::broker::{self, BrokerConfig};
use campanile_gateway::GatewayConfig;
use campanile_harness::link::script::{Link, Script, at};
use campanile_harness::{DEADLINE, bind};
use tokio::sync::oneshot;

#[path = "../examples/echo.rs"]
#[allow(dead_code, reason = "its main is for the command line")]
mod echo;

/// The echo server of this test process.
pub fn echo() -> SocketAddr {
    static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
        let (listener, address) = bind();
        std::thread::spawn(|| System::new().block_on(echo::serve(listener)));
        address
    });
    *ADDRESS
}

/// A broker on a thread of its own, for as long as the process lives.
pub fn broker() -> SocketAddr {
    let (listener, address) = bind();
    std::thread::spawn(move || {
        let served = broker::serve(BrokerConfig::default(), vec![listener], std::future::pending());
        System::new().block_on(served)
    });
    address
}

/// A running gateway; dropping it shuts it down.
#[derive(Debug)]
pub struct Gateway {
    pub address: SocketAddr,
    ready: mpsc::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// A gateway with one worker and a broker of its own, ready for clients.
    pub fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::start_on(broker(), change).until_ready()
    }

    /// Waits until it has reached its broker.
    pub fn until_ready(self) -> Self {
        self.ready.recv_timeout(DEADLINE).expect("the gateway reaches its broker");
        self
    }

    /// A gateway that is linked to a scripted broker whose log ends at `head`.
    pub fn scripted(head: u64, change: impl FnOnce(&mut GatewayConfig)) -> (Script, Self, Link) {
        let script = Script::new();
        let gateway = Self::start_on(script.address, change);
        let link = script.accept(at(head), None);
        (script, gateway.until_ready(), link)
    }

    /// A gateway on whatever listens at `broker`; it may never be ready.
    pub fn start_on(broker: SocketAddr, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig {
            broker: broker.to_string().into(),
            workers: 1,
            ..GatewayConfig::default()
        };
        config.drain = std::time::Duration::ZERO;
        change(&mut config);
        let (listener, address) = bind();
        let (is_ready, ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let ready = move || is_ready.send(()).expect("the test lives");
            let served = campanile_gateway::serve(config, vec![listener], ready, async {
                let _ = stopped.await;
            });
            System::new().block_on(served).expect("the listener works");
        });
        Self { address, ready, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A failed test has its own message.
        if !std::thread::panicking() {
            let ended = self.thread.take().map(JoinHandle::join);
            assert!(matches!(ended, Some(Ok(()))), "the gateway did not end cleanly");
        }
    }
}
