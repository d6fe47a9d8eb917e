//! From text to terms, or to what is wrong with it and where.

use super::{Field, Filter, FilterError, MAX_TERMS, MAX_TEXT, MAX_VALUES, Op, Span, Term, fields, value};

/// Longest first, since each is tried in turn; with whether it says "not".
const OPERATORS: [(&str, Op, bool); 8] = [
    ("!=", Op::Is, true),
    ("!~", Op::Contains, true),
    (">=", Op::AtLeast, false),
    ("<=", Op::AtMost, false),
    ("=", Op::Is, false),
    ("~", Op::Contains, false),
    (">", Op::Above, false),
    ("<", Op::Below, false),
];

/// Reads a whole filter.
pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    if text.len() > MAX_TEXT {
        let span = Span { start: MAX_TEXT, end: text.len() };
        let problem = format!("a filter has at most {MAX_TEXT} bytes");
        return Err(FilterError::new(span, problem, "say it with fewer terms"));
    }
    let mut parser = Parser { text, at: 0 };
    let mut terms = Vec::new();
    while parser.skip_space() {
        terms.push(parser.term()?);
        if terms.len() > MAX_TERMS {
            let problem = format!("a filter has at most {MAX_TERMS} terms");
            return Err(FilterError::new(terms[MAX_TERMS].span, problem, "leave some out"));
        }
    }
    Ok(Filter { terms })
}

struct Parser<'a> {
    text: &'a str,
    /// Always at the beginning of a character.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn since(&self, start: usize) -> Span {
        Span { start, end: self.at }
    }

    /// The next character and what is behind it, for a complaint about it.
    fn here(&self) -> Span {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        Span { start: self.at, end: self.at + length }
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Whether anything follows.
    fn skip_space(&mut self) -> bool {
        self.take_while(char::is_whitespace);
        !self.rest().is_empty()
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        let start = self.at;
        let minus = self.take("-") || self.take("!");
        let named_at = self.at;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let name_span = self.since(named_at);
        let operator_at = self.at;
        let operator = OPERATORS.iter().find(|(sign, ..)| self.take(sign));
        let (field, op, bang) = if let Some((_, op, bang)) = operator {
            (known_field(name, name_span)?, *op, *bang)
        } else {
            // A bare word is looked for in whatever can be looked into.
            self.at = named_at;
            (Field::Text, Op::Contains, false)
        };
        check_operator(field, op, Span { start: operator_at, end: self.at.max(operator_at) })?;
        let values = self.values(field, op)?;
        Ok(Term { field, op, not: minus != bang, values, span: self.since(start) })
    }

    fn values(&mut self, field: Field, op: Op) -> Result<Vec<value::Value>, FilterError> {
        let mut values = Vec::new();
        let listed_at = self.at;
        loop {
            let start = self.at;
            let text = self.value()?;
            values.push(value::read(field, op, text, self.since(start))?);
            if !self.take(",") {
                break;
            }
        }
        let span = self.since(listed_at);
        if values.len() > MAX_VALUES {
            return Err(FilterError::new(
                span,
                format!("a term has at most {MAX_VALUES} values"),
                "leave some out",
            ));
        }
        if values.len() > 1 && !matches!(op, Op::Is | Op::Contains) {
            let problem = format!("`{}` compares with one value, not with a list", op.sign());
            return Err(FilterError::new(span, problem, "give one value"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<String, FilterError> {
        let value = if self.rest().starts_with('"') {
            self.quoted()?
        } else {
            self.take_while(|c| !c.is_whitespace() && c != ',' && c != '"').to_owned()
        };
        let ended = self.rest().chars().next().is_none_or(|c| c.is_whitespace() || c == ',');
        if !ended {
            let remedy = "put the whole value into quotes, with \\\" for a quote within";
            return Err(FilterError::new(
                self.here(),
                "a value is either quoted as a whole or not at all",
                remedy,
            ));
        }
        let empty = value.is_empty() && !self.text[..self.at].ends_with('"');
        if empty {
            let remedy = "write one behind it, or \"\" for the empty text";
            return Err(FilterError::new(self.here(), "a value is missing here", remedy));
        }
        Ok(value)
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let start = self.at;
        let mut value = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = characters.next() {
            match c {
                '"' => {
                    self.at = start + offset + 1;
                    return Ok(value);
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => value.push(c),
            }
        }
        let span = Span { start, end: self.text.len() };
        Err(FilterError::new(span, "this quote is never closed", "close it with \""))
    }
}

fn known_field(name: &str, span: Span) -> Result<Field, FilterError> {
    if name.is_empty() {
        return Err(FilterError::new(
            span,
            "the name of a field is missing here",
            "write it before the operator",
        ));
    }
    Field::named(name).ok_or_else(|| {
        let names: Vec<_> = fields::FIELDS.iter().map(|definition| definition.name).collect();
        FilterError::new(
            span,
            format!("there is no field `{name}`"),
            format!("use one of {}", names.join(", ")),
        )
    })
}

fn check_operator(field: Field, op: Op, span: Span) -> Result<(), FilterError> {
    let allowed = field.kind().operators();
    if allowed.contains(&op) {
        return Ok(());
    }
    let signs: Vec<_> = allowed.iter().map(|op| op.sign()).collect();
    let problem = format!("`{}` cannot be asked with `{}`", field.name(), op.sign());
    Err(FilterError::new(span, problem, format!("use one of {}", signs.join(" "))))
}
