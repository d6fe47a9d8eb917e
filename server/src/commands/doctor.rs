//! `synscope doctor`: what this host allows and lacks.

use std::{fmt::Write as _, io::stdout, process::ExitCode};

use schemars::JsonSchema;
use serde::Serialize;
use synscope_tracer::host::{self, Check, Status};

use crate::{
    Failure,
    cli::DoctorArgs,
    privileges::Privileges,
    terminal::{Colour, has_colours, paint},
};

/// The report, as JSON has it.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Report {
    version: &'static str,
    kernel: String,
    /// True when traces can run.
    pub(crate) works: bool,
    checks: Vec<CheckJson>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct CheckJson {
    name: String,
    status: &'static str,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    costs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    remedy: String,
}

/// Examines this host. Blocks for some milliseconds, within a tokio runtime.
pub(crate) fn report() -> Report {
    let checks = host::examine();
    Report {
        version: env!("CARGO_PKG_VERSION"),
        kernel: host::release(),
        works: checks.iter().all(|check| check.status != Status::Missing),
        checks: checks
            .into_iter()
            .chain([hardening()])
            .map(|check| CheckJson {
                name: check.name,
                status: match check.status {
                    Status::Ok => "ok",
                    Status::Limited => "limited",
                    Status::Missing => "missing",
                },
                found: check.found,
                costs: check.costs,
                remedy: check.remedy,
            })
            .collect(),
    }
}

/// What this process has given up, at its start, of what it was given.
fn hardening() -> Check {
    let Privileges { capabilities, is_bounded, no_new, filtered, read_only } = Privileges::now();
    let kept = if capabilities.is_empty() { "none".to_owned() } else { capabilities.join(" ") };
    let parts = [
        (!capabilities.contains(&"others"), "no other capability"),
        (is_bounded, "none to be had"),
        (no_new, "no new privileges"),
        (filtered, "no child processes"),
        (read_only, "no files written but the data directory's"),
    ];
    let (held, lacking): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(holds, _)| *holds);
    let words =
        |parts: Vec<(bool, &'static str)>| parts.iter().map(|part| part.1).collect::<Vec<_>>().join(", ");
    let found = format!("capabilities kept: {kept}; {}", words(held));
    let (status, costs, remedy) = if lacking.is_empty() {
        (Status::Ok, String::new(), String::new())
    } else {
        let costs = format!("not in force: {}", words(lacking));
        (Status::Limited, costs, "the log of the start says what was refused; see docs/security.md".into())
    };
    Check { name: "hardening".into(), status, found, costs, remedy }
}

/// Prints the report; exit code 1 when nothing can be traced here.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let report = report();
    if args.json {
        let json = serde_json::to_string_pretty(&report);
        println!("{}", json.map_err(|error| Failure::new(error.to_string(), "please report this"))?);
    } else {
        print!("{}", text(&report));
    }
    Ok(if report.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Report) -> String {
    let colours = has_colours(&stdout());
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &report.checks {
        let colour = match check.status {
            "ok" => Colour::Green,
            "limited" => Colour::Yellow,
            _ => Colour::Red,
        };
        let status = paint(&format!("{:<8}", check.status), colours.then_some(colour));
        let _ = writeln!(text, "{status} {:<width$}  {}", check.name, check.found);
        for (label, line) in [("costs", &check.costs), ("remedy", &check.remedy)] {
            if !line.is_empty() {
                let _ = writeln!(text, "{:<8} {:<width$}  {label}: {line}", "", "");
            }
        }
    }
    let first = report.checks.iter().find(|check| check.status == "missing");
    let verdict = match first {
        None => "Traces can run here.".to_owned(),
        Some(missing) => format!("Nothing can be traced here. To do first: {}", missing.remedy),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}
