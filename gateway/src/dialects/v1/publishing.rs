//! Reads a `publish` of `campanile.v1`. Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campanile_messages::{Content, GroupName, IdempotencyKey};

use crate::dialects::publish::{Publish, PublishError, RefusedPublish, Tag};

/// The longest `ref`, in bytes of UTF-8.
const MAX_REF_BYTES: usize = 64;

/// The fields of a publish, as they came.
pub struct RawPublish<'a> {
    pub group: Option<Cow<'a, str>>,
    pub content: Option<Cow<'a, str>>,
    pub content_base64: Option<Cow<'a, str>>,
    pub id: Option<Cow<'a, str>>,
    pub reference: Option<Cow<'a, str>>,
    pub echo: Option<bool>,
}

impl RawPublish<'_> {
    /// Returns a field that only a publish has, if one was given.
    pub fn given(&self) -> Option<&'static str> {
        let fields = [
            ("content", self.content.is_some()),
            ("content_base64", self.content_base64.is_some()),
            ("id", self.id.is_some()),
            ("ref", self.reference.is_some()),
            ("echo", self.echo.is_some()),
        ];
        fields.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// The first field that is not accepted, with the tag as far as it is.
    pub fn check(self) -> Result<Publish, RefusedPublish> {
        let mut tag = Tag::default();
        match self.read(&mut tag) {
            Ok((group, content, id, echo)) => Ok(Publish { group, content, id, echo, tag }),
            Err(error) => Err(RefusedPublish { tag, error }),
        }
    }

    fn read(
        self,
        tag: &mut Tag,
    ) -> Result<(GroupName, Content, Option<IdempotencyKey>, bool), PublishError> {
        let malformed = |sentence: String| PublishError::Malformed(sentence);
        if let Some(reference) = self.reference {
            let len_bytes = reference.len();
            if len_bytes > MAX_REF_BYTES {
                return Err(malformed(format!(
                    "field ref: at most {MAX_REF_BYTES} bytes are accepted, this one has {len_bytes}"
                )));
            }
            tag.reference = Some(reference.into_owned().into());
        }
        let id = match self.id {
            None => None,
            Some(id) => Some(
                IdempotencyKey::new(id.into_owned())
                    .map_err(|error| malformed(format!("field id: {error}")))?,
            ),
        };
        tag.id = id.as_deref().map(Into::into);
        let group = self.group.ok_or_else(|| PublishError::InvalidGroup("missing".to_owned()))?;
        let group = GroupName::new(group.into_owned())
            .map_err(|error| PublishError::InvalidGroup(error.to_string()))?;
        let content = match (self.content, self.content_base64) {
            (Some(text), None) => Content::Text(text.into_owned().into()),
            (None, Some(base64)) => match STANDARD.decode(&*base64) {
                Ok(bytes) => Content::Binary(bytes.into()),
                Err(error) => {
                    return Err(malformed(format!("field content_base64: not base64: {error}")));
                }
            },
            (None, None) => return Err(malformed("field content: missing".to_owned())),
            (Some(_), Some(_)) => {
                let sentence = "fields content and content_base64: one of them is accepted";
                return Err(malformed(sentence.to_owned()));
            }
        };
        Ok((group, content, id, self.echo.unwrap_or(true)))
    }
}
