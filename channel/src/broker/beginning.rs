//! How a broker begins: with what an earlier one left on disk.

use std::time::Duration;

use campanile_messages::Durability;
use campanile_messages::link::LogIdentity;
use tracing::info;

use super::config::{BrokerConfig, Storage};
use super::exchange::{Exchange, Start};
use super::log::Opening;
use super::meters::BrokerMeters;
use super::store::{Recovered, Store, StoreError};
use super::worker_ids::{Supply, reserved_from};

/// Opens the data directory and logs what was found in it.
///
/// # Errors
/// The directory cannot be used.
pub fn open(storage: &Storage, meters: &BrokerMeters) -> Result<(Store, Recovered), StoreError> {
    let Storage { dir, durability } = storage;
    let (mut store, recovered) = Store::open(dir, *durability, || {
        meters.epoch_began();
        rand::random()
    })?;
    store.set_next_worker(reserved_from(recovered.next_worker))?;
    info!(
        data_dir = %dir.display(),
        durability = durability.word(),
        epoch = format_args!("{:016x}", recovered.epoch),
        head = recovered.head,
        events = recovered.events.len(),
        ids = recovered.ids.len(),
        "the log is on disk"
    );
    Ok((store, recovered))
}

/// An exchange that continues with what an earlier broker left, if anything.
pub fn exchange(
    config: &BrokerConfig,
    now: Duration,
    log_id: u64,
    recovered: Option<Recovered>,
) -> Exchange {
    let keeps = recovered.is_some();
    if !keeps {
        config.meters.epoch_began();
    }
    let durability = config.storage.as_ref().map(|storage| storage.durability);
    let worker_ids = match &recovered {
        Some(recovered) => Supply::Counted(recovered.next_worker),
        None => Supply::Drawn(Box::new(rand::random)),
    };
    let Recovered { epoch, head, events, ids, trimmed, floor, .. } =
        recovered.unwrap_or_else(|| Recovered { epoch: rand::random(), ..Recovered::default() });
    Exchange::new(Start {
        now,
        durability: durability.unwrap_or(Durability::Memory),
        identity: LogIdentity::own(log_id),
        keeps,
        log: Opening {
            epoch,
            head,
            floor,
            trimmed,
            max_bytes: config.log_max_bytes,
            max_age: config.log_max_age,
            keep_until: now + config.return_limit,
        },
        events,
        ids,
        worker_ids,
        // The upper half is random, the lower half counts.
        first_link: u64::from(rand::random::<u32>()) << 32,
        return_limit: config.return_limit,
        max_links: config.max_links,
        max_audiences_per_link: config.max_audiences_per_link,
        max_ids: config.max_ids,
    })
}
