//! Expectations on JSON, each naming the member that disappoints and showing the whole value.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A JSON value read by JSON pointers such as `/tcp/connect/cause`.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub Value);

impl Json {
    /// The member at `pointer`, or null when there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Requires the member at `pointer` to equal `expected`.
    pub fn is(&self, pointer: &str, expected: impl Into<Value>) -> Result<&Self> {
        let expected = expected.into();
        ensure!(
            *self.at(pointer) == expected,
            "{pointer} should be {expected}, is {} in {}",
            self.at(pointer),
            self.0
        );
        Ok(self)
    }

    /// Requires that nothing stands at `pointer`.
    pub fn lacks(&self, pointer: &str) -> Result<&Self> {
        ensure!(self.0.pointer(pointer).is_none(), "{pointer} should be absent in {}", self.0);
        Ok(self)
    }

    /// Requires a number inside `band`, for what a kernel's clock decides.
    pub fn within(&self, pointer: &str, band: RangeInclusive<f64>) -> Result<&Self> {
        let number = self.number(pointer)?;
        ensure!(band.contains(&number), "{pointer} should be within {band:?}, is {number} in {}", self.0);
        Ok(self)
    }

    /// The number at `pointer`; times in nanoseconds travel as strings and are read as numbers too.
    pub fn number(&self, pointer: &str) -> Result<f64> {
        match self.at(pointer) {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
        .with_context(|| format!("{pointer} should be a number in {}", self.0))
    }

    /// The whole number at `pointer`.
    pub fn count(&self, pointer: &str) -> Result<u64> {
        self.at(pointer).as_u64().with_context(|| format!("{pointer} should be a whole number in {}", self.0))
    }

    /// The string at `pointer`.
    pub fn text(&self, pointer: &str) -> Result<&str> {
        self.at(pointer).as_str().with_context(|| format!("{pointer} should be a string in {}", self.0))
    }

    /// The elements of the array at `pointer`.
    pub fn list(&self, pointer: &str) -> Result<Vec<Json>> {
        let elements = self
            .at(pointer)
            .as_array()
            .with_context(|| format!("{pointer} should be an array in {}", self.0))?;
        Ok(elements.iter().cloned().map(Json).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Json {
        Json(json!({"a": {"n": 3, "ns": "1790000000000000000", "s": "x"}, "l": [1, 2]}))
    }

    #[test]
    fn what_holds_passes_and_chains() -> Result<()> {
        sample().is("/a/s", "x")?.within("/a/n", 2.0..=3.0)?.lacks("/a/gone")?;
        assert_eq!(sample().count("/a/n")?, 3);
        assert!(sample().number("/a/ns")? > 1.7e18);
        assert_eq!(sample().list("/l")?.len(), 2);
        Ok(())
    }

    #[test]
    fn what_does_not_hold_names_the_member() {
        for wrong in [
            sample().is("/a/n", 4).map(drop),
            sample().within("/a/n", 4.0..=5.0).map(drop),
            sample().lacks("/a/n").map(drop),
            sample().text("/a/n").map(drop),
            sample().list("/a/n").map(drop),
        ] {
            assert!(wrong.unwrap_err().to_string().contains("/a/n"));
        }
    }
}
