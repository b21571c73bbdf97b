//! Which messages a peer may send at which time, after its hello. Pure.

use campanile_messages::ToBroker;
use campanile_messages::event::MAX_CONTENT_BYTES;
use campanile_messages::inquiry::MAX_PACKED_BYTES;
use campanile_messages::link::{MAX_WANTED_AUDIENCES, MAX_WANTS, Role, Want};

use super::routing::TooManyAudiences;

/// How a peer broke the protocol. Its link ends, and no other link is affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message that only the other role may send.
    #[error("a {role} does not say {message}")]
    WrongRole { role: &'static str, message: &'static str },
    #[error("a gateway attaches only once per link")]
    AttachedTwice,
    #[error("interest of revision {revision} came after revision {latest}")]
    RevisionWentBack { revision: u64, latest: u64 },
    /// Every gateway would refuse the frame of such an event.
    #[error("a content of {len_bytes} bytes, but at most {MAX_CONTENT_BYTES} are accepted")]
    ContentTooLarge { len_bytes: usize },
    /// Answers of many processes are passed on to one.
    #[error("an inquiry of {len_bytes} bytes, but at most {MAX_PACKED_BYTES} are accepted")]
    InquiryTooLarge { len_bytes: usize },
    /// Every want and every audience of it takes a part of the broker's turn.
    #[error(
        "a fetch of {wants} wants with {audiences} audiences together, but at most {MAX_WANTS} \
         wants and {MAX_WANTED_AUDIENCES} audiences are accepted"
    )]
    TooMuchWanted { wants: usize, audiences: usize },
    #[error(transparent)]
    TooManyAudiences(#[from] TooManyAudiences),
}

/// How far the conversation on one link has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Conversation {
    Gateway {
        /// Whether it has said `Attach`.
        attached: bool,
        /// The revision of its latest interest.
        revision: Option<u64>,
    },
    Publisher,
}

impl Conversation {
    /// The conversation directly after the hello.
    pub fn new(role: &Role) -> Self {
        match role {
            Role::Gateway { .. } => Self::Gateway { attached: false, revision: None },
            Role::Publisher { .. } => Self::Publisher,
        }
    }

    /// Whether events may be sent.
    pub fn is_attached(&self) -> bool {
        matches!(self, Self::Gateway { attached: true, .. })
    }

    /// What the peer is, for the log.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Gateway { .. } => "gateway",
            Self::Publisher => "publisher",
        }
    }

    /// Notes a message of the peer.
    ///
    /// # Errors
    /// A [`Violation`], if the peer may not send it now.
    pub fn hear(&mut self, message: &ToBroker) -> Result<(), Violation> {
        match (&mut *self, message) {
            (_, ToBroker::Heartbeat | ToBroker::AskHead { .. })
            | (Self::Gateway { .. }, ToBroker::Delivered { .. } | ToBroker::Counted { .. }) => {
                Ok(())
            }
            (Self::Gateway { .. }, ToBroker::Fetch { wants, .. }) => look_at_wants(wants),
            (Self::Publisher, ToBroker::Settled { .. } | ToBroker::Traced { .. }) => Ok(()),
            (
                Self::Publisher,
                ToBroker::Publish { content, .. } | ToBroker::Direct { content, .. },
            ) => match content.as_bytes().len() {
                ..=MAX_CONTENT_BYTES => Ok(()),
                len_bytes => Err(Violation::ContentTooLarge { len_bytes }),
            },
            (Self::Publisher, ToBroker::Ask { content, .. })
            | (_, ToBroker::Told { content, .. }) => match content.as_bytes().len() {
                ..=MAX_PACKED_BYTES => Ok(()),
                len_bytes => Err(Violation::InquiryTooLarge { len_bytes }),
            },
            (Self::Gateway { attached, .. }, ToBroker::Attach { .. }) => {
                if std::mem::replace(attached, true) {
                    return Err(Violation::AttachedTwice);
                }
                Ok(())
            }
            (Self::Gateway { revision: latest, .. }, ToBroker::Interest { revision, .. }) => {
                match latest.replace(*revision) {
                    Some(latest) if *revision < latest => {
                        Err(Violation::RevisionWentBack { revision: *revision, latest })
                    }
                    _ => Ok(()),
                }
            }
            _ => Err(Violation::WrongRole { role: self.role(), message: name(message) }),
        }
    }
}

fn look_at_wants(wants: &[Want]) -> Result<(), Violation> {
    let audiences = wants.iter().map(|want| want.audiences.len()).sum();
    if wants.len() > MAX_WANTS || audiences > MAX_WANTED_AUDIENCES {
        return Err(Violation::TooMuchWanted { wants: wants.len(), audiences });
    }
    Ok(())
}

fn name(message: &ToBroker) -> &'static str {
    match message {
        ToBroker::Heartbeat => "Heartbeat",
        ToBroker::Interest { .. } => "Interest",
        ToBroker::Attach { .. } => "Attach",
        ToBroker::Fetch { .. } => "Fetch",
        ToBroker::Counted { .. } => "Counted",
        ToBroker::Delivered { .. } => "Delivered",
        ToBroker::Publish { .. } => "Publish",
        ToBroker::Settled { .. } => "Settled",
        ToBroker::AskHead { .. } => "AskHead",
        ToBroker::Direct { .. } => "Direct",
        ToBroker::Traced { .. } => "Traced",
        ToBroker::Ask { .. } => "Ask",
        ToBroker::Told { .. } => "Told",
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::link::{DirectOutcome, RequestTicket, Tally};
    use campanile_messages::{Address, Audience, ConnectionId, Content, WorkerId};

    use super::*;

    fn gateway() -> Conversation {
        Conversation::new(&Role::Gateway { workers: 1, held: vec![] })
    }

    fn interest(revision: u64) -> ToBroker {
        ToBroker::Interest { revision, changes: vec![] }
    }

    fn gateway_messages() -> [ToBroker; 5] {
        let ticket = RequestTicket { link: 1, number: 1 };
        [
            interest(1),
            ToBroker::Attach { cursor: None },
            ToBroker::Fetch { number: 1, wants: vec![], max_bytes: 1 },
            ToBroker::Counted { ticket, tally: Tally::default() },
            ToBroker::Delivered { ticket, outcome: DirectOutcome::Written },
        ]
    }

    fn publish(content: Content) -> ToBroker {
        ToBroker::Publish {
            number: 1,
            unanswered: 1,
            id: None,
            count_within_millis: None,
            audience: Audience::Everyone,
            except: None,
            content,
            from: None,
        }
    }

    fn publisher_messages() -> [ToBroker; 3] {
        [
            ToBroker::Settled { unanswered: 1 },
            publish("x".into()),
            ToBroker::Direct {
                number: 2,
                to: Address { worker: WorkerId(1), connection: ConnectionId(1) },
                content: "x".into(),
            },
        ]
    }

    #[test]
    fn each_role_may_send_its_own_messages_and_common_ones() {
        for message in gateway_messages() {
            assert_eq!(gateway().hear(&message), Ok(()));
        }
        for message in publisher_messages() {
            assert_eq!(Conversation::Publisher.hear(&message), Ok(()));
        }
        for message in [ToBroker::Heartbeat, ToBroker::AskHead { number: 1 }] {
            assert_eq!(gateway().hear(&message), Ok(()));
            assert_eq!(Conversation::Publisher.hear(&message), Ok(()));
        }
    }

    #[test]
    fn the_messages_of_the_other_role_are_a_violation() {
        for message in gateway_messages() {
            let said = Conversation::Publisher.hear(&message);
            assert!(matches!(said, Err(Violation::WrongRole { role: "publisher", .. })));
        }
        for message in publisher_messages() {
            let said = gateway().hear(&message);
            assert!(matches!(said, Err(Violation::WrongRole { role: "gateway", .. })));
        }
    }

    #[test]
    fn a_content_that_is_too_large_is_a_violation() {
        let publish = |len_bytes| publish(Content::Binary(vec![0; len_bytes].into()));
        let mut publisher = Conversation::Publisher;
        assert_eq!(publisher.hear(&publish(MAX_CONTENT_BYTES)), Ok(()));
        let len_bytes = MAX_CONTENT_BYTES + 1;
        assert_eq!(
            publisher.hear(&publish(len_bytes)),
            Err(Violation::ContentTooLarge { len_bytes })
        );
    }

    #[test]
    fn a_fetch_of_too_many_wants_or_audiences_is_a_violation() {
        let fetch = |wants: usize, each: usize| {
            let want = Want { since: 0, audiences: vec![Audience::Everyone; each] };
            gateway().hear(&ToBroker::Fetch {
                number: 1,
                wants: vec![want; wants],
                max_bytes: u64::MAX,
            })
        };
        let refused =
            |wants, each| Err(Violation::TooMuchWanted { wants, audiences: wants * each });
        // As much as a gateway with the largest `--max-groups` asks for: each group, the user and everyone.
        for (wants, each) in [(MAX_WANTS, 1), (1, 10_002), (1, MAX_WANTED_AUDIENCES)] {
            assert_eq!(fetch(wants, each), Ok(()));
        }
        for (wants, each) in [(MAX_WANTS + 1, 0), (1, MAX_WANTED_AUDIENCES + 1), (MAX_WANTS, 17)] {
            assert_eq!(fetch(wants, each), refused(wants, each));
        }
    }

    #[test]
    fn a_gateway_attaches_once() {
        let mut gateway = gateway();
        let attach = ToBroker::Attach { cursor: None };
        assert_eq!(gateway.hear(&attach), Ok(()));
        assert_eq!(gateway.hear(&attach), Err(Violation::AttachedTwice));
    }

    #[test]
    fn interest_may_come_in_parts_but_never_goes_back() {
        let mut gateway = gateway();
        for revision in [3, 3, 4] {
            assert_eq!(gateway.hear(&interest(revision)), Ok(()));
        }
        assert_eq!(
            gateway.hear(&interest(3)),
            Err(Violation::RevisionWentBack { revision: 3, latest: 4 })
        );
    }
}
