//! Which tokens a server takes.

use std::{env, path::Path};

use crate::{
    Failure,
    cli::AccessArgs,
    history::make_directory,
    token::{Token, TokenError, Tokens},
};

/// Those of the environment or of files. The read-only one exists where it was asked for.
pub(super) fn tokens(args: &AccessArgs, data_dir: &Path, asked: bool) -> Result<Tokens, Failure> {
    let full = match (chosen("SYNSCOPE_TOKEN")?, &args.token_file) {
        (Some(token), _) => token,
        (None, Some(file)) => kept_in(file)?,
        (None, None) => kept_in_directory(data_dir, asked)?,
    };
    let read = match (chosen("SYNSCOPE_READ_TOKEN")?, &args.read_token_file) {
        (None, Some(file)) => Some(kept_in(file)?),
        (chosen, _) => chosen,
    };
    Tokens::new(full, read).map_err(|problem| Failure::new(problem, "choose another for one of them"))
}

fn chosen(variable: &str) -> Result<Option<Token>, Failure> {
    let Some(value) = env::var_os(variable) else { return Ok(None) };
    let token = value.into_string().map_err(|_| "it is not plain text").and_then(Token::chosen);
    // The value itself is not repeated: errors are kept in logs.
    token
        .map(Some)
        .map_err(|problem| Failure::new(format!("{variable}: {problem}"), "choose another, or unset it"))
}

fn kept_in(file: &Path) -> Result<Token, Failure> {
    Token::kept_in(file)
        .map_err(|error| Failure::new(format!("token file {}: {error}", file.display()), error.remedy()))
}

/// One that cannot be kept is a failure where the directory was asked for.
fn kept_in_directory(data_dir: &Path, asked: bool) -> Result<Token, Failure> {
    let made = make_directory(data_dir).map_err(TokenError::from);
    match made.and_then(|()| Token::kept_in(&data_dir.join("token"))) {
        Err(TokenError::Io(error)) if !asked => {
            tracing::warn!("{}: {error}; the token is for this run only", data_dir.display());
            Token::random().map_err(|error| Failure::new(error.to_string(), "the system gives no randomness"))
        }
        Err(TokenError::Io(error)) => {
            let problem = format!("data directory {}: {error}", data_dir.display());
            let remedy = "choose a --data-dir that this user may write to, or set SYNSCOPE_TOKEN";
            Err(Failure::new(problem, remedy))
        }
        kept => kept.map_err(|error| {
            Failure::new(format!("{}: {error}", data_dir.join("token").display()), error.remedy())
        }),
    }
}
