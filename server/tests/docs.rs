//! What Markdown files say is there: links, commands, files.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown file of the repository, by its path.
fn files() -> HashMap<PathBuf, String> {
    let mut files = HashMap::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                let is_made = ["target", "node_modules", ".git"].contains(&name.as_str());
                directories.extend((!is_made).then_some(path));
            } else if path.extension().is_some_and(|kind| kind == "md") {
                files.insert(path.clone(), fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

/// The text without its blocks of code: there, brackets are no links and # no headings.
fn prose(markdown: &str) -> String {
    let parts = markdown.split("\n```").enumerate();
    parts.filter(|(place, _)| place % 2 == 0).map(|(_, part)| part).collect::<Vec<_>>().join("\n")
}

/// Where links lead, without code spans.
fn links(markdown: &str) -> Vec<String> {
    let prose = prose(markdown);
    let spans = prose.split('`').enumerate();
    let text: String = spans.map(|(place, part)| if place % 2 == 0 { part } else { "code" }).collect();
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.trim().to_owned())).collect()
}

/// As GitHub names headings: lower case, without punctuation, with hyphens for spaces.
fn anchors(markdown: &str) -> Vec<String> {
    let prose = prose(markdown);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// What is wrong with the links of these files.
fn broken(files: &HashMap<PathBuf, String>) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, markdown) in files {
        for link in links(markdown).into_iter().filter(|link| !link.contains("://")) {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if target.is_empty() { path.clone() } else { path.parent().unwrap().join(target) };
            let known = target.canonicalize().ok();
            let markdown = known.as_ref().and_then(|target| files.get(target));
            let has_anchor =
                || markdown.is_some_and(|text| anchors(text).iter().any(|there| there == anchor));
            if known.is_none() || !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    broken
}

#[test]
fn every_link_leads_somewhere() {
    assert_eq!(broken(&files()), Vec::<String>::new());
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let path = root().join("README.md");
    let text = "# Some `heading`: yes\n[a](#some-heading-yes) [b](docs/guide.md)\n```\n[no](link)\n```\n`[no](link)`\n\
                [c](#none) [d](docs/none.md)\n";
    let mut found = broken(&HashMap::from([(path.clone(), text.to_owned())]));
    found.sort();
    assert_eq!(found, ["#none", "docs/none.md"].map(|link| format!("{}: {link}", path.display())));
}

/// The blocks of code in this language, in order.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let blocks = markdown.split(&fence).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn the_chinese_readme_has_the_same_commands() {
    let (english, chinese) = (read("README.md"), read("README.zh-CN.md"));
    assert_eq!(blocks(&english, "sh"), blocks(&chinese, "sh"));
    let sections = |text: &str| prose(text).lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(sections(&english), sections(&chinese), "a section is missing");
    let links = |text: &str| {
        let mut links = links(text);
        links.retain(|link| !link.contains("README"));
        links.sort();
        links
    };
    assert_eq!(links(&english), links(&chinese), "a link is missing");
}

/// Runs a line of the guide in a shell where `synscope` is the binary under test.
fn run(line: &str) -> std::process::Output {
    let script = format!("synscope() {{ '{}' \"$@\"; }}\n{line}", env!("CARGO_BIN_EXE_synscope"));
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(root()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn commands_of_readme_and_guide_are_understood() {
    let mut checked = 0;
    for file in ["README.md", "docs/guide.md"] {
        let text = read(file).replace("target/release/synscope", "synscope");
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("synscope trace")) {
            // What explains it stands behind two spaces; a command or a file would be run or written.
            let command = line.split("  ").next().unwrap();
            let command = command.split(" -- ").next().unwrap().split(" > ").next().unwrap();
            let output = run(&format!("{command} --replay -"));
            assert!(output.status.success(), "{file}: {line}\n{}", String::from_utf8_lossy(&output.stderr));
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} commands were found");
    assert!(!run("synscope trace --no-such-flag --replay -").status.success());
}

#[test]
fn the_guides_commands_are_there() {
    let guide = read("docs/guide.md");
    let commands = blocks(&guide, "sh");
    assert_eq!(
        commands,
        [
            "cargo build --release",
            "target/release/synscope doctor",
            "target/release/synscope trace",
            "examples/port-collision.sh"
        ],
        "a command that no test runs: scenarios terminal::… run the last two, this file the second"
    );
    let doctor = run("synscope doctor");
    assert!(doctor.status.code().is_some_and(|code| code <= 1), "{doctor:?}");
    let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let verdict = report.lines().last().unwrap_or("");
    let verdicts = ["Traces can run here.", "Nothing can be traced here. To do first: "];
    assert!(verdicts.iter().any(|known| verdict.starts_with(known)), "{report}");
}

/// Every name in this description of the API: paths, members of what is sent and answered, known values, parameters.
fn names_of_the_api(node: &Value, names: &mut BTreeSet<String>) {
    let texts = |key: &str| node[key].as_array().into_iter().flatten().filter_map(Value::as_str);
    // Operators are in the grammar, and these two are WebSocket's own.
    let is_said =
        |value: &&str| value.starts_with(char::is_alphabetic) && !["upgrade", "websocket"].contains(value);
    names.extend(texts("enum").filter(is_said).map(str::to_owned));
    for key in ["properties", "paths"] {
        names.extend(node[key].as_object().into_iter().flat_map(|members| members.keys().cloned()));
    }
    for parameter in node["parameters"].as_array().into_iter().flatten() {
        names.extend(parameter["name"].as_str().map(str::to_owned));
    }
    match node {
        Value::Object(members) => members.values().for_each(|value| names_of_the_api(value, names)),
        Value::Array(values) => values.iter().for_each(|value| names_of_the_api(value, names)),
        _ => {}
    }
}

/// docs/openapi.json is made from the code, and a test of the server holds the two together.
#[test]
fn the_reference_has_every_name_of_the_api() {
    let mut names = BTreeSet::new();
    names_of_the_api(&serde_json::from_str(&read("docs/openapi.json")).unwrap(), &mut names);
    assert!(names.len() > 150, "only {} names were found", names.len());
    let reference = read("docs/reference.md");
    let is_name = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let words: BTreeSet<_> = reference.split(|c| !is_name(c)).collect();
    let is_there = |name: &String| {
        words.contains(name.as_str()) || name.contains(['/', '.']) && reference.contains(name)
    };
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "docs/reference.md does not know {missing:?}");
}

#[test]
fn the_reference_has_every_flag_of_the_server() {
    let reference = read("docs/reference.md");
    let help = String::from_utf8(run("synscope serve --help").stdout).unwrap();
    let flags = help.split_whitespace().map(|word| word.trim_matches([',', '.', '`', '\'', ':']));
    let flags: BTreeSet<_> = flags.filter(|word| word.starts_with("--") && *word != "--help").collect();
    assert!(flags.len() > 10, "{help}");
    let missing: Vec<_> = flags.iter().filter(|flag| !reference.contains(**flag)).collect();
    assert!(missing.is_empty(), "docs/reference.md does not know {missing:?}");
}

/// CONTRIBUTING.md walks through one probe; these are its steps.
#[test]
fn the_worked_example_of_a_probe_is_true() {
    let contributing = read("CONTRIBUTING.md");
    for (file, holds) in [
        ("ebpf/programs/src/synack.rs", "#[raw_tracepoint(tracepoint = \"tcp_retransmit_synack\")]"),
        ("ebpf/programs/src/kernel.rs", "static"),
        ("ebpf/programs/src/record.rs", "SYNACK_RETRANSMIT"),
        ("ebpf/tracer/src/layout.rs", "Probe::raw(\"synack\", \"tcp_retransmit_synack\""),
        ("ebpf/tracer/src/event.rs", "kind::SYNACK_RETRANSMIT => EventKind::SynAckRetransmitted"),
        ("server/src/event.rs", "Self::SynAckRetransmit => \"accept.retransmit\""),
        ("docs/reference.md", "| `accept.retransmit` |"),
    ] {
        assert!(contributing.contains(&format!("`{file}`")), "{file} is not among the steps");
        assert!(read(file).contains(holds), "{file} has no {holds}");
    }
    assert!(
        contributing.contains("`vm-tests/src/scenarios/`") && root().join("vm-tests/src/scenarios").is_dir()
    );
    // Its chores are chores.
    let justfile = read("justfile");
    let spans = contributing.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("just "));
    for chore in spans.map(|chore| chore.split(' ').next().unwrap()) {
        let is_there = justfile
            .lines()
            .any(|line| line.starts_with(&format!("{chore} ")) || line.starts_with(&format!("{chore}:")));
        assert!(is_there, "just {chore}");
    }
}

/// Every file of Rust below a directory, as one text.
fn sources(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(kind) if kind == "rs" => fs::read_to_string(path).unwrap(),
            _ => String::new(),
        })
        .collect()
}

/// The types of problems that a text names.
fn problems(text: &str) -> BTreeSet<&str> {
    let ends = |c: char| !c.is_ascii_lowercase() && c != '-';
    text.split("urn:synscope:").skip(1).filter_map(|rest| rest.split(ends).next()).collect()
}

#[test]
fn the_reference_has_every_type_of_problem_and_no_other() {
    let (code, reference) = (sources(&root().join("server/src")), read("docs/reference.md"));
    assert!(problems(&code).len() > 20, "{:?}", problems(&code));
    assert_eq!(problems(&code), problems(&reference));
}
