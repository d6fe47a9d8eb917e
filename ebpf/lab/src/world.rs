//! What surrounds a program while it runs: the clock, the processor, the current task, and bad luck.

/// The current task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Task {
    /// Thread group id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Thread name.
    pub comm: [u8; 16],
    /// Cgroup v2 id.
    pub cgroup: u64,
    /// Address of its `struct task_struct`.
    pub address: u64,
    /// Address of the `struct pt_regs` with which it entered the kernel.
    pub registers: u64,
}

/// A mapping of code in the current process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// Where in its file it begins.
    pub offset: u64,
    /// The file's build id, if it has one.
    pub build_id: Option<[u8; 20]>,
}

/// The state of the modelled kernel that a test sets between two runs.
#[derive(Clone, Debug)]
pub struct World {
    /// Nanoseconds since boot.
    pub now_ns: u64,
    /// The processor that runs the program.
    pub cpu: u32,
    /// The current task.
    pub task: Task,
    /// Kernel stack, innermost first, or the errno with which walking it fails.
    pub kernel_stack: Result<Vec<u64>, i32>,
    /// User stack, likewise.
    pub user_stack: Result<Vec<u64>, i32>,
    /// What the user stack's frames are mapped from.
    pub mappings: Vec<Mapping>,
    /// The read of foreign memory that fails: 0 is the next one. Counts down at every read.
    pub failing_read: Option<usize>,
    /// Reads of foreign memory so far.
    pub reads: usize,
    /// Helpers that the last run called, in order.
    pub called: Vec<i32>,
    /// Records so far that woke the reader of their ring.
    pub wakes: usize,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now_ns: 0,
            cpu: 0,
            task: Task::default(),
            kernel_stack: Ok(Vec::new()),
            user_stack: Ok(Vec::new()),
            mappings: Vec::new(),
            failing_read: None,
            reads: 0,
            called: Vec::new(),
            wakes: 0,
        }
    }
}

impl World {
    /// Counts a read of foreign memory; true when it is the one that fails.
    pub(crate) fn read_fails(&mut self) -> bool {
        self.reads += 1;
        match &mut self.failing_read {
            Some(0) => {
                self.failing_read = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}
