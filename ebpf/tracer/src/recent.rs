//! A bounded map that keeps what was used lately.

use std::{collections::HashMap, hash::Hash, mem};

/// Two generations: what is used moves to the young one, and when that holds half of the capacity, the old
/// one is forgotten. Every operation is O(1), and what is in use stays.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Holds at most `capacity` entries, and at least half as many of those used last.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { half: (capacity / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// Looks up, and remembers that it was used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Stores, and forgets what was not used for long if there is no room.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut recent = Recent::new(8);
        recent.insert(u32::MAX, "kept");
        for key in 0..1000 {
            recent.insert(key, "passing");
            assert_eq!(recent.get(&u32::MAX), Some(&mut "kept"), "after {key}");
            assert!(recent.young.len() + recent.old.len() <= 8);
        }
        assert_eq!(recent.get(&0), None);
        assert!(recent.get(&999).is_some());
    }

    #[test]
    fn a_value_is_replaced_in_either_generation() {
        let mut recent = Recent::new(4);
        recent.insert(1, 'a');
        recent.insert(2, 'b');
        recent.insert(3, 'c');
        recent.insert(1, 'd');
        recent.insert(3, 'e');
        assert_eq!([1, 2, 3].map(|key| recent.get(&key).copied()), [Some('d'), Some('b'), Some('e')]);
    }
}
