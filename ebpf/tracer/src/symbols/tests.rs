use std::{
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::process::Processes;

/// A function whose place in the source is known. What it does must not be optimised away or shared.
#[inline(never)]
fn landmark() -> u32 {
    std::hint::black_box(line!())
}

/// An address behind the first bytes of [`landmark`], as if it had called something.
const PAST_START: u64 = 5;

fn address_of_landmark() -> u64 {
    landmark as fn() -> u32 as usize as u64 + PAST_START
}

/// Any process but this one.
struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    /// Kept open: it says more when it ends.
    _output: ChildStdout,
    process: Arc<Process>,
}

impl Helper {
    /// Runs a copy of this test binary and takes its snapshot.
    fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(["--exact", "symbols::tests::wait_as_helper", "--ignored", "--nocapture"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A child that another test has just forked may still hold the copy open for writing.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut child = loop {
            match command.spawn() {
                Err(busy) if busy.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                spawned => break spawned.unwrap(),
            }
        };
        let (input, mut output) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("waiting") {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            said.extend(byte);
        }
        let process = Processes::numbering_alike().at(child.id(), u64::MAX, None).unwrap();
        Self { child, input, _output: output, process }
    }

    /// Where the landmark lies in that process.
    fn landmark(&self) -> u64 {
        let own = Processes::numbering_alike().at(std::process::id(), u64::MAX, None).unwrap();
        let address = address_of_landmark();
        let offset = own.maps(&[]).find(address).unwrap().file_offset(address);
        let maps = self.process.maps(&[]);
        let program = self.process.executable.as_ref().unwrap();
        let mut code = maps.iter().filter(|mapping| &*mapping.name == program);
        code.find_map(|mapping| {
            let address = mapping.start + offset.checked_sub(mapping.offset)?;
            (address < mapping.end).then_some(address)
        })
        .unwrap()
    }

    fn end(&mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }

    fn frames(&self) -> Vec<Frame> {
        Symbols::new().user(Some(&self.process), None, &[self.landmark()])
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Not a test: what [`Helper`] runs.
#[test]
#[ignore = "a process for other tests"]
fn wait_as_helper() {
    println!("waiting");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn copy_of_self(directory: &Path, mode: u32) -> PathBuf {
    let copy = directory.join("copy");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
    copy
}

#[track_caller]
fn assert_function(frames: &[Frame]) {
    let [frame] = frames else { panic!("{frames:?}") };
    assert_eq!(frame.function.as_deref(), Some("synscope_tracer::symbols::tests::landmark"));
    assert_eq!(frame.offset, Some(PAST_START));
    assert!(frame.module.is_some() && frame.module_offset.is_some() && !frame.inlined, "{frame:?}");
}

#[track_caller]
fn assert_line(frames: &[Frame]) {
    assert_function(frames);
    assert!(frames[0].file.as_ref().unwrap().ends_with("src/symbols/tests.rs"), "{frames:?}");
    // The function begins on the line above the one that it gives.
    assert!((landmark() - 1..=landmark()).contains(&frames[0].line.unwrap()), "{frames:?}");
}

#[track_caller]
fn assert_module_only(frames: &[Frame], module: &str) {
    let [frame] = frames else { panic!("{frames:?}") };
    let expected = Frame {
        module: Some(module.into()),
        module_offset: frame.module_offset,
        ..Frame::bare(frame.address)
    };
    assert_eq!(*frame, expected);
    assert!(frame.module_offset.is_some());
}

#[test]
fn this_process_has_functions_with_lines() {
    let process = Processes::numbering_alike().at(std::process::id(), u64::MAX, None).unwrap();
    let mut symbols = Symbols::new();
    let address = address_of_landmark();
    let frames = symbols.user(Some(&process), None, &[address, 0, address, u64::MAX]);
    assert_line(&frames[..1]);
    let expected = [frames[0].clone(), Frame::bare(0), frames[0].clone(), Frame::bare(u64::MAX)];
    assert_eq!(frames, expected);
}

#[test]
fn without_a_process_there_are_addresses() {
    assert_eq!(Symbols::new().user(None, None, &[1, 2]), [Frame::bare(1), Frame::bare(2)]);
}

#[test]
fn code_is_named_after_the_process_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    // Whoever may write to a file, it is read: in place or as a copy.
    for mode in [0o755, 0o777] {
        let mut helper = Helper::start(&copy_of_self(directory.path(), mode));
        assert_line(&helper.frames());
        helper.end();
        assert_line(&helper.frames());
    }
}

#[test]
fn another_file_of_the_same_path_is_not_asked() {
    let directory = tempfile::tempdir().unwrap();
    let program = copy_of_self(directory.path(), 0o755);
    let path = program.to_str().unwrap();
    let mut helper = Helper::start(&program);
    helper.end();
    fs::rename(&program, directory.path().join("before")).unwrap();
    assert_module_only(&helper.frames(), path);
    copy_of_self(directory.path(), 0o755);
    assert_module_only(&helper.frames(), path);
    fs::remove_file(&program).unwrap();
    nix::unistd::mkfifo(&program, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_module_only(&helper.frames(), path);
}

#[test]
fn a_removed_file_is_read_while_the_process_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let program = copy_of_self(directory.path(), 0o755);
    let helper = Helper::start(&program);
    fs::remove_file(&program).unwrap();
    // The kernel gives away mapped files only to the privileged.
    if nix::unistd::geteuid().is_root() {
        assert_line(&helper.frames());
    } else {
        assert_module_only(&helper.frames(), program.to_str().unwrap());
    }
}

#[test]
fn a_stripped_program_shows_module_and_offset() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (process, mapping) = loop {
        let process = Processes::numbering_alike().at(child.id(), u64::MAX, None).unwrap();
        let program = process.executable.clone().unwrap();
        let own = process.maps(&[]).iter().find(|mapping| *mapping.name == *program).cloned();
        match own {
            Some(mapping) if process.comm == "sleep" => break (process, mapping),
            _ => assert!(Instant::now() < deadline, "sleep does not start"),
        }
    };
    let address = mapping.start + 0x100;
    let frames = Symbols::new().user(Some(&process), None, &[address]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_module_only(&frames, process.executable.as_ref().unwrap().to_str().unwrap());
    assert_eq!(frames[0].module_offset, Some(mapping.offset + 0x100));
}

#[test]
fn code_without_a_file_says_what_it_is() {
    let process = Processes::numbering_alike().at(std::process::id(), u64::MAX, None).unwrap();
    for (name, module, offset) in
        [("[vdso]", "[vdso]", Some(0x10)), ("", "[anonymous]", None), ("[anon:code]", "[anon:code]", None)]
    {
        let mapping = Mapping {
            start: 0x1000,
            end: 0x2000,
            offset: 0,
            device: (0, 0),
            inode: 0,
            name: Path::new(name).into(),
        };
        let expected = Frame { module: Some(module.into()), module_offset: offset, ..Frame::bare(0x1010) };
        assert_eq!(Symbols::new().in_mapping(&process, &mapping, 0x1010), [expected]);
    }
}

#[expect(clippy::inline_always, reason = "it is to be inlined in test builds too")]
#[inline(always)]
fn put_in(value: u32) -> u32 {
    std::hint::black_box(value.wrapping_mul(7)) ^ std::hint::black_box(value)
}

#[inline(never)]
fn surrounding() -> u32 {
    put_in(std::hint::black_box(3))
}

#[test]
fn inlined_functions_are_frames_of_their_own() {
    let process = Processes::numbering_alike().at(std::process::id(), u64::MAX, None).unwrap();
    let start = surrounding as fn() -> u32 as usize as u64;
    let mut symbols = Symbols::new();
    let mut stacks = (1..64).map(|offset| symbols.user(Some(&process), None, &[start + offset]));
    let stack = stacks.find(|frames| frames.iter().any(|frame| frame.inlined)).unwrap();
    let names: Vec<_> =
        stack.iter().filter_map(|frame| frame.function.as_deref()?.rsplit("::").next()).collect();
    assert!(names.ends_with(&["put_in", "surrounding"]), "{names:?}");
    assert!(stack.iter().rev().skip(1).all(|frame| frame.inlined && frame.offset.is_none()), "{stack:?}");
    assert!(!stack.last().unwrap().inlined);
    assert!(stack.iter().all(|frame| frame.address == stack[0].address && frame.module_offset.is_some()));
}

const SHF_COMPRESSED: u64 = 0x800;

/// Makes the copy's debug information look compressed, by a method that nobody knows.
fn break_debug_info(program: &Path, unpacked: u64) {
    let mut file = fs::read(program).unwrap();
    let word = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let half = |file: &[u8], at: usize| usize::from(u16::from_le_bytes(file[at..at + 2].try_into().unwrap()));
    let table = usize::try_from(word(&file, 40)).unwrap();
    let section = |index: usize| table + index * half(&file, 58);
    let names = usize::try_from(word(&file, section(half(&file, 62)) + 24)).unwrap();
    let is_debug_info = |&at: &usize| {
        let name = names + u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        file[name..].starts_with(b".debug_info\0")
    };
    let header = (0..half(&file, 60)).map(section).find(is_debug_info).unwrap();
    let data = usize::try_from(word(&file, header + 24)).unwrap();
    file[header + 8..header + 16].copy_from_slice(&SHF_COMPRESSED.to_le_bytes());
    file[data..data + 8].copy_from_slice(&99_u64.to_le_bytes());
    file[data + 8..data + 16].copy_from_slice(&unpacked.to_le_bytes());
    fs::write(program, file).unwrap();
}

#[test]
fn broken_debug_information_does_not_hide_the_symbols() {
    let directory = tempfile::tempdir().unwrap();
    for (mode, unpacked) in [(0o755, 4096), (0o777, 4096), (0o777, u64::MAX)] {
        let program = copy_of_self(directory.path(), mode);
        break_debug_info(&program, unpacked);
        let frames = Helper::start(&program).frames();
        assert_function(&frames);
        assert_eq!(frames[0].line, None, "mode {mode:o}: it was not broken");
    }
}

#[test]
fn debug_information_of_strangers_is_looked_at_first() {
    let directory = tempfile::tempdir().unwrap();
    let is_plain = |path: &Path| elf::has_plain_debug_info(&fs::File::open(path).unwrap());
    let program = copy_of_self(directory.path(), 0o755);
    assert!(is_plain(&program));
    break_debug_info(&program, 1 << 40);
    assert!(!is_plain(&program));
    // Wherever it ends, reading it ends as well.
    let whole = fs::read(&program).unwrap();
    for len in (0..200).chain([whole.len() / 2, whole.len() - 1]) {
        fs::write(&program, &whole[..len]).unwrap();
        assert!(!is_plain(&program), "{len} bytes");
    }
}
