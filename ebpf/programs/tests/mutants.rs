//! Whether the suite notices mistakes: slightly wrong versions of the shipped programs, each played against
//! the cases that reach the mistake, and then against random histories. What execution does not notice is
//! shown to PREVAIL. `cargo test` takes a small sample; `just bytecode-mutants` sets `MUTANTS` to more.

use std::{
    env,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
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

static REASONS: LazyLock<toml::Table> = LazyLock::new(|| include_str!("mutants.toml").parse().unwrap());

/// The reason that `mutants.toml` gives for a mutant's survival, in the list of that name.
fn reason(list: &str, mutant: &Mutant) -> Option<&'static str> {
    let text = mutant.to_string();
    let is_it = |one: &toml::Value| one.as_str() == Some(&text);
    let list = REASONS[list].as_table().unwrap();
    list.iter()
        .find(|(_, mutants)| mutants.as_array().unwrap().iter().any(is_it))
        .map(|(why, _)| why.as_str())
}

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
    if reaching.any(is_noticed) {
        Fate::Executed
    } else if is_refused(mutant, object) {
        Fate::Refused
    } else if mutant.is_of_no_use(object)
        || mutant.asks_the_same()
        || leads_elsewhere_for_nobody(mutant, trials)
        || reason("equivalent", mutant).is_some()
    {
        Fate::Equivalent
    } else {
        Fate::Survived
    }
}

/// True when the mistake is where a branch leads that no trial takes. Such branches ask whether an array has the
/// element that it always has: the verifier wants them.
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
        let reason = reason("tolerated", mutant);
        println!("  survived: {mutant}: {}", reason.unwrap_or("nobody has looked at it yet"));
    }
    let noticed = (executed + refused) * 100;
    let different = all - equivalent;
    let wanted = if all >= WHOLE_RUN { 95 } else { 80 };
    assert!(noticed >= wanted * different, "{} of {different} mutants were noticed", executed + refused);
}
