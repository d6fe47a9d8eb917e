//! `synscope man` and `synscope completions`: made from the one definition of the flags.

use std::{
    io::{self, stdout},
    process::ExitCode,
};

use clap::CommandFactory as _;

use crate::{
    Failure,
    cli::{Cli, CompletionsArgs, ManArgs},
};

/// Prints the man page of one command, or of synscope itself.
pub(crate) fn page(args: &ManArgs) -> Result<ExitCode, Failure> {
    let mut cli = Cli::command();
    // Gives the commands their full names and usage.
    cli.build();
    let command = match &args.page {
        None => cli,
        Some(name) => cli.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::new(format!("synscope has no command `{name}`"), "see `synscope --help`")
        })?,
    };
    written(clap_mangen::Man::new(command).render(&mut stdout().lock()))
}

/// Prints completions for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "synscope", &mut script);
    written(io::Write::write_all(&mut stdout().lock(), &script))
}

fn written(written: io::Result<()>) -> Result<ExitCode, Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("standard output: {error}"), "is there room where it goes?"))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
