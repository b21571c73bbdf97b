//! The plain dialect: a greeting with the wording that the first clients expected, then contents and
//! nothing else.

use bytes::Bytes;
use campanile_edge::websocket::{self, Opcode, frame};
use campanile_messages::{Address, Audience, Content, Position, UserName};

use super::{Greeting, Rules};
use crate::websocket::CloseCode;

/// The rules of the plain dialect.
pub struct Plain;

impl Rules for Plain {
    fn greeting(&self, greeting: &Greeting<'_>) -> Bytes {
        let Address { worker, connection } = greeting.address;
        let text = format!("workerID:{worker} connectionID:{connection} connected\n");
        frame(Opcode::Text, text.as_bytes())
    }

    fn event(
        &self,
        _: Option<(Position, &Audience)>,
        content: &Content,
        _: Option<&UserName>,
    ) -> Bytes {
        let opcode = match content {
            Content::Text(_) => Opcode::Text,
            Content::Binary(_) => Opcode::Binary,
        };
        frame(opcode, content.as_bytes())
    }

    fn close(&self, code: CloseCode, _group: Option<&str>) -> Bytes {
        code.frame()
    }

    fn disconnect(&self, code: CloseCode, reason: &str) -> Bytes {
        websocket::close(code.code(), reason)
    }
}
