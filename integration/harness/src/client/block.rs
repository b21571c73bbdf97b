//! One block of an event stream. Pure.

use serde_json::Value;

/// The lines up to an empty one; what they do not name is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    pub event: Option<String>,
    pub id: Option<String>,
    /// The lines of the data, with line feeds between them.
    pub data: Option<String>,
    pub retry: Option<u32>,
    /// Whether there is a comment.
    pub comment: bool,
}

impl Block {
    /// Reads one more line, without its end.
    ///
    /// # Errors
    /// If no event stream of Campanile has such a line.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let (field, value) =
            line.split_once(':').ok_or_else(|| format!("no field: {line:.100}"))?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comment = true,
            "event" => self.event = Some(value.to_owned()),
            "id" => self.id = Some(value.to_owned()),
            "retry" => {
                let millis = value.parse().map_err(|_| format!("no milliseconds: {line:.100}"))?;
                self.retry = Some(millis);
            }
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => return Err(format!("an unknown field: {line:.100}")),
        }
        Ok(())
    }

    /// The data, which is JSON.
    pub fn json(&self) -> Value {
        let data = self.data.as_ref().expect("a block with data");
        serde_json::from_str(data).expect("JSON")
    }
}
