//! Recognises a header of the PROXY protocol where a request should be. Pure.

/// How version 2 begins, behind its empty lines.
const V2_START: &[u8] = b"\0\r\nQUIT\n";

/// Whether enough of a header is there to know that it is one; `None` if it is something else. Version 1 goes
/// on with `TCP4`, `TCP6` or `UNKNOWN`, which no method can be followed by.
pub fn begins(bytes: &[u8]) -> Option<bool> {
    if bytes.starts_with(b"PROXY T") || bytes.starts_with(b"PROXY U") {
        return Some(true);
    }
    let common = &bytes[..bytes.len().min(V2_START.len())];
    let is_v2 = !common.is_empty() && V2_START.starts_with(common);
    is_v2.then_some(common.len() == V2_START.len())
}
