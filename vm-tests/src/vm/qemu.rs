//! QEMU's command line, and which accelerator it really has.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, setpriority_process};

use super::arch::Arch;
use super::protocol::{EMULATED, PROBE, RESULTS};

/// A kernel under KVM says hello within a second. A `/dev/kvm` may exist and hang.
const KVM_LIMIT: Duration = Duration::from_secs(5);
/// A killed QEMU that does not go away is left behind rather than waited for.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Each trace takes some 20 MB of kernel memory, and a dozen may run at once.
const MEMORY: &str = "1024";

/// The niceness of a machine that has stood back: it gets a third of what another gets that wants the same processor.
const STOOD_BACK: i32 = 5;

/// A longer line is cut, and its parts are no records.
const LINE_LIMIT: u64 = 64 << 10;
/// When so many lines wait, QEMU waits as well.
const LINES_BUFFERED: usize = 64;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// Translation, slower and always there.
    Tcg,
}

/// What to boot.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The architecture.
    pub arch: &'static Arch,
    /// The kernel image.
    pub kernel: &'a Path,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// The file for the kernel's console.
    pub console: &'a Path,
    /// How many processors it begins with under emulation; by default one.
    pub processors: Option<usize>,
    /// More words for the kernel's command line.
    pub words: &'a str,
}

/// A running QEMU whose standard output is the guest's results.
pub struct Qemu(Child);

impl Qemu {
    /// Starts it.
    pub fn start(boot: &Boot<'_>, accelerator: Accelerator) -> Result<Self> {
        let arch = boot.arch;
        // QEMU 7.2 translates a program anew wherever it lies, which would be elsewhere in each process. An emulated
        // processor speculates about nothing, and what guards against that costs as many instructions as elsewhere. Without
        // its certificates a kernel takes modules as they are, where it would otherwise compute with large numbers for each.
        // The other initcall tests how much chance there is in the clock, and ciphers test themselves. With timers finer than
        // its tick, the scheduler of 7.1 sets one at each switch of tasks, and each is an emulated device's.
        let (processors, running): (&[&str], _) = match accelerator {
            Accelerator::Kvm => (&["-accel", "kvm", "-smp", "2", "-cpu", "host"], "maxcpus=2".to_owned()),
            Accelerator::Tcg => {
                let (number, words) = (boot.processors.unwrap_or(1), arch.emulated_words);
                let without = "load_system_certificate_list,jent_mod_init";
                let line = format!(
                    "maxcpus={number} norandmaps mitigations=off highres=off cryptomgr.notests \
                     initcall_blacklist={without} {words} {EMULATED}"
                );
                (arch.emulated, line)
            }
        };
        let there_are = boot.processors.map(|number| ["-smp".to_owned(), number.to_string()]);
        let (results_port, results) = arch.results;
        // After an oops what holds a lock holds it for good: better to end at once than when time is up. Pages that the kernel
        // clears for safety's sake are cleared by emulated instructions.
        let line = format!(
            "console={} loglevel=5 panic=-1 oops=panic init_on_alloc=0 {running} {RESULTS}{results} {}",
            arch.console, boot.words
        );
        // A comma separates QEMU's options, and two stand for one.
        let console = boot.console.display().to_string().replace(',', ",,");
        let child = Command::new(arch.qemu)
            .args(arch.machine)
            .args(processors)
            .args(there_are.iter().flatten())
            .args(["-m", MEMORY, "-nodefaults", "-no-reboot", "-display", "none"])
            .arg("-kernel")
            .arg(boot.kernel)
            .arg("-initrd")
            .arg(boot.initramfs)
            .args(["-append", line.trim_end()])
            .args(["-chardev", &format!("file,id=console,path={console}"), "-serial", "chardev:console"])
            .args(["-chardev", "stdio,id=results,signal=off"])
            .args(results_port)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(boot.console.with_extension("qemu"))?)
            .spawn()
            .with_context(|| format!("starting {} (Debian: {})", arch.qemu, arch.qemu_package))?;
        Ok(Self(child))
    }

    /// The guest's lines, from a thread that reads them; it ends with the guest.
    pub fn lines(&mut self) -> Result<mpsc::Receiver<String>> {
        let stdout = self.0.stdout.take().context("the lines are read already")?;
        let (sender, receiver) = mpsc::sync_channel(LINES_BUFFERED);
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            while stdout.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).is_ok_and(|it| it > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(receiver)
    }

    /// Lets every process of the host go first that has not stood back, such as a machine that still boots.
    pub fn stand_back(&self) {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).into_iter().flatten().flatten();
        let ids = tasks.filter_map(|task| Pid::from_raw(task.file_name().to_str()?.parse().ok()?));
        for id in ids {
            // A thread may have ended, and it is a courtesy only.
            let _ = setpriority_process(Some(id), STOOD_BACK);
        }
    }

    /// Ends it, if the guest has not. Returns the processor time that it took, which a busy host changes less than the time
    /// that passed.
    pub fn stop(mut self) -> Option<Duration> {
        // Also of one that has ended, as long as nobody has waited for it.
        let took = processor_time(self.0.id());
        // It may have ended by itself.
        let _ = self.0.kill();
        let deadline = Instant::now() + KILL_LIMIT;
        while self.0.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        took
    }
}

/// Of all threads of a process, in user space and in the kernel.
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>().ok()?;
    Some(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?)
}

/// KVM if this very guest says hello under it within [`KVM_LIMIT`], else TCG.
pub fn probe(boot: &Boot<'_>) -> Accelerator {
    if !Path::new("/dev/kvm").exists() {
        return Accelerator::Tcg;
    }
    match says_hello(&Boot { words: PROBE, ..*boot }) {
        Ok(()) => Accelerator::Kvm,
        Err(error) => {
            eprintln!("KVM does not work here ({error:#}): emulating");
            Accelerator::Tcg
        }
    }
}

fn says_hello(boot: &Boot<'_>) -> Result<()> {
    let mut qemu = Qemu::start(boot, Accelerator::Kvm)?;
    let lines = qemu.lines()?;
    let first = lines.recv_timeout(KVM_LIMIT);
    qemu.stop();
    match first {
        Ok(line) if line.contains("hello") => Ok(()),
        Ok(line) => bail!("the guest said {line:?}"),
        Err(mpsc::RecvTimeoutError::Timeout) => bail!("no guest within {KVM_LIMIT:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => bail!("QEMU ended at once"),
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}
