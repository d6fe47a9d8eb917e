//! Which instructions were executed, and which way branches went.

use std::collections::BTreeMap;

/// What happened at one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    pub(crate) executed: u64,
    pub(crate) taken: u64,
}

/// Executions of every slot of every program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    programs: BTreeMap<String, Vec<Hits>>,
}

impl Coverage {
    /// What was noted of a program so far, to be noted further and given back by [`Self::keep`].
    pub(crate) fn take(&mut self, program: &str, slots: usize) -> Vec<Hits> {
        self.programs.remove(program).unwrap_or_else(|| vec![Hits::default(); slots])
    }

    pub(crate) fn keep(&mut self, program: &str, hits: Vec<Hits>) {
        self.programs.insert(program.to_owned(), hits);
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Self) {
        for (program, theirs) in &other.programs {
            let ours =
                self.programs.entry(program.clone()).or_insert_with(|| vec![Hits::default(); theirs.len()]);
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                ours.executed += theirs.executed;
                ours.taken += theirs.taken;
            }
        }
    }

    /// True when a slot was executed.
    pub fn reached(&self, program: &str, slot: usize) -> bool {
        self.programs.get(program).and_then(|hits| hits.get(slot)).is_some_and(|hits| hits.executed > 0)
    }

    /// How often a branch was executed, and how often it jumped.
    pub fn branch(&self, program: &str, slot: usize) -> (u64, u64) {
        let hits = self.programs.get(program).and_then(|hits| hits.get(slot)).copied().unwrap_or_default();
        (hits.executed, hits.taken)
    }
}
