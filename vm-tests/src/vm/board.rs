//! What is shown while machines run: on a terminal a table, kernels across and subjects down; else a line for what is
//! worth one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};

use super::machine::Report;
use super::protocol::{Ended, Record};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Progress of all machines.
pub struct Board {
    state: Mutex<State>,
}

struct State {
    columns: Vec<Column>,
    /// Subjects, in the order of the first plan.
    rows: Vec<String>,
    live: bool,
    /// Lines of the table that stand on the terminal.
    drawn: usize,
}

struct Column {
    series: String,
    phase: &'static str,
    cells: BTreeMap<String, Cell>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    planned: usize,
    ended: usize,
    failed: usize,
}

impl Board {
    /// A board on standard error, for kernels of these series.
    pub fn new(series: impl IntoIterator<Item = String>) -> Self {
        let column = |series| Column { series, phase: "waits", cells: BTreeMap::new() };
        let columns = series.into_iter().map(column).collect();
        let live = std::io::stderr().is_terminal();
        Self { state: Mutex::new(State { columns, rows: Vec::new(), live, drawn: 0 }) }
    }

    /// A machine is being started.
    pub fn starts(&self, index: usize) {
        self.update(index, |column, _| {
            column.phase = "boots";
            None
        });
    }

    /// A machine's guest said something.
    pub fn hears(&self, index: usize, record: &Record) {
        self.update(index, |column, rows| column.hears(record, rows));
    }

    /// A machine has ended.
    pub fn ends(&self, index: usize, report: &Report) {
        self.update(index, |column, _| {
            let first = report.first_scenario.map_or_else(String::new, |first| {
                format!(", its first scenario began after {:.1} s", first.as_secs_f64())
            });
            let word = if report.is_good() { "good" } else { "BAD" };
            column.phase = word;
            Some(format!("{}: {word} after {:.1} s{first}", column.series, report.took.as_secs_f64()))
        });
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Column, &mut Vec<String>) -> Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { columns, rows, .. } = &mut *state;
        let line = change(&mut columns[index], rows);
        state.show(line.as_deref());
    }
}

impl State {
    /// One write, so that nothing else comes between.
    fn show(&mut self, line: Option<&str>) {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        if let Some(line) = line {
            let _ = writeln!(text, "{line}");
        }
        if self.live {
            let table = self.table();
            self.drawn = table.lines().count();
            text += &table;
        }
        // Whoever closed standard error does not want to see it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn table(&self) -> String {
        let label = self.rows.iter().map(String::len).max().unwrap_or(0).max(8);
        let mut text = format!("{:label$}", "");
        for column in &self.columns {
            let _ = write!(text, " {:>6}", column.series);
        }
        let _ = write!(text, "\n{:label$}", "");
        for column in &self.columns {
            let _ = write!(text, " {:>6}", column.phase);
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{row:label$}");
            for column in &self.columns {
                text += &column.cells.get(row).map_or_else(|| format!(" {:>6}", ""), Cell::show);
            }
            text.push('\n');
        }
        text
    }
}

impl Column {
    /// Takes a record in, and returns a line if it is worth one.
    fn hears(&mut self, record: &Record, rows: &mut Vec<String>) -> Option<String> {
        match record {
            Record::Hello { kernel, uptime_s, .. } => {
                self.phase = "runs";
                Some(format!("{}: {kernel} reached user space after {uptime_s:.1} s", self.series))
            }
            Record::Plan { scenarios } => {
                for scenario in scenarios {
                    let subject = subject(scenario);
                    if !rows.contains(&subject) {
                        rows.push(subject.clone());
                    }
                    self.cells.entry(subject).or_default().planned += 1;
                }
                None
            }
            Record::Result { scenario, outcome, detail, .. } => {
                let cell = self.cells.entry(subject(scenario)).or_default();
                cell.ended += 1;
                let failed = *outcome == Ended::Failed;
                cell.failed += usize::from(failed);
                failed.then(|| format!("{}: {scenario} FAILED: {detail}", self.series))
            }
            Record::Start { .. } | Record::Fact(_) | Record::End => None,
        }
    }
}

impl Cell {
    fn show(&self) -> String {
        let (colour, text) = match self {
            Self { failed: 1.., .. } => (RED, format!("✗ {}", self.failed)),
            Self { planned, ended, .. } if planned == ended => (GREEN, format!("✓ {ended}")),
            Self { planned, ended, .. } => (PLAIN, format!("{ended}/{planned}")),
        };
        format!(" {colour}{text:>6}{PLAIN}")
    }
}

/// What stands before the colons of a scenario's name.
pub fn subject(scenario: &str) -> String {
    scenario.split("::").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::protocol::Fact;

    #[test]
    fn the_table_has_kernels_across_and_subjects_down() {
        let board = Board::new(["6.1".to_owned(), "7.3".to_owned()]);
        let scenarios = ["silent::a", "silent::b", "refused::c"].map(str::to_owned).to_vec();
        board.hears(0, &Record::Plan { scenarios });
        let result = |scenario: &str, outcome| Record::Result {
            scenario: scenario.to_owned(),
            outcome,
            detail: String::new(),
            ms: 1,
        };
        board.hears(0, &result("silent::a", Ended::Passed));
        board.hears(0, &result("refused::c", Ended::Failed));
        board.hears(0, &Record::Fact(Fact::new("feature", "x", "ok")));
        let table = board.state.lock().unwrap().table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains("6.1") && lines[0].contains("7.3"), "{table}");
        assert!(lines[2].starts_with("silent") && lines[2].contains("1/2"), "{table}");
        assert!(lines[3].starts_with("refused") && lines[3].contains("✗ 1"), "{table}");
    }
}
