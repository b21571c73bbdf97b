//! Performs the effects of the exchange.

use campanile_messages::EncodedFrame;

use super::Broker;
use crate::broker::ending::Ending;
use crate::broker::exchange::Effect;
use crate::broker::routing::LinkNumber;
use crate::link::{Full, LinkError};

impl Broker {
    pub(super) fn perform(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { link, message } => {
                    let said = self.links.say(link, message);
                    self.end_if_full(link, said);
                }
                Effect::Route { links, frame } => {
                    for link in links {
                        let sent = self.links.send_event(link, &frame);
                        self.end_if_full(link, sent);
                    }
                }
                Effect::CatchUp { link, frames } => {
                    let queued = self.links.catch_up(link, &frames);
                    self.end_if_full(link, queued);
                }
                Effect::Replay { link, frames } => {
                    let queued = self.links.replay(link, &frames);
                    self.end_if_full(link, queued);
                }
                // If the link has no room, the operator learns that somebody did not answer.
                Effect::Offer { link, message } => self.links.offer(link, message),
                Effect::PassOn { links, frame } => {
                    links.iter().for_each(|link| self.links.pass_on(*link, &frame));
                }
                Effect::AnswerInquiry { link, number, instances, question } => {
                    self.answer_inquiry(link, number, instances, &question);
                }
                Effect::BeginEpoch => self.begin_epoch(),
                Effect::FinishSpan(publish) => self.finish_span(*publish),
            }
        }
    }

    pub(super) fn send(&mut self, link: LinkNumber, frame: &EncodedFrame) {
        let sent = self.links.send(link, frame);
        self.end_if_full(link, sent);
    }

    fn end_if_full(&mut self, link: LinkNumber, queued: Result<(), Full>) {
        if let Err(full) = queued {
            self.end(link, LinkError::from(full).into());
        }
    }

    /// The one place where a link is forgotten. A link that is gone already is ignored.
    pub(super) fn end(&mut self, link: LinkNumber, ending: Ending) {
        if self.links.end(link, &ending) {
            self.exchange.remove(link, self.clock.now());
            self.meters.links(|role| self.links.number_of(role));
        }
    }
}
