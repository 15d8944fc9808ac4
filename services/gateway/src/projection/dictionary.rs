//! Values that many rows share, each kept once: rows hold numbers of four bytes. A value goes with the last row that has it,
//! so that the memory follows what is there and not what once was.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Stands for a value in one dictionary. Never zero, so that a number that may be absent takes four bytes too.
pub(super) type Number = NonZeroU32;

/// Values by their numbers, and back.
#[derive(Debug)]
pub(super) struct Dictionary<T> {
    numbers: HashMap<Arc<T>, Number>,
    /// At a number less one: the value and how many rows have it.
    values: Vec<Option<(Arc<T>, usize)>>,
    /// Numbers whose values went.
    free: Vec<Number>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new(), free: Vec::new() }
    }
}

fn slot(number: Number) -> usize {
    usize::try_from(number.get() - 1).unwrap_or(usize::MAX)
}

impl<T: Clone + Eq + Hash> Dictionary<T> {
    /// The number of a value for one more row.
    pub(super) fn take(&mut self, value: &T) -> Number {
        if let Some(number) = self.find(value) {
            if let Some((_, rows)) = self.values.get_mut(slot(number)).and_then(Option::as_mut) {
                *rows += 1;
            }
            return number;
        }
        let value = Arc::new(value.clone());
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            let count = u32::try_from(self.values.len()).ok().and_then(Number::new);
            // Four thousand million different values, of a hundred bytes each, fit into no memory.
            #[expect(clippy::expect_used, reason = "see above")]
            count.expect("fewer values than numbers")
        });
        self.values[slot(number)] = Some((value.clone(), 1));
        self.numbers.insert(value, number);
        number
    }

    /// One row less has this value.
    pub(super) fn release(&mut self, number: Number) {
        let Some(Some((value, rows))) = self.values.get_mut(slot(number)) else { return };
        *rows -= 1;
        if *rows == 0 {
            self.numbers.remove(value);
            self.values[slot(number)] = None;
            self.free.push(number);
        }
    }

    /// The number of a value that some row has.
    pub(super) fn find(&self, value: &T) -> Option<Number> {
        self.numbers.get(value).copied()
    }

    /// The value of a number that was taken and not released as often.
    pub(super) fn get(&self, number: Number) -> &Arc<T> {
        #[expect(clippy::expect_used, reason = "a row releases its numbers when it goes, and only then")]
        let (value, _) = self.values[slot(number)].as_ref().expect("a value that a row has");
        value
    }

    /// How many different values there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_number_until_its_last_row_goes() {
        let mut dictionary = Dictionary::default();
        let (a, b) = (dictionary.take(&"a"), dictionary.take(&"b"));
        assert_ne!(a, b);
        assert_eq!(dictionary.take(&"a"), a);
        dictionary.release(a);
        assert_eq!((dictionary.find(&"a"), **dictionary.get(a)), (Some(a), "a"));
        dictionary.release(a);
        assert_eq!((dictionary.find(&"a"), dictionary.len()), (None, 1));
        assert_eq!(dictionary.take(&"c"), a, "its number is free again");
        assert_eq!((**dictionary.get(a), **dictionary.get(b), dictionary.len()), ("c", "b", 2));
    }
}
