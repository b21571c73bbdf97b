//! What the broker does about its disk: when it is slow, has an older log than the gateways, or fails.

use actix::prelude::*;
use campanile_messages::FromBroker;
use tracing::{error, warn};

use super::Broker;
use crate::broker::ending::Ending;
use crate::broker::store::StoreError;

impl Broker {
    /// Logs a long wait for the disk, and its end, and notifies every link.
    pub(super) fn look_at_disk(&mut self) {
        let Some(is_waiting) = self.disk.look() else {
            return;
        };
        self.meters.disk_waits(is_waiting);
        self.health.set_disk_waits(is_waiting);
        let frame = FromBroker::Disk { is_waiting }.encode();
        self.links.numbers().into_iter().for_each(|link| self.send(link, &frame));
    }

    /// Gateways have seen more events than the log has. What it sends under those sequences from now on
    /// must not be taken for the events that they have seen.
    pub(super) fn begin_epoch(&mut self) {
        let epoch = rand::random();
        warn!(
            epoch = format_args!("{epoch:016x}"),
            "a gateway has seen events that the log does not have (is the data directory an older \
             copy?): a new epoch begins, and clients are notified that events may be missing"
        );
        self.meters.epoch_began();
        self.end_all(|| Ending::NewEpoch);
        self.disk.write_all(&mut self.exchange);
        self.is_renewing = self.disk.set_epoch(epoch);
        if !self.is_renewing {
            self.exchange.begin_epoch(epoch);
        }
    }

    /// The disk has failed. Nothing more can be accepted, and a broker that is started again knows what
    /// was accepted.
    pub(super) fn fail(&mut self, error: StoreError, ctx: &mut Context<Self>) {
        error!(%error, "the broker cannot continue");
        self.disk.give_up();
        if let Some(gone) = self.gone.take() {
            let _ = gone.send(error);
        }
        ctx.stop();
    }
}
