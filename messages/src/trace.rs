//! The context of a trace, by the W3C recommendation [Trace Context](https://www.w3.org/TR/trace-context/):
//! which trace a push belongs to, and which span made it. Pure.
//!
//! ```text
//! traceparent = "00-" trace id (32 hex digits) "-" span id (16 hex digits) "-" flags (2 hex digits)
//! ```

use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The flag that says that the caller may have recorded the trace.
const SAMPLED: u8 = 0b01;

/// The flags that have a meaning: the trace is sampled, and its id is random. All others are dropped.
const KNOWN_FLAGS: u8 = 0b11;

/// A random id of this many bytes, not all of which are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RandomId<const N: usize>([u8; N]);

/// Identifies a trace.
pub type TraceId = RandomId<16>;

/// Identifies a span in its trace.
pub type SpanId = RandomId<8>;

impl<const N: usize> RandomId<N> {
    /// `None` if all bytes are zero.
    pub fn new(bytes: [u8; N]) -> Option<Self> {
        (bytes != [0; N]).then_some(Self(bytes))
    }

    /// The bytes, of which at least one is not zero.
    pub fn bytes(self) -> [u8; N] {
        self.0
    }
}

impl<const N: usize> fmt::Display for RandomId<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for RandomId<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for RandomId<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for RandomId<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const N: usize>;

        impl<const N: usize> Visitor<'_> for Bytes<N> {
            type Value = RandomId<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an id of {N} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<RandomId<N>, E> {
                let bytes = <[u8; N]>::try_from(bytes);
                bytes.ok().and_then(RandomId::new).ok_or_else(|| {
                    E::custom(format_args!("an id has {N} bytes that are not all zero"))
                })
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// Which trace something belongs to, and which of its spans made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// The flags of the recommendation's level 2, without those that have no meaning there.
    #[serde(deserialize_with = "flags")]
    pub flags: u8,
}

fn flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        flags if flags & !KNOWN_FLAGS == 0 => Ok(flags),
        flags => Err(D::Error::custom(format_args!("{flags:#x} has unknown flags"))),
    }
}

impl TraceContext {
    /// Reads the value of a `traceparent` header of version 00. `None` if it is anything else, which the
    /// recommendation wants to be ignored.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let [b'0', b'0', b'-', rest @ ..] = header else { return None };
        let (trace, rest) = rest.split_at_checked(32)?;
        let (span, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let [flags] = hex(rest.strip_prefix(b"-")?)?;
        let (trace, span) = (RandomId::new(hex(trace)?)?, RandomId::new(hex(span)?)?);
        Some(Self { trace, span, flags: flags & KNOWN_FLAGS })
    }

    /// Whether the trace may have been recorded by its caller. No other trace is followed.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Writes the value of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace}-{span}-{flags:02x}")
    }
}

/// Reads exactly `N` bytes in lower-case hexadecimal.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(header: &str) -> Option<TraceContext> {
        TraceContext::parse(header.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = parse(EXAMPLE).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.trace.bytes()[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(context.span.to_string(), "b7ad6b7169203331");
        assert_eq!(context.to_string(), EXAMPLE);
        let unsampled = parse(&EXAMPLE.replace("-01", "-02")).unwrap();
        assert!(!unsampled.is_sampled());
        assert_eq!(unsampled.flags, 2);
    }

    #[test]
    fn flags_without_a_meaning_are_dropped() {
        let context = parse(&EXAMPLE.replace("-01", "-ff")).unwrap();
        assert_eq!(context.to_string(), EXAMPLE.replace("-01", "-03"));
    }

    #[test]
    fn any_other_header_is_ignored() {
        for header in [
            "",
            "00",
            "00-",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01,",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "00-éaf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(header), None, "{header:?}");
        }
        for cut in 0..EXAMPLE.len() {
            assert_eq!(parse(&EXAMPLE[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_and_what_is_read_is_written(header: Vec<u8>) {
            prop_assert_eq!(TraceContext::parse(&header), None);
        }

        #[test]
        fn every_context_is_read_back(trace: [u8; 16], span: [u8; 8], flags in 0u8..4) {
            if let (Some(trace), Some(span)) = (RandomId::new(trace), RandomId::new(span)) {
                let context = TraceContext { trace, span, flags };
                prop_assert_eq!(parse(&context.to_string()), Some(context));
            }
        }
    }
}
