//! Access tokens: 256 random bits each, in files for their owner's eyes only, or in the environment.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::process::geteuid;
use subtle::ConstantTimeEq as _;

/// A secret that API calls must show. It has no `Debug`, so that it cannot get into a log by accident.
#[derive(Clone)]
pub(crate) struct Token(String);

/// The secrets of this server.
pub(crate) struct Tokens {
    pub(crate) full: Token,
    pub(crate) read: Option<Token>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Full,
    /// Nothing that changes anything.
    Read,
}

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("others may read it (mode {0:04o})")]
    Open(u32),
    #[error("it belongs to uid {0}")]
    Foreign(u32),
    #[error("it holds no token: {0}")]
    Unfit(&'static str),
}

impl TokenError {
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Io(_) => {
                "name a file in a directory that this user may write to, or set the token's variable"
            }
            Self::Open(_) => "`chmod 600` it, and take a new token if others may have read this one",
            Self::Foreign(_) => "give it to the user that the server runs as, or name another file",
            Self::Unfit(_) => "remove it, and a new token is made",
        }
    }
}

/// Shorter ones can be guessed.
const MIN_LENGTH: usize = 16;
/// Longer ones are no tokens.
const MAX_LENGTH: u64 = 512;

impl Token {
    /// Takes a token that the operator chose.
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

    /// The one in the file, or a fresh one that is written there when there is no such file.
    pub(crate) fn kept_in(file: &Path) -> Result<Self, TokenError> {
        match fs::File::open(file) {
            Ok(kept) => Self::read(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Self::random()?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
                file.write_all(token.0.as_bytes())?;
                Ok(token)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read(file: fs::File) -> Result<Self, TokenError> {
        // Of the open file: whatever happens to its name, this is what is read.
        let metadata = file.metadata()?;
        if metadata.mode() & 0o077 != 0 {
            return Err(TokenError::Open(metadata.mode() & 0o7777));
        }
        if metadata.uid() != geteuid().as_raw() {
            return Err(TokenError::Foreign(metadata.uid()));
        }
        let mut kept = String::new();
        file.take(MAX_LENGTH).read_to_string(&mut kept)?;
        Self::chosen(kept.trim().to_owned()).map_err(TokenError::Unfit)
    }

    /// Compares in time that does not depend on where the difference is.
    fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// For the one line on standard output.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Tokens {
    /// Refuses two tokens of which one could be taken for the other.
    pub(crate) fn new(full: Token, read: Option<Token>) -> Result<Self, &'static str> {
        match read {
            Some(read) if full.is(read.reveal()) => Err("the read-only token is the full one"),
            read => Ok(Self { full, read }),
        }
    }

    /// What this token allows. Both are always compared, so that the time says nothing of which it was.
    pub(crate) fn access(&self, shown: &str) -> Option<Access> {
        let full = self.full.is(shown);
        let read = self.read.as_ref().is_some_and(|token| token.is(shown));
        if full { Some(Access::Full) } else { read.then_some(Access::Read) }
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_matches_itself_only() {
        let token = Token::random().unwrap();
        assert_eq!(token.reveal().len(), 256 / 4);
        assert!(token.is(token.reveal()));
        assert!(!token.is(""));
        assert!(!token.is(&token.reveal()[1..]));
        assert!(!token.is(Token::random().unwrap().reveal()));
    }

    #[test]
    fn each_token_allows_what_it_is_for() {
        let (full, read) = (Token::random().unwrap(), Token::random().unwrap());
        assert!(Tokens::new(full.clone(), Some(full.clone())).is_err());
        let tokens = Tokens::new(full.clone(), Some(read.clone())).unwrap();
        assert_eq!(tokens.access(full.reveal()), Some(Access::Full));
        assert_eq!(tokens.access(read.reveal()), Some(Access::Read));
        assert_eq!(tokens.access(""), None);
        assert_eq!(Tokens::new(full, None).unwrap().access(read.reveal()), None);
    }

    #[test]
    fn a_chosen_token_must_be_long_and_plain() {
        assert!(Token::chosen("short".into()).is_err());
        assert!(Token::chosen("0123456789 abcdef".into()).is_err());
        assert!(Token::chosen("0123456789-abcdef".into()).is_ok());
    }

    #[test]
    fn a_file_is_made_once_and_must_be_the_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let made = Token::kept_in(&file).ok().unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert!(Token::kept_in(&file).ok().unwrap().is(made.reveal()));
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Token::kept_in(&file), Err(TokenError::Open(found)) if found == mode));
        }
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Token::kept_in(&file), Err(TokenError::Unfit(_))));
    }
}
