//! Lists of a message that are read only up to a bound. An element may take many times as much memory as
//! its bytes in the frame, so the size of the frame is not enough of a bound.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What is counted, the most of it, and how much of it an element is.
pub(super) type Bound<T> = (&'static str, usize, fn(&T) -> usize);

/// Reads a list.
///
/// # Errors
/// More than one of the bounds, which is named.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const N: usize>(
    deserializer: D,
    bounds: [Bound<T>; N],
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded { bounds })
}

struct Bounded<T, const N: usize> {
    bounds: [Bound<T>; N],
}

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Bounded<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(what, max, _), ..] = &self.bounds[..] else { return f.write_str("a list") };
        write!(f, "a list of at most {max} {what}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let least_bound = self.bounds.iter().map(|(_, max, _)| *max).min().unwrap_or(0);
        let mut counts = [0; N];
        // The length in front of a list is only a claim.
        let mut list = Vec::with_capacity(elements.size_hint().unwrap_or(0).min(least_bound));
        while let Some(element) = elements.next_element()? {
            for ((what, max, count), sum) in self.bounds.iter().zip(&mut counts) {
                *sum += count(&element);
                if *sum > *max {
                    let text = format_args!("more than {max} {what}, which is the most accepted");
                    return Err(A::Error::custom(text));
                }
            }
            list.push(element);
        }
        Ok(list)
    }
}
