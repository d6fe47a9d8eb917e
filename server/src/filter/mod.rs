//! The filter language: one line of terms that says which attempts are meant, the same for API, page and CLI.
//!
//! `peer=10.0.0.0/8 port=443,8000-9000 cause=timeout comm~envoy duration>1s since=-1h`

mod error;
mod eval;
mod fields;
mod kernel;
mod parse;
mod value;

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use error::FilterError;
pub(crate) use fields::{Definition, FIELDS, Field, Kind, SEARCHED};
pub(crate) use kernel::only_kernel_terms;
pub(crate) use value::Value;

/// Longest text that is read, in bytes.
pub(crate) const MAX_TEXT: usize = 4096;
/// Most terms of one filter.
pub(crate) const MAX_TERMS: usize = 64;
/// Most values of one term, as many as the kernel's filter takes.
pub(crate) const MAX_VALUES: usize = 64;

/// Terms that must all hold. Without any, every attempt is meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Filter {
    pub(crate) terms: Vec<Term>,
}

/// One condition on one field: that one of the values fits, or with `not`, that none does.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Term {
    pub(crate) field: Field,
    pub(crate) op: Op,
    pub(crate) not: bool,
    pub(crate) values: Vec<Value>,
    /// Where it stood in the text, in bytes.
    #[serde(flatten)]
    pub(crate) span: Span,
}

/// A part of the text, in bytes; `end` is the first one behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// How a fact is held against a value. `!=` and `!~` are `=` and `~` with `not`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) enum Op {
    #[serde(rename = "=")]
    Is,
    #[serde(rename = "~")]
    Contains,
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
}

impl Op {
    fn sign(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::Contains => "~",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.terms.iter().enumerate() {
            write!(f, "{}{term}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minus, bang) = match (self.not, self.op) {
            (true, Op::Is | Op::Contains) => ("", "!"),
            (true, _) => ("-", ""),
            (false, _) => ("", ""),
        };
        write!(f, "{minus}{}{bang}{}", self.field.name(), self.op.sign())?;
        for (place, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
