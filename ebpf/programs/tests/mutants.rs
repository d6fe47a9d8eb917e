//! Whether the suite notices mistakes: slightly wrong versions of the shipped programs, each played against
//! the cases that reach the mistake, and then against random histories. What execution does not notice is
//! shown to PREVAIL. `cargo test` takes a small sample; `just bytecode-mutants` sets `MUTANTS` to more.

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use bpf_lab::{
    Insn, Object,
    mutate::{Change, Mutant, sample},
};
use bytecode_suite::{
    case::Case,
    cases,
    fixtures::{KERNELS, Kernel, STRETCHED},
    histories::history,
    modelled,
    outcome::Outcome,
    reference::Reference,
    verifier,
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use synscope_ebpf::{OBJECT, record::RecordWithStacks};

const SEED: u64 = 0x5359_4e5f_5345_4e54;
const SAMPLE: usize = 24;
/// From so many mutants on, 95 % must be noticed. In a sample one more survivor is 4 %, and chance.
const WHOLE_RUN: usize = 300;
/// Random histories that a mutant has to pass.
const HISTORIES: usize = 150;

/// Mutants that nobody can notice, whatever the case: the mistake, and why.
const EQUIVALENT: &[(&str, &str)] = &[
    ("`r2 = 16` → `r2 = 15`", "the last byte of a thread's name is zero"),
    ("`r2 = 0` → `r2 = -1`", "what memset fills here, a helper fills again"),
    ("`r5 = 0` → `r5 = 1`", "for a thread's name that could not be read; it can always be read"),
    ("`r1 |= r2` → `r1 ^= r2`", "bytes that are put side by side share no bit"),
    ("`r2 &= 64` → `goto +0`", "what stands beside the bit is masked by the next comparison"),
    ("`*(u64 *)(r6 +0) = r1` → `*(u64 *)(r6 +8) = r1`", "the read that failed has cleared the length"),
    ("`r2 = *(u64 *)(r1 +56)` → `r2 = *(u8 *)(r1 +56)`", "the counts of nobody's attempt are zero"),
    ("`r2 = *(u64 *)(r1 +40)` → `r2 = *(u64 *)(r1 +32)`", "nobody's attempt is zero here and there"),
    ("`call pc+1654` → `goto +0`", "what memset clears here, a helper fills"),
    ("`r7 &= 1` → `goto +0`", "it is 0 or 1"),
    ("`if r1 > 10 goto +4` → `if r1 > 11 goto +4`", "the next bit of the set of errors is not set either"),
    ("`if r3 == 0 goto +1` → `if r3 == 0 goto +2`", "it leaves out the addition of 0"),
    ("`if r0 == 0 goto +29` → `if r0 == 0 goto +28`", "it leads to a comparison that fails"),
    ("`r5 = 32` → `r5 = 31`", "above the last bucket all durations are one"),
    ("`if r1 == 0 goto +1` → `if r1 >= 0 goto +1`", "likewise: what is shifted down decides below 2^32 only"),
    ("`*(u64 *)(r10 -144) = r9` → `*(u64 *)(r10 -136) = r9`", "a helper has put the same socket there"),
];

/// Mutants that the suite does not notice, and why that is bearable: the mistake, and why.
const TOLERATED: &[(&str, &str)] = &[
    ("`*(u32 *)(r10 -144) = r1` → `*(u16 *)(r10 -144) = r1`", "the key's upper half was zero before"),
    ("`*(u32 *)(r10 -144) = r1` → `*(u32 *)(r10 -140) = r1`", "the key was zero before"),
    ("`*(u32 *)(r10 -16) = r7` → `*(u16 *)(r10 -16) = r7`", "the key's upper half was zero before"),
];

/// A case on a kernel: what comes of it, and what it reaches.
struct Trial {
    kernel: &'static Kernel,
    case: Case,
    expected: Outcome,
    reached: bpf_lab::Coverage,
}

fn trials(object: &Object) -> Vec<Trial> {
    let mut runner = TestRunner::deterministic();
    let histories = (0..HISTORIES).map(|_| history().new_tree(&mut runner).unwrap().current());
    // The oldest and the newest kernel: what differs between kernels differs between these.
    let kernels = [KERNELS.last().unwrap(), &KERNELS[0]];
    let trial = |case: Case, kernel: &'static Kernel| {
        let (outcome, reached) = modelled::play(kernel, object, &case);
        outcome.unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
        Trial { kernel, expected: Reference::play(kernel, &case), case, reached }
    };
    let cases: Vec<Case> = cases::all().into_iter().chain(histories).collect();
    let everything =
        kernels.into_iter().flat_map(|kernel| cases.iter().map(move |case| (case.clone(), kernel)));
    let far = cases.iter().rev().take(HISTORIES).map(|case| (case.clone(), &*STRETCHED));
    everything.chain(far).map(|(case, kernel)| trial(case, kernel)).collect()
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A trial came out differently.
    Executed,
    /// PREVAIL refuses it.
    Refused,
    /// Nobody could notice.
    Equivalent,
    Survived,
}

fn fate(mutant: &Mutant, object: &Object, trials: &[Trial]) -> Fate {
    let wrong = mutant.apply(object);
    let mut reaching = trials.iter().filter(|trial| trial.reached.reached(&mutant.program, mutant.slot));
    let is_noticed = |trial: &Trial| match modelled::play(trial.kernel, &wrong, &trial.case).0 {
        Ok(outcome) => outcome.difference(&trial.expected).is_some(),
        Err(_) => true,
    };
    let text = mutant.to_string();
    if reaching.any(is_noticed) {
        Fate::Executed
    } else if is_refused(mutant, object) {
        Fate::Refused
    } else if mutant.is_of_no_use(object)
        || leads_elsewhere_for_nobody(mutant, trials)
        || EQUIVALENT.iter().any(|(what, _)| text.ends_with(what))
    {
        Fate::Equivalent
    } else {
        Fate::Survived
    }
}

/// True when the mistake is where a branch leads that no trial takes. Such branches ask whether an array has the
/// element that it always has, or whether `memset` was called for nothing: the verifier wants them.
fn leads_elsewhere_for_nobody(mutant: &Mutant, trials: &[Trial]) -> bool {
    let Change::Insn(insn) = &mutant.change else { return false };
    let is_target_only = Insn { off: mutant.original.off, ..*insn } == mutant.original;
    let is_taken = |trial: &Trial| trial.reached.branch(&mutant.program, mutant.slot).1 > 0;
    mutant.original.is_branch() && is_target_only && !trials.iter().any(is_taken)
}

/// True when PREVAIL takes the right program and not the wrong one.
fn is_refused(mutant: &Mutant, object: &Object) -> bool {
    let room = size_of::<RecordWithStacks>();
    let complaints = |elf: &[u8]| verifier::verify_one(elf, room, &mutant.program);
    mutant.patch(object, OBJECT).is_some_and(|elf| complaints(&elf) != complaints(OBJECT))
}

#[test]
fn mistakes_in_the_programs_are_noticed() {
    let count = env::var("MUTANTS").map_or(SAMPLE, |count| count.parse().expect("MUTANTS is a number"));
    let object = Object::parse(OBJECT).unwrap();
    let mutants = sample(&object, SEED, count);
    let trials = trials(&object);
    let next = AtomicUsize::new(0);
    let judge = || {
        let mut fates = Vec::new();
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
            fates.push((mutant, fate(mutant, &object, &trials)));
        }
        fates
    };
    let fates: Vec<(&Mutant, Fate)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(judge)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    report(&fates);
}

fn report(fates: &[(&Mutant, Fate)]) {
    let count = |wanted: Fate| fates.iter().filter(|(_, fate)| *fate == wanted).count();
    let (executed, refused) = (count(Fate::Executed), count(Fate::Refused));
    let (equivalent, survived) = (count(Fate::Equivalent), count(Fate::Survived));
    let all = fates.len();
    println!(
        "{all} mutants: {executed} killed by execution, {refused} refused by PREVAIL, {survived} survived,"
    );
    println!("{equivalent} equivalent to the right program");
    for (mutant, _) in fates.iter().filter(|(_, fate)| *fate == Fate::Survived) {
        let text = mutant.to_string();
        let reason = TOLERATED.iter().find(|(what, _)| text.ends_with(what));
        println!("  survived: {text}: {}", reason.map_or("nobody has looked at it yet", |(_, why)| *why));
    }
    let noticed = (executed + refused) * 100;
    let different = all - equivalent;
    let wanted = if all >= WHOLE_RUN { 95 } else { 80 };
    assert!(noticed >= wanted * different, "{} of {different} mutants were noticed", executed + refused);
}
