//! A cluster with its clients and callers.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use tempfile::TempDir;

use super::crowd::{Audiences, Crowd};
use super::load::{Load, Plan};
use super::member::{Member, Service};
use super::push::Push;
use super::seed::Seed;
use super::verdict::{Verdict, judge};
use crate::client::Protocol;
use crate::cluster::SmallDisk;
use crate::ports::raise_file_limit;

/// What a cluster and its load look like.
#[derive(Debug, Clone)]
pub struct Setup {
    pub gateways: usize,
    pub publishers: usize,
    pub audiences: Audiences,
    /// Pushes per second.
    pub per_second: u32,
    /// Half of them carry an id.
    pub has_ids: bool,
    /// Every link goes through a proxy.
    pub is_proxied: bool,
    pub disk: Disk,
    /// More flags, separated by spaces.
    pub broker: String,
    pub gateway: String,
    pub publisher: String,
}

/// Where the broker keeps its log.
#[derive(Debug, Clone, Copy)]
pub enum Disk {
    /// In memory only.
    None,
    /// In a directory, synced.
    Real,
    /// In a directory on a file system of this many bytes.
    Small(usize),
}

impl Default for Setup {
    fn default() -> Self {
        let protocols =
            vec![Protocol::V1, Protocol::Events, Protocol::V1, Protocol::EventsByHeader];
        Self {
            gateways: 2,
            publishers: 2,
            audiences: Audiences { clients: 200, groups: 6, protocols },
            per_second: 220,
            has_ids: true,
            is_proxied: false,
            disk: Disk::Real,
            broker: String::new(),
            gateway: "--workers 2 --drain 1s".to_owned(),
            publisher: "--broker-wait 1s --confirm-limit 3s".to_owned(),
        }
    }
}

/// A cluster with its clients. Callers are started by [`load`](Self::load).
pub struct Stage {
    pub broker: Member,
    pub gateways: Vec<Member>,
    pub publishers: Vec<Member>,
    pub crowd: Crowd,
    pub small_disk: Option<SmallDisk>,
    /// For the random choices of faults.
    pub choices: StdRng,
    setup: Setup,
    started: Instant,
    seed: Seed,
    next_push: u64,
    /// Pushes of earlier loads that may still come.
    unknown: Vec<Push>,
    /// The broker's directory.
    _data: Option<TempDir>,
}

impl Stage {
    /// Starts the processes and the clients, and waits until all are greeted.
    pub async fn set(setup: Setup, seed: Seed) -> Self {
        raise_file_limit();
        let words = |flags: &str| flags.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (mut data, mut small_disk) = (None, None);
        let (mut flags, mut program) = (words(&setup.broker), Vec::new());
        let directory = match setup.disk {
            Disk::None => None,
            Disk::Real => {
                let directory = data.insert(TempDir::new().expect("a temporary directory"));
                Some(directory.path().to_str().expect("UTF-8").to_owned())
            }
            Disk::Small(bytes) => {
                let disk = small_disk.insert(SmallDisk::new(bytes));
                program = disk.program();
                Some(format!("{}/data", disk.path()))
            }
        };
        if let Some(directory) = directory {
            flags.extend(["--data-dir".into(), directory, "--durability".into(), "disk".into()]);
        }
        let broker = Member::broker(flags, program).await;

        let (mut gateways, mut publishers) = (Vec::new(), Vec::new());
        for (service, count, flags, members) in [
            (Service::Gateway, setup.gateways, &setup.gateway, &mut gateways),
            (Service::Publisher, setup.publishers, &setup.publisher, &mut publishers),
        ] {
            for _ in 0..count {
                let flags = words(flags);
                members.push(Member::of(service, broker.address, setup.is_proxied, flags).await);
            }
        }
        let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.address).collect();
        let started = Instant::now();
        Self {
            crowd: Crowd::start(&setup.audiences, &addresses, started, seed).await,
            broker,
            gateways,
            publishers,
            small_disk,
            choices: seed.choices("faults"),
            setup,
            started,
            seed,
            next_push: 1,
            unknown: Vec::new(),
            _data: data,
        }
    }

    /// Starts to push.
    pub fn load(&self) -> Load {
        let plan = Plan {
            publishers: self.publishers.iter().map(|publisher| publisher.address).collect(),
            per_second: self.setup.per_second,
            // Nobody listens to one of them.
            groups: self.setup.audiences.groups + 1,
            has_ids: self.setup.has_ids,
            first: self.next_push,
            started: self.started,
        };
        Load::start(plan, self.seed)
    }

    /// How many pushes are made in this time.
    pub fn pushes_in(&self, time: Duration) -> usize {
        (f64::from(self.setup.per_second) * time.as_secs_f64()) as usize
    }

    /// Pauses the broker for this time.
    pub async fn pause_broker(&self, time: Duration) {
        self.broker.pause(time).await;
    }

    /// Since the start of the run.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the load, waits until everyone has its last push, and judges.
    pub async fn judge(&mut self, load: Load) -> Verdict {
        let pushes = load.stop().await;
        let last = pushes.last().expect("there is always a last one");
        self.next_push = last.number + 1;
        // The verdict reports what is missing.
        let _ = self.crowd.caught_up(last.tried_at).await;
        let verdict = judge(&pushes, &self.unknown, &self.crowd.take());
        self.unknown.clone_from(&verdict.still_unknown);
        verdict
    }
}
