//! The values that a label may have, and a counter for each of them. Pure.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A label whose values are known before anybody connects.
pub trait Label: Copy + 'static {
    /// Its name.
    const NAME: &'static str;
    /// All its values.
    const ALL: &'static [Self];

    /// The place of this value in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// The value as it is shown.
    fn word(self) -> &'static str;
}

/// Defines an enum that is a [`Label`]: its name, and each variant with its word.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident is $name:literal: $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$variant_doc])* #[doc = concat!("Shown as `", $word, "`.")] $variant,)*
        }

        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

pub(super) use label;

/// One number for each value of a label, all of them shown from the start. Any thread may count; this is
/// for what happens once per connection or request, and not for each delivery.
#[derive(Debug)]
pub struct Counted<L> {
    counts: Box<[AtomicU64]>,
    label: PhantomData<L>,
}

impl<L: Label> Default for Counted<L> {
    fn default() -> Self {
        Self { counts: L::ALL.iter().map(|_| AtomicU64::new(0)).collect(), label: PhantomData }
    }
}

impl<L: Label> Counted<L> {
    /// Counts one more of this value.
    pub fn count(&self, value: L) {
        self.counts[value.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were of this value.
    pub fn of(&self, value: L) -> u64 {
        self.counts[value.index()].load(Ordering::Relaxed)
    }

    /// Shows them as a counter.
    pub(super) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for value in L::ALL {
            let count = ConstCounter::new(self.of(*value));
            count.encode(family.encode_family(&[(L::NAME, value.word())])?)?;
        }
        Ok(())
    }

    /// Shows as a gauge how many more of each value there are here than in `ended`.
    pub(super) fn encode_without(
        &self,
        ended: &Self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for value in L::ALL {
            // Read first, so that one that ends in between is not subtracted without having been added.
            let ended = ended.of(*value);
            let now = ConstGauge::new(self.of(*value).saturating_sub(ended));
            now.encode(family.encode_family(&[(L::NAME, value.word())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    label! {
        /// A label for this test.
        Color is "color":
        Red = "red",
        Blue = "blue",
    }

    #[test]
    fn each_value_has_a_count_of_its_own() {
        let counted = Counted::<Color>::default();
        counted.count(Color::Blue);
        counted.count(Color::Blue);
        assert_eq!(Color::ALL.iter().map(|color| counted.of(*color)).collect::<Vec<_>>(), [0, 2]);
    }
}
