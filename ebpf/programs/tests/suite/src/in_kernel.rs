//! Layer 4 as a whole: what the running kernel is asked, wherever that is done. Needs root.

use std::{fmt::Write as _, fs, ops::Range};

use bpf_lab::Object;
use synscope_ebpf::OBJECT;
use synscope_tracer::{Layout, btf::Btf};

use crate::{
    cases,
    live::{Bench, Wrong},
};

/// Fewer would mean that most cases are taken for unfit.
const FEWEST_PLAYED: usize = 80;
/// Of the bits that are flipped, at least as many must be noticed.
const FEWEST_REFUSED: usize = 20;
/// The program whose bits are flipped.
const FLIPPED: &str = "retransmit";
/// Complaints that are shown in full.
const SHOWN: usize = 5;

/// Plays every case that is fit for it, and says how many those were.
pub fn every_case(bench: &mut Bench) -> Result<String, Wrong> {
    let (mut played, mut unfit, mut wrong) = (0, 0, Vec::new());
    for case in cases::all() {
        if bench.unfit(&case).is_some() {
            unfit += 1;
            continue;
        }
        played += 1;
        if let Err(reason) = bench.judge(&case) {
            wrong.push(format!("{}: {reason}", case.name));
        }
    }
    if !wrong.is_empty() {
        let shown = &wrong[..wrong.len().min(SHOWN)];
        return Err(format!("{} of {played} cases:\n{}", wrong.len(), shown.join("\n\n")).into());
    }
    if played < FEWEST_PLAYED {
        return Err(format!("only {played} cases were fit to be played").into());
    }
    for (program, walked) in &bench.verified {
        let most = ceiling(program).ok_or_else(|| format!("{program} has no ceiling"))?;
        if *walked > most {
            return Err(format!("{program}: the verifier walked through {walked}, beyond {most}").into());
        }
    }
    let mut summary = format!("{}: {played} cases played, {unfit} need the model", bench.kernel());
    write!(summary, "; instructions that the verifier walked through: {:?}", bench.verified)?;
    Ok(summary)
}

/// How many instructions a kernel's verifier may walk through for a program, by `ceilings.toml`.
pub fn ceiling(program: &str) -> Option<u32> {
    let ceilings: toml::Table = include_str!("../../ceilings.toml").parse().ok()?;
    u32::try_from(ceilings.get("programs")?.get(program)?.get("verified")?.as_integer()?).ok()
}

/// Whether programs that are loaded here disable preemption while they do anything.
pub fn holds_off_other_tasks() -> Result<bool, Wrong> {
    let layout = Layout::resolve(&Btf::parse(fs::read("/sys/kernel/btf/vmlinux")?)?)?;
    Ok(layout.object(true).1)
}

/// Offers the kernel an object that is cut off or has a bit flipped. Each must be refused with words, or be taken, and
/// leave nothing loaded.
pub fn broken_objects(bench: &Bench) -> Result<(), Wrong> {
    let before = loaded()?;
    let leaves_nothing = |what: &str| match loaded()? {
        now if now == before => Ok::<_, Wrong>(()),
        now => Err(format!("{what}: {now} programs and maps are loaded, {before} before").into()),
    };
    bench.try_load(OBJECT, |_| true)?;
    leaves_nothing("the whole object was dropped")?;
    for part in 0..32 {
        let len = OBJECT.len() * part / 32;
        refused_with_words(bench.try_load(&OBJECT[..len], |_| true))?
            .ok_or_else(|| format!("{len} bytes were taken for the whole"))?;
        leaves_nothing("a part was refused")?;
    }
    let text = program_text(FLIPPED)?;
    let mut refused = 0;
    for at in (0..text.len()).step_by(37) {
        let mut object = OBJECT.to_vec();
        object[text.start + at] ^= 1 << (at % 8);
        refused +=
            usize::from(refused_with_words(bench.try_load(&object, |program| program == FLIPPED))?.is_some());
        leaves_nothing(&format!("a bit was flipped at {at}"))?;
    }
    if refused < FEWEST_REFUSED {
        return Err(format!("only {refused} flipped bits were refused").into());
    }
    Ok(())
}

/// With the offset of another kernel, nothing is told rather than rubbish.
pub fn wrong_offsets(bench: &mut Bench) -> Result<(), Wrong> {
    let is_meant = |name: &str| name == "a quick connect is counted and not told";
    let case = cases::all().into_iter().find(|case| is_meant(&case.name)).ok_or("the case is gone")?;
    if bench.connect_with(&case, "OFF_NET", 0)?.started != 1 {
        return Err("an offset that is not read mattered".into());
    }
    for wrong in [0, 1, 4000, i32::MAX.cast_unsigned()] {
        let counters = bench.connect_with(&case, "OFF_PROTOCOL", wrong)?;
        if counters.started != 0 {
            return Err(format!("the protocol was read at {wrong}: {counters:?}").into());
        }
    }
    Ok(())
}

/// What was said, if it was refused.
fn refused_with_words(answer: Result<(), Wrong>) -> Result<Option<String>, Wrong> {
    match answer.map_err(|error| error.to_string()) {
        Ok(()) => Ok(None),
        Err(words) if words.is_empty() => Err("refused without a word".into()),
        Err(words) => Ok(Some(words)),
    }
}

/// Programs and maps that this process has loaded.
fn loaded() -> Result<usize, Wrong> {
    let targets = fs::read_dir("/proc/self/fd")?.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().contains("bpf-")).count())
}

/// Where a program's instructions lie in the object.
fn program_text(name: &str) -> Result<Range<usize>, Wrong> {
    let object = Object::parse(OBJECT)?;
    let program = object.program(name).ok_or("no such program")?;
    let own = program.functions.get(1).map_or(program.insns.len(), |(slot, _)| *slot);
    let at = program.file_offset(0).ok_or("not in the file")?;
    Ok(at..at + own * 8)
}
