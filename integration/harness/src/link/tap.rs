//! A tap on the link between a gateway and its broker, which shows a test what is fetched.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use campanile_messages::{FromBroker, ToBroker};

use super::frames::Frames;
use crate::ports::bind;

/// Passes on the link between a gateway and its broker, and notes what is fetched.
pub struct Tap {
    pub address: SocketAddr,
    fetches: Arc<Mutex<Vec<Fetched>>>,
}

/// A fetch that passed a [`Tap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// What the gateway said that it wants at most.
    pub max_bytes: u64,
    /// How many events the broker announced.
    pub events: u64,
}

impl Tap {
    /// Waits for one link, and passes it on to this broker.
    pub fn before(broker: SocketAddr) -> Self {
        let (listener, address) = bind();
        let fetches = Arc::new(Mutex::new(Vec::<Fetched>::new()));
        let (asked, answered) = (fetches.clone(), fetches.clone());
        std::thread::spawn(move || {
            let (gateway, _) = listener.accept().expect("the gateway comes");
            let broker = TcpStream::connect(broker).expect("the broker listens");
            let (to_gateway, to_broker) = (gateway.try_clone(), broker.try_clone());
            let (to_gateway, to_broker) = (to_gateway.expect("a socket"), to_broker.expect("one"));
            std::thread::spawn(move || {
                pass_on(broker, to_gateway, |frame| {
                    if let Ok(FromBroker::Past { events, .. }) = FromBroker::decode(frame) {
                        let mut fetches = answered.lock().expect("nobody panics here");
                        fetches.last_mut().expect("it was asked").events += u64::from(events);
                    }
                });
            });
            pass_on(gateway, to_broker, |frame| {
                if let Ok(ToBroker::Fetch { max_bytes, .. }) = ToBroker::decode(frame) {
                    let fetched = Fetched { max_bytes, events: 0 };
                    asked.lock().expect("nobody panics here").push(fetched);
                }
            });
        });
        Self { address, fetches }
    }

    /// What was fetched up to now.
    pub fn fetches(&self) -> Vec<Fetched> {
        self.fetches.lock().expect("nobody panics here").clone()
    }
}

/// Passes frames on until the end, and shows each but the first, which is the hello or its answer.
fn pass_on(from: TcpStream, mut to: TcpStream, mut show: impl FnMut(Bytes)) {
    let mut frames = Frames::new(from);
    let mut is_first = true;
    while let Some(frame) = frames.next() {
        let len = u32::try_from(frame.len()).expect("frames are smaller");
        if !std::mem::take(&mut is_first) {
            show(frame.clone());
        }
        if to.write_all(&[&len.to_be_bytes(), &*frame].concat()).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
