//! Items under growing numbers, most of which are removed in the order in which they were added.

use std::collections::VecDeque;

use campanile_messages::link::Number;

/// Items under their numbers. An item that is removed from the middle leaves its place empty until
/// those before it are removed too.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    places: VecDeque<(Number, Option<T>)>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { places: VecDeque::new() }
    }
}

impl<T> Numbered<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the lowest number.
    pub(super) fn first(&self) -> Option<Number> {
        self.places.front().map(|(number, _)| *number)
    }

    /// Adds an item, whose number is above all others.
    pub(super) fn push(&mut self, number: Number, item: T) {
        debug_assert!(self.places.back().is_none_or(|(last, _)| *last < number));
        self.places.push_back((number, Some(item)));
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<T> {
        let index = self.index(number)?;
        let removed = self.places[index].1.take();
        self.trim();
        removed
    }

    /// Returns the first item whose number is not below `number`.
    pub(super) fn first_from(&mut self, number: Number) -> Option<(Number, &mut T)> {
        if self.places.back()?.0 < number {
            return None;
        }
        let start = self.places.partition_point(|(known, _)| *known < number);
        self.places.range_mut(start..).find_map(|(number, item)| Some((*number, item.as_mut()?)))
    }

    /// Removes the items for which the test is true, and returns them in the order of their numbers.
    pub(super) fn remove_if(&mut self, mut test: impl FnMut(&T) -> bool) -> Vec<T> {
        let places = self.places.iter_mut();
        let removed = places.filter_map(|(_, item)| item.take_if(|item| test(item))).collect();
        self.trim();
        removed
    }

    /// Removes all items, and returns them in the order of their numbers.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.places).into_iter().filter_map(|(_, item)| item)
    }

    fn index(&self, number: Number) -> Option<usize> {
        // If no number is missing before it, its place is as far from the first as its number.
        let offset = usize::try_from(number.checked_sub(self.first()?)?).ok()?;
        match self.places.get(offset) {
            Some((known, _)) if *known == number => Some(offset),
            _ => self.places.binary_search_by_key(&number, |(known, _)| *known).ok(),
        }
    }

    fn trim(&mut self) {
        while self.places.front().is_some_and(|(_, item)| item.is_none()) {
            self.places.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model: an ordered map.
        #[test]
        fn it_behaves_like_an_ordered_map(
            steps in prop::collection::vec((0u8..5, 1u64..4, 0u64..60), 0..200),
        ) {
            let mut numbered = Numbered::default();
            let mut model = BTreeMap::new();
            let mut last = 0;
            for (step, gap, number) in steps {
                match step {
                    0 | 1 => {
                        last += gap;
                        numbered.push(last, last);
                        model.insert(last, last);
                    }
                    2 => prop_assert_eq!(numbered.remove(number), model.remove(&number)),
                    3 => {
                        let expected = model.range(number..).next().map(|(n, item)| (*n, *item));
                        let found = numbered.first_from(number).map(|(n, item)| (n, *item));
                        prop_assert_eq!(found, expected);
                    }
                    _ => {
                        let test = |item: &u64| item % 7 == number % 7;
                        let removed: Vec<u64> =
                            model.extract_if(.., |_, item| test(item)).map(|(n, _)| n).collect();
                        prop_assert_eq!(numbered.remove_if(test), removed);
                    }
                }
                prop_assert_eq!(numbered.first(), model.keys().next().copied());
                prop_assert_eq!(numbered.is_empty(), model.is_empty());
            }
            prop_assert!(numbered.take().eq(model.into_values()));
            prop_assert!(numbered.is_empty());
        }
    }
}
