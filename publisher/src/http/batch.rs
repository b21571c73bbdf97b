//! `POST /batch`: many pushes in one request, and one answer when each of them has its own.

use std::future::poll_fn;
use std::task::ready;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use campanile_edge::query::redacted;

use super::counted::CountedRequest;
use super::{Front, IDEMPOTENCY_KEY, content_type, only, presence};
use crate::budget::Reserved;
use crate::courier::answers::Answers;
use crate::courier::in_order::InOrder;
use crate::courier::{Caller, CarryAll};
use crate::error::{Answered, ApiError};
use crate::http::HttpError;
use crate::http::media::batch_format;
use crate::http::wording;
use crate::meters::Waits;
use crate::push::BadRequest;
use crate::push::batch::{BatchFormat, BatchLimits, read};
use crate::push::rights::Pusher;
use crate::push::shown::Shown;

impl Front {
    /// Publishes the items of a body in their order, and returns the answers in the same order, with
    /// enough reserved for the body that lists them.
    pub(super) async fn batch(
        &self,
        request: &HttpRequest,
        query: &[u8],
        payload: &mut Payload,
        pusher: &Pusher,
        counted: &mut CountedRequest,
    ) -> Result<(BatchFormat, Vec<Answered>, Reserved), ApiError> {
        if !query.is_empty() {
            let query = Shown::from(&*redacted(query));
            return Err(HttpError::NoParameters { query, path: "/batch" }.into());
        }
        if let Some(value) = only(request, &IDEMPOTENCY_KEY, "Idempotency-Key")? {
            return Err(HttpError::BadHeader {
                header: "Idempotency-Key",
                value: Shown::from(value),
                accepted: "a batch has no id; give each item its own as its field id",
            }
            .into());
        }
        let format = batch_format(content_type(request)?)?;
        let max_bytes = self.config.max_batch_bytes;
        let too_large = BadRequest::BatchTooLarge { max_bytes }.into();
        let mut reserved = self.budget.reserve(self.entrance.peer(request));
        let body = self.read_body(request, payload, max_bytes, too_large, &mut reserved).await?;
        let limits = BatchLimits {
            max_items: self.config.max_batch_items,
            max_content_bytes: self.config.max_content_bytes,
        };
        let items = read(format, &body, limits)?;
        drop(body);
        // Before anything is pushed, room for the answers is reserved, too: it must not be missing later.
        reserved.arrived(wording::batch::room_bytes(&items))?;

        // Its key may have been removed while the body was on its way.
        let pusher = self.still(pusher)?;
        let now = Instant::now();
        let mut order = InOrder::default();
        let mut pushes: Vec<_> = items
            .into_iter()
            .filter_map(|item| {
                let number = order.open(0);
                counted.asked(item.as_ref().ok());
                let allowed = item.map_err(ApiError::from).and_then(|push| {
                    pusher.check_push(&push)?;
                    pusher.count_push(now)?;
                    Ok((push, number))
                });
                allowed.map_err(|error| order.answer(number, Err(error))).ok()
            })
            .collect();
        if let Some(span) = &mut counted.span {
            span.follow_batch(pushes.iter_mut().map(|(push, _)| push));
        }
        let handed_over = pushes.len();
        let waits = match pushes.iter().any(|(push, _)| Waits::from(push) == Waits::Delivered) {
            true => Waits::Delivered,
            false => Waits::Accepted,
        };
        let arriving = Answers::new(presence(request), reserved);
        let caller = |number| Caller::Many(arriving.slot(number));
        let pushes = pushes.into_iter().map(|(push, number)| (push, caller(number)));
        self.courier.do_send(CarryAll { pushes: pushes.collect() });
        let mut in_flight = self.config.meters.in_flight();
        in_flight.set(handed_over);
        let answers = all(order, &arriving).await;
        if handed_over > 0 {
            self.config.meters.took(waits, now.elapsed());
        }
        Ok((format, answers, arriving.take_reserved()))
    }
}

/// Waits until every item has its answer.
async fn all(mut order: InOrder<Answered>, arriving: &Answers) -> Vec<Answered> {
    let mut answers = Vec::with_capacity(order.len());
    poll_fn(|cx| {
        loop {
            answers.extend(std::iter::from_fn(|| order.pop()));
            if order.is_empty() {
                return std::task::Poll::Ready(());
            }
            for (number, answered) in ready!(arriving.poll_arrived(cx)) {
                order.answer(number, answered);
            }
        }
    })
    .await;
    answers
}
