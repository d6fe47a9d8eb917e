//! Which instructions were executed, and which way branches went.

use std::collections::BTreeMap;

/// What happened at one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hits {
    executed: u64,
    taken: u64,
}

/// Executions of every slot of every program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    programs: BTreeMap<String, Vec<Hits>>,
}

impl Coverage {
    pub(crate) fn note(&mut self, program: &str, slot: usize, slots: usize) {
        if let Some(hits) = self.programs.get_mut(program) {
            hits[slot].executed += 1;
        } else {
            let mut hits = vec![Hits::default(); slots];
            hits[slot].executed += 1;
            self.programs.insert(program.to_owned(), hits);
        }
    }

    pub(crate) fn note_taken(&mut self, program: &str, slot: usize) {
        if let Some(hits) = self.programs.get_mut(program) {
            hits[slot].taken += 1;
        }
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
