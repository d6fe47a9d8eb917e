//! Figures as an aligned table, as JSON and as Markdown.

use std::{fmt::Write as _, fs, io::IsTerminal as _, path::Path, thread};

use anyhow::{Context as _, Result};
use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The headline of what a run writes.
const FIGURES: &str = "## Figures";

/// One figure.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    part: String,
    what: String,
    value: String,
    /// What it is measured against, and whether it is reached.
    goal: Option<(String, bool)>,
}

/// What a run has measured.
pub(crate) struct Report {
    quick: bool,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        Self { quick, rows: Vec::new() }
    }

    /// A figure for which there is no goal.
    pub(crate) fn tell(&mut self, part: &str, what: impl Into<String>, value: impl Into<String>) {
        self.rows.push(Row { part: part.to_owned(), what: what.into(), value: value.into(), goal: None });
    }

    /// A figure from elsewhere, for which the goals do not hold.
    pub(crate) fn tell_from(&mut self, place: &str, row: Row) {
        self.rows.push(Row { part: format!("{}: {place}", row.part), goal: None, ..row });
    }

    /// What was told so far.
    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// A figure that has to reach a goal.
    pub(crate) fn judge(
        &mut self,
        part: &str,
        what: impl Into<String>,
        value: impl Into<String>,
        goal: impl Into<String>,
        reached: bool,
    ) {
        let goal = Some((goal.into(), reached));
        self.rows.push(Row { part: part.to_owned(), what: what.into(), value: value.into(), goal });
    }

    pub(crate) fn print(&self) {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let widest = |of: fn(&Row) -> usize| self.rows.iter().map(of).max().unwrap_or(0);
        let what = widest(|row| row.what.chars().count());
        let value = widest(|row| row.value.chars().count());
        let mut part = "";
        for row in &self.rows {
            if part != row.part {
                println!("\n{}", row.part);
                part = &row.part;
            }
            let goal = row.goal.as_ref().map(|(goal, reached)| {
                let (word, shade) = if *reached { ("reached", "32") } else { ("MISSED", "31") };
                let word = if colour { format!("\x1b[{shade}m{word}\x1b[0m") } else { word.into() };
                format!("  goal {goal}: {word}")
            });
            println!("  {:<what$}  {:>value$}{}", row.what, row.value, goal.unwrap_or_default());
        }
    }

    pub(crate) fn print_json(&self) -> Result<()> {
        println!("{}", serde_json::to_string_pretty(&self.rows)?);
        Ok(())
    }

    /// The same tables for `docs/performance.md`, with the kernel and the date. What stands in the file before them
    /// stays.
    pub(crate) fn write_markdown(&self, path: &Path) -> Result<()> {
        let before = fs::read_to_string(path).unwrap_or_default();
        let kept = before.split_once(FIGURES).map_or("", |(kept, _)| kept);
        let mut text = format!("{kept}{FIGURES}\n\n{}\n", self.surroundings()?);
        let mut part = "";
        for row in &self.rows {
            if part != row.part {
                writeln!(text, "\n### {}\n\n| what | measured | goal |\n|---|---|---|", row.part)?;
                part = &row.part;
            }
            let goal = row.goal.as_ref().map_or(String::new(), |(goal, reached)| {
                format!("{goal}: {}", if *reached { "reached" } else { "**missed**" })
            });
            writeln!(text, "| {} | {} | {goal} |", row.what, row.value)?;
        }
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn surroundings(&self) -> Result<String> {
        let kernel = uname();
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        Ok(format!(
            "`just bench{}`, Linux {} on {} cores, {}.",
            if self.quick { " --quick" } else { "" },
            kernel.release().to_string_lossy(),
            thread::available_parallelism()?,
            date(seconds / 86_400),
        ))
    }
}

/// The day that begins so many days after 1970-01-01, by counting years from March on.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// Median and the interval that holds the middle half.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            median: quantile(&values, 0.5),
            lower: quantile(&values, 0.25),
            upper: quantile(&values, 0.75),
        }
    }
}

/// A quantile of sorted values.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = ((sorted.len() - 1) as f64 * at).round() as usize;
    sorted[index]
}
