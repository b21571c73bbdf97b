//! How `Accepted` is written. A release that knows no answers without counts reads one as the answer to a
//! push of which nobody listened and one gateway did not report, so that it claims of no event that it was
//! written to nobody.
//!
//! ```text
//! with counts:     [number, sequence, gateways, connections, counting, away]
//! without counts:  [number, sequence, 0, 0, 0, 1, true]
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::parts::{Matched, Number};

/// The fields of the message.
type Fields = (Number, u64, Option<Matched>, u32, u32);

#[derive(Serialize, Deserialize)]
struct Written {
    number: Number,
    sequence: u64,
    gateways: u32,
    connections: u64,
    counting: u32,
    away: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_without_counts: Option<bool>,
}

pub(super) fn serialize<S: Serializer>(
    number: &Number,
    sequence: &u64,
    matched: &Option<Matched>,
    counting: &u32,
    away: &u32,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (number, sequence) = (*number, *sequence);
    let written = match *matched {
        Some(Matched { gateways, connections }) => {
            let (counting, away, is_without_counts) = (*counting, *away, None);
            Written { number, sequence, gateways, connections, counting, away, is_without_counts }
        }
        None => Written {
            number,
            sequence,
            gateways: 0,
            connections: 0,
            counting: 0,
            away: 1,
            is_without_counts: Some(true),
        },
    };
    written.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
    let written = Written::deserialize(deserializer)?;
    let Written { number, sequence, gateways, connections, counting, away, .. } = written;
    Ok(match written.is_without_counts {
        Some(true) => (number, sequence, None, 0, 0),
        _ => (number, sequence, Some(Matched { gateways, connections }), counting, away),
    })
}
