//! What a session does with what its client publishes: asks the registry whether the client may, counts it,
//! and hands it to the desk.

use std::time::Instant;

use actix::prelude::*;
use campanile_channel::publishing::{Push, Target};
use campanile_edge::Rate;
use campanile_messages::Audience;

use super::Session;
use crate::connection::pace::{Pace, Paced};
use crate::connection::socket::Unsent;
use crate::dialects::{Publish, PublishError, RefusedPublish};
use crate::meters::{ClientLimit, PublishResult};
use crate::publishing::room::UnderWay;
use crate::publishing::submitter::Submitter;
use crate::publishing::user_rates::Refused;
use crate::registry::{AskToPublish, Permit};
use crate::websocket::CloseCode;

/// What a connection has published lately.
#[derive(Debug, Default)]
pub(super) struct Published {
    pace: Pace,
    under_way: UnderWay,
}

impl Session {
    pub(super) fn publish(&mut self, publish: Publish, ctx: &mut Context<Self>) {
        let (connection, group) = (self.connection, publish.group.clone());
        let is_page_trusted = self.is_page_trusted;
        // Without a time limit, as for a join.
        let asked = self.worker.registry.send(AskToPublish { connection, group, is_page_trusted });
        ctx.wait(asked.into_actor(self).map(move |permit, session, _| {
            // If the registry is gone, the process is ending.
            let Ok(permit) = permit else { return };
            let tag = publish.tag.clone();
            if let Err(error) = permit.and_then(|permit| session.hand_in(publish, permit)) {
                session.refuse(&Box::new(RefusedPublish { tag, error }).into());
            }
        }));
    }

    fn hand_in(&mut self, publish: Publish, permit: Permit) -> Result<(), PublishError> {
        let Publish { group, content, id, echo, tag } = publish;
        let Permit { desk, address, user } = permit;
        if id.is_some() && user.is_none() {
            return Err(PublishError::NoUser);
        }
        let (now, rate) = (Instant::now(), self.worker.config.limits.borrow().rates.publishes);
        let Published { pace, under_way } = &mut self.activity().published;
        let too_often =
            || PublishError::RateLimited { per_second: rate.map_or(0, Rate::per_second) };
        match pace.count(rate, now) {
            Paced::InTime => {}
            Paced::TooSoon => return Err(too_often()),
            Paced::GoesOn => {
                let meters = &self.worker.config.meters;
                meters.publishes.count(PublishResult::RateLimited);
                meters.client_limits.count(ClientLimit::Publishes);
                self.line().close(CloseCode::RateLimited, Unsent::Flush);
                return Ok(());
            }
        }
        if let (Some(user), Some(rate)) = (&user, rate) {
            desk.count(user, rate, now).map_err(|refused| match refused {
                Refused::TooOften => too_often(),
                Refused::TooManyUsers => PublishError::GatewayBusy,
            })?;
        }
        let names = [Some(&*group), id.as_deref(), user.as_deref(), tag.reference.as_deref()];
        let names_bytes: usize = names.into_iter().flatten().map(str::len).sum();
        let len_bytes = content.as_bytes().len() + names_bytes;
        let reserved = desk.room().reserve(under_way, len_bytes)?;
        let except = (!echo).then_some(address);
        let target = Target::Audience(Audience::Group(group));
        let push = Push { except, id, from: user, ..Push::new(target, content) };
        let (line, meters) = (self.line().downgrade(), self.worker.config.meters.clone());
        desk.carry(push, Submitter { line, tag, reserved, meters });
        Ok(())
    }
}
