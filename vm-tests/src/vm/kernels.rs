//! The kernels of the matrix, as `kernels.toml` names them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One series and where Debian keeps it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `6.1`.
    pub series: String,
    /// `bookworm-security`.
    pub suite: String,
    /// The suite has no modules for it.
    #[serde(default)]
    pub without_modules: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    modules: Vec<String>,
    kernel: Vec<Kernel>,
}

fn file() -> Result<File> {
    toml::from_str(include_str!("../../kernels.toml")).context("kernels.toml")
}

/// Every kernel of `kernels.toml`, oldest first.
pub fn known() -> Result<Vec<Kernel>> {
    Ok(file()?.kernel)
}

/// Modules that scenarios may need.
pub fn modules() -> Result<Vec<String>> {
    Ok(file()?.modules)
}

/// The known kernels of these series, or all of them when none is named.
pub fn select(wanted: &[String]) -> Result<Vec<Kernel>> {
    let known = known()?;
    if wanted.is_empty() {
        return Ok(known);
    }
    let find = |series: &String| {
        known.iter().find(|kernel| kernel.series == *series).cloned().with_context(|| {
            let all: Vec<_> = known.iter().map(|kernel| kernel.series.as_str()).collect();
            format!("no kernel {series} in kernels.toml, only {}", all.join(", "))
        })
    };
    wanted.iter().map(find).collect()
}

/// Every suite that some kernel comes from.
pub fn suites() -> Result<BTreeSet<String>> {
    Ok(known()?.into_iter().map(|kernel| kernel.suite).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_parses_and_names_each_series_once() -> Result<()> {
        let known = known()?;
        let series: BTreeSet<_> = known.iter().map(|kernel| &kernel.series).collect();
        assert_eq!(series.len(), known.len());
        assert!(series.contains(&"6.1".to_owned()));
        Ok(())
    }

    #[test]
    fn selecting_nothing_selects_all_and_strangers_are_named() -> Result<()> {
        assert_eq!(select(&[])?, known()?);
        assert_eq!(select(&["6.1".to_owned()])?.len(), 1);
        let error = select(&["6.2".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("6.2") && error.contains("6.1,"));
        Ok(())
    }
}
