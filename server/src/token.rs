//! The access token: 256 random bits, kept in the data directory for its owner's eyes only.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use subtle::ConstantTimeEq as _;

/// The secret that every API call must show.
#[derive(Clone)]
pub(crate) struct Token(String);

/// Shorter ones can be guessed.
const MIN_LENGTH: usize = 16;
const FILE: &str = "token";

impl Token {
    /// Takes a token that the operator chose, from `SYNSCOPE_TOKEN`.
    pub(crate) fn chosen(token: String) -> Result<Self, &'static str> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if token.len() < MIN_LENGTH {
            Err("it must have at least 16 characters")
        } else if !token.bytes().all(is_plain) {
            Err("it must consist of letters, digits and -._~")
        } else {
            Ok(Self(token))
        }
    }

    /// A fresh one.
    pub(crate) fn random() -> io::Result<Self> {
        Ok(Self(random_hex(32)?))
    }

    /// The one of an earlier run from the data directory, or a fresh one that is written there.
    pub(crate) fn kept_in(directory: &Path) -> io::Result<Self> {
        let file = directory.join(FILE);
        if let Ok(kept) = fs::read_to_string(&file)
            && let Ok(token) = Self::chosen(kept.trim().to_owned())
            // No bit of group and others is set.
            && fs::metadata(&file)?.permissions().mode().trailing_zeros() >= 6
        {
            return Ok(token);
        }
        let token = Self::random()?;
        let _ = fs::remove_file(&file);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
        file.write_all(token.0.as_bytes())?;
        Ok(token)
    }

    /// Compares in time that does not depend on where the difference is.
    pub(crate) fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// For the one line on standard output.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Random bytes as lower-case hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_only() {
        let token = Token::random().unwrap();
        assert!(token.is(token.reveal()));
        assert!(!token.is(""));
        assert!(!token.is(&token.reveal()[1..]));
        assert!(!token.is(Token::random().unwrap().reveal()));
    }

    #[test]
    fn a_chosen_token_must_be_long_and_plain() {
        assert!(Token::chosen("short".into()).is_err());
        assert!(Token::chosen("0123456789 abcdef".into()).is_err());
        assert!(Token::chosen("0123456789-abcdef".into()).is_ok());
    }
}
