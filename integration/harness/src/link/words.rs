//! Messages of a link, made from what matters to a test.

use campanile_messages::link::Number;
use campanile_messages::{Audience, Content, GroupName, ToBroker};

/// The audience of a group.
pub fn group(name: &str) -> Audience {
    Audience::Group(GroupName::new(name.to_owned()).expect("a group's name"))
}

/// A publish without an id, without counts and for the whole audience, while no earlier one is
/// unanswered.
pub fn publish(number: Number, audience: Audience, content: impl Into<Content>) -> ToBroker {
    ToBroker::Publish {
        number,
        unanswered: number,
        id: None,
        count_within_millis: None,
        audience,
        except: None,
        content: content.into(),
        from: None,
    }
}
