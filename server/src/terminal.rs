//! What the terminal can do, and what must not reach it.

use std::io::IsTerminal;

/// Colours of the terminal's own palette, so that they fit its background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
    Grey = 90,
}

/// Whether to colour: on a terminal only, and never when `NO_COLOR` has a value (no-color.org).
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text in a colour, or plain.
pub(crate) fn paint(text: &str, colour: Option<Colour>) -> String {
    match colour {
        Some(colour) if !text.is_empty() => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
        _ => text.to_owned(),
    }
}

/// Names are whatever their owner made them: escapes what could move the cursor.
pub(crate) fn harmless(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if matches!(c, '\'' | '"') {
            plain.push(c);
        } else {
            plain.extend(c.escape_debug());
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_escaped() {
        assert_eq!(harmless("a\x1b[2Jb\u{9b}\n\u{202e}'é"), "a\\u{1b}[2Jb\\u{9b}\\n\\u{202e}'é");
    }

    #[test]
    fn paint_leaves_plain_what_has_no_colour() {
        assert_eq!(paint("x", None), "x");
        assert_eq!(paint("x", Some(Colour::Red)), "\x1b[31mx\x1b[0m");
        assert_eq!(paint("", Some(Colour::Red)), "");
    }
}
