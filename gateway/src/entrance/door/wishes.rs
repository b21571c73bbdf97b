//! Reads what clients ask for.

use campanile_edge::Head;

use super::Door;
use crate::config::GatewayConfig;
use crate::dialects::Dialect;
use crate::entrance::identity;
use crate::entrance::refusal::Refusal;
use crate::entrance::wish::{Accepted, Wish};
use crate::resume::Since;

impl Door {
    /// Which parameters a client may give.
    pub(super) fn accepted(&self, dialect: Dialect) -> Accepted<'_> {
        let GatewayConfig { max_groups, ignored_params, .. } = &*self.config;
        let last_event_id = dialect.rules().reads_last_event_id();
        let token = identity::url_token(&self.config, self.listens_on);
        let user = self.config.access.borrow().is_open();
        Accepted { last_event_id, max_groups: *max_groups, token, user, ignored: ignored_params }
    }

    /// Reads what the client of an event stream wants. A browser that comes back sends the last id that
    /// it has seen in a header, while its URL still has the position of its first request.
    pub(super) fn event_stream_wish(&self, head: &Head<'_>) -> Result<Wish, Refusal> {
        match head.method {
            "GET" => {}
            "OPTIONS" => return Err(Refusal::preflight()),
            method => return Err(Refusal::method(method, "an event stream opens with GET")),
        }
        let mut wish = Wish::read(head.query, self.accepted(Dialect::Events))?;
        let mut last_ids = head.all("last-event-id").filter(|id| !id.is_empty());
        if let Some(last_id) = last_ids.next() {
            // Two different ids are no position.
            let is_one = last_ids.all(|other| other == last_id);
            wish.since = Some(if is_one { Since::read(last_id) } else { Since::Malformed });
        }
        Ok(wish)
    }
}
