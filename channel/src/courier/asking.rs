//! What a courier does for operators: asks their questions, and answers those of others.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix::prelude::*;
use campanile_messages::inquiry::{
    Answer as InquiryAnswer, MAX_PACKED_BYTES, Question, pack, unpack,
};
use campanile_messages::link::{Asked, RequestTicket};
use campanile_messages::{Content, ToBroker};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Caller, Courier};
use crate::inquiries::{Answered, Ended, INQUIRY_LIMIT, NoInquiry, Purpose};
use crate::link::{Full, Outbound};
use crate::watchdog::ANSWER_LIMIT;

/// Who waits for the answer to an operator's question.
pub(super) type Asker = oneshot::Sender<Result<Answered, NoInquiry>>;

impl<C: Caller> Courier<C> {
    /// Answers operators' questions with the help of `answers`, which must not take long.
    #[must_use]
    pub fn answering(mut self, answers: impl Fn(Question) -> InquiryAnswer + 'static) -> Self {
        self.answers = Box::new(answers);
        self
    }
}

/// Asks the broker and other processes on behalf of an operator. The asker always gets an answer, at the
/// latest when the limit is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Inquire {
    /// What is asked.
    pub question: Question,
    /// Who is asked besides the broker.
    pub to: Asked,
    /// Whether the open pages wait for it, for which there is always room for one.
    pub is_for_pages: bool,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Answered, NoInquiry>>,
}

/// Asks a courier that starts later. Clones ask the same one.
#[derive(Debug, Clone, Default)]
pub struct Inquirer {
    courier: Arc<OnceLock<Recipient<Inquire>>>,
    is_for_pages: bool,
}

impl Inquirer {
    /// Notes the courier to ask. Only the first one counts.
    pub fn set(&self, courier: Recipient<Inquire>) {
        let _ = self.courier.set(courier);
    }

    /// Asks for the open pages, one question at a time: it does not wait behind those of others.
    pub fn for_pages(&self) -> Self {
        Self { is_for_pages: true, ..self.clone() }
    }

    /// Asks the broker and those in `to`. Takes little longer than [`INQUIRY_LIMIT`] at most.
    ///
    /// # Errors
    /// Why nobody answered.
    pub async fn ask(&self, question: Question, to: Asked) -> Result<Answered, NoInquiry> {
        let courier = self.courier.get().ok_or(NoInquiry::NoBroker)?;
        let (answer, answered) = oneshot::channel();
        courier.do_send(Inquire { question, to, is_for_pages: self.is_for_pages, answer });
        match timeout(INQUIRY_LIMIT + ANSWER_LIMIT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NoInquiry::ShuttingDown),
            Err(_) => Err(NoInquiry::Unanswered),
        }
    }
}

impl<C: Caller> Handler<Inquire> for Courier<C> {
    type Result = ();

    fn handle(&mut self, inquire: Inquire, ctx: &mut Self::Context) {
        if let Err((answer, reason)) = self.inquire(inquire) {
            // An asker that is gone does not need the answer.
            let _ = answer.send(Err(reason));
        }
        self.keep_ticking(ctx);
    }
}

impl<C: Caller> Courier<C> {
    fn inquire(&mut self, inquire: Inquire) -> Result<(), (Asker, NoInquiry)> {
        let Inquire { question, to, is_for_pages, answer } = inquire;
        let purpose = match question {
            _ if is_for_pages => Purpose::Pages,
            Question::Disconnect { .. } => Purpose::Disconnect,
            Question::Summary => Purpose::Summary,
            _ => Purpose::Look,
        };
        let link = match &self.link {
            _ if self.finishing => return Err((answer, NoInquiry::ShuttingDown)),
            None => return Err((answer, NoInquiry::NoBroker)),
            Some(link) => link,
        };
        let Some(content) = pack(&question) else { return Err((answer, NoInquiry::TooMany)) };
        let number = self
            .inquiries
            .ask(answer, purpose, Instant::now())
            .map_err(|answer| (answer, NoInquiry::TooMany))?;
        let ask = ToBroker::Ask { number, to, content };
        let reason = match link.may_carry(ask.needs()) {
            false => NoInquiry::NotSupported,
            true if queue(link, ask).is_err() => NoInquiry::LinkFull,
            true => return Ok(()),
        };
        self.inquiries.take_back(number).map_or(Ok(()), |answer| Err((answer, reason)))
    }

    pub(super) fn answer_inquiry(&self, ticket: RequestTicket, content: &Content) {
        let answer = unpack(content).map_or(InquiryAnswer::NotUnderstood, &self.answers);
        if let (Some(link), Some(content)) = (&self.link, pack(&answer)) {
            // If the link has no room, the operator learns that this process did not answer.
            let _ = queue(link, ToBroker::Told { ticket, content });
        }
    }
}

/// Queues a message of an operator, also where pushes have filled the queue: they do so again and again.
fn queue(link: &Outbound, message: ToBroker) -> Result<(), Full> {
    link.send_within(link.max_bytes() + MAX_PACKED_BYTES, &message.encode())
}

/// Answers operators' questions that have ended. An asker that is gone does not need the answer.
pub(super) fn end(ended: impl IntoIterator<Item = Ended<Asker>>) {
    for (asker, answer) in ended {
        let _ = asker.send(answer);
    }
}
