//! The kernels whose structures the fabricated sockets take: real ones, their BTF reduced to what is needed
//! (see `fixtures/make.sh`).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{LazyLock, Mutex, PoisonError},
};

use bpf_lab::btf::reduce::{Wanted, reduce};
use synscope_tracer::{Layout, btf::Btf};

/// A kernel of the fixtures, or the running one.
#[derive(Debug)]
pub struct Kernel {
    /// Its series.
    pub name: String,
    /// As a number, for what came later than it.
    pub version: (u8, u8),
    btf: Btf,
    sizes: bpf_lab::btf::Btf,
    layout: Layout,
    globals: BTreeMap<String, u32>,
    /// Offsets that were asked for: looking one up takes time.
    known: Mutex<HashMap<(&'static str, &'static str), usize>>,
}

macro_rules! fixture {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../fixtures/", $name, ".btf")).as_slice())),*]
    };
}

/// The global that says whether placeholders are called: see [`synscope_ebpf::placeholder`].
pub const HAS_PREEMPT_DISABLE: &str = "HAS_PREEMPT_DISABLE";

/// The oldest kernel that Synscope takes comes first, the newest last.
pub static KERNELS: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    let read = |(name, btf): (&str, &[u8])| Kernel::new(name, btf.to_vec()).expect("fixtures are whole");
    fixture!["5.10" "6.1" "6.18" "7.3"].map(read).into()
});

/// A kernel that does not exist: its offsets do not fit 16 bits, and of what came with 5.15 and 5.17 it has the
/// later only.
pub static STRETCHED: LazyLock<Kernel> = LazyLock::new(|| {
    const FAR: u32 = 0x1_0000;
    let newest = KERNELS.last().expect("there are fixtures");
    let btf = newest.sizes.stretched(FAR).to_bytes();
    let mut kernel = Kernel::new(&newest.name, btf).expect("it is made of a fixture");
    kernel.globals.insert("HAS_TASK_PT_REGS".into(), 0);
    kernel
});

impl Kernel {
    /// Takes a kernel by its series and its BTF.
    pub fn new(name: &str, btf: Vec<u8>) -> Result<Self, Box<dyn std::error::Error>> {
        let (major, minor) = name.split_once('.').ok_or("a series is two numbers")?;
        let version = (major.parse()?, minor.parse()?);
        let sizes = bpf_lab::btf::Btf::parse(&btf)?;
        let btf = Btf::parse(btf)?;
        let layout = Layout::resolve(&btf)?;
        let mut globals = globals_of(&layout);
        // Functions are not in the fixtures.
        globals.insert(HAS_PREEMPT_DISABLE.into(), u32::from(version >= (6, 11)));
        Ok(Self { name: name.into(), version, btf, sizes, layout, globals, known: Mutex::default() })
    }

    /// The running kernel, its BTF reduced as that of the fixtures: looking a member up takes much longer
    /// among all of a kernel's types.
    pub fn running() -> Result<Self, Box<dyn std::error::Error>> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let series = format!("{}.{}", numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
        let wanted = Wanted::parse(include_str!("../fixtures/wanted.toml"))?;
        let btf = bpf_lab::btf::Btf::parse(&fs::read("/sys/kernel/btf/vmlinux")?)?;
        Self::new(&series, reduce(&btf, &wanted))
    }

    /// What the tracer sets in the programs before it loads them.
    pub fn globals(&self) -> &BTreeMap<String, u32> {
        &self.globals
    }

    /// True when a global that says what the kernel has is set.
    pub fn has(&self, global: &str) -> bool {
        self.globals.get(global).is_some_and(|&value| value != 0)
    }

    /// True when the kernel has what the program hangs on.
    pub fn runs(&self, program: &str) -> bool {
        self.layout.present().any(|probe| probe.program == program)
    }

    /// Arguments of a tracepoint.
    pub fn tracepoint_args(&self, tracepoint: &str) -> Option<usize> {
        self.btf.tracepoint_args(tracepoint)
    }

    /// Where a member lies.
    ///
    /// # Panics
    ///
    /// When the fixture does not describe it: a mistake in the suite.
    pub fn offset(&self, structure: &'static str, member: &'static str) -> usize {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry((structure, member)).or_insert_with(|| {
            let offset = self.tracer_offset(structure, member);
            offset.unwrap_or_else(|error| panic!("{}: {error}", self.name))
        })
    }

    /// Where the tracer's reader finds a member.
    pub fn tracer_offset(&self, structure: &str, member: &str) -> Result<usize, synscope_tracer::btf::Error> {
        self.btf.offset_of(structure, member).map(|offset| offset as usize)
    }

    /// Every named member of every structure, with the offset that this package's reader gives it. The first
    /// structure of a name counts, as it does for the tracer.
    pub fn members(&self) -> Vec<(String, String, usize)> {
        let structures =
            self.sizes.types().map(|(_, it)| it).filter(|it| it.kind == bpf_lab::btf::kind::STRUCT);
        let mut members = Vec::new();
        for structure in structures.filter(|it| !it.name.is_empty()) {
            let layout = self.sizes.layout(&structure.name);
            let named = layout.into_iter().flat_map(|layout| layout.members);
            let named = named.filter(|(member, _, is_whole)| !member.is_empty() && *is_whole > 0);
            members.extend(named.map(|(member, at, _)| (structure.name.clone(), member.to_owned(), at)));
        }
        members
    }

    /// How large a structure is.
    ///
    /// # Panics
    ///
    /// When the fixture does not describe it: a mistake in the suite.
    pub fn size(&self, structure: &str) -> usize {
        let layout = self.sizes.layout(structure);
        layout.unwrap_or_else(|| panic!("{} has no {structure}", self.name)).size
    }
}

/// Reads the globals off the tracer's layout. It offers no way to list them, but it can be printed: offsets
/// as pairs of name and value, and what the kernel has as `name: true`, of which the global is the name in
/// capitals.
fn globals_of(layout: &Layout) -> BTreeMap<String, u32> {
    let text = format!("{layout:?}");
    let pairs = text.split("(\"OFF_").skip(1).filter_map(|pair| {
        let (name, rest) = pair.split_once("\", ")?;
        Some((format!("OFF_{name}"), rest.split_once(')')?.0.parse().ok()?))
    });
    let flags = text.split([',', '{']).filter_map(|field| {
        let (name, value) = field.trim().split_once(": ")?;
        Some((name.to_uppercase(), u32::from(value.parse::<bool>().ok()?)))
    });
    let is_of_kernel = |(name, _): &(String, u32)| name.contains("_HAS_") || name.starts_with("HAS_");
    pairs.chain(flags.filter(is_of_kernel)).collect()
}
