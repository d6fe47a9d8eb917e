//! `synscope doctor`: what this host allows and lacks.

use std::{fmt::Write as _, io::stdout, process::ExitCode};

use schemars::JsonSchema;
use serde::Serialize;
use synscope_tracer::host::{self, Status};

use crate::{
    Failure,
    cli::DoctorArgs,
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
