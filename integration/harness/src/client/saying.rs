//! The JSON of `campanile.v1` and of the named events of an event stream.

use std::borrow::Cow;

use serde::Deserialize;

use super::heard::{Heard, Hello, Recovery, To};

/// A message of a gateway, whatever its type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saying<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to: Option<SaidTo<'a>>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content_base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    position: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    recovered: Option<bool>,
    worker: Option<u64>,
    connection: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SaidTo<'a> {
    Name(#[serde(borrow)] Cow<'a, str>),
    Group {
        #[serde(borrow)]
        group: Cow<'a, str>,
    },
}

impl<'a> Saying<'a> {
    /// Reads a message; `None` if it is not JSON with known fields only.
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Its meaning; [`Heard::Other`] with the whole message if it has none.
    pub fn heard(self, text: &str) -> Heard {
        self.meaning().unwrap_or_else(|| Heard::Other(text.to_owned()))
    }

    fn meaning(self) -> Option<Heard> {
        let recovery = self.recovery()?;
        Some(match &*self.r#type {
            "event" => {
                let to = match self.to? {
                    SaidTo::Group { group } => To::Group(group.into_owned()),
                    SaidTo::Name(name) if name == "everyone" => To::Everyone,
                    SaidTo::Name(name) if name == "connection" => To::Connection,
                    SaidTo::Name(_) => return None,
                };
                let content = self.content.or(self.content_base64)?.into_owned();
                Heard::Event { id: self.id.map(Cow::into_owned), to: Some(to), content }
            }
            "position" => Heard::Mark(self.id?.into_owned()),
            "welcome" | "sync" => Heard::Hello(Hello {
                worker: self.worker?,
                connection: self.connection?,
                position: self.position?.into_owned(),
                recovery,
            }),
            "gap" => Heard::Gap {
                reason: self.reason?.into_owned(),
                position: self.position?.into_owned(),
            },
            "joined" => Heard::Joined { group: self.group?.into_owned(), recovery },
            _ => return None,
        })
    }

    /// `None` if it contradicts itself.
    fn recovery(&self) -> Option<Recovery> {
        match (self.recovered, &self.reason) {
            (None, _) => Some(Recovery::NotAsked),
            (Some(true), None) => Some(Recovery::Recovered),
            (Some(false), Some(reason)) => Some(Recovery::NotRecovered(reason.to_string())),
            _ => None,
        }
    }
}

/// The meaning of a named event of an event stream; its id must be the position in its data.
pub fn of_block(event: &str, id: Option<&str>, data: &str) -> Option<Heard> {
    let saying = Saying { r#type: event.into(), ..Saying::read(data)? };
    if id.is_some() && saying.position.as_deref() != id {
        return None;
    }
    saying.meaning()
}
