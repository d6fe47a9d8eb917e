use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};

use super::*;
use crate::process::{Mapping, Processes};

const NOBODYS: BuildId = BuildId([0xee; 20]);

/// A function of which the address is known.
#[inline(never)]
fn landmark() -> u32 {
    std::hint::black_box(line!())
}

fn landmark_address() -> u64 {
    landmark as fn() -> u32 as usize as u64 + 5
}

/// This process's mapping of an address, and the build id of its file.
fn mapped(address: u64) -> (Mapping, BuildId) {
    let own = Processes::numbering_alike().at(std::process::id(), u64::MAX, None).unwrap();
    let mapping = own.maps(&[]).find(address).unwrap().clone();
    let id = Headers::read(&file::at(&mapping.name).unwrap().file).build_id.unwrap_or(NOBODYS);
    (mapping, id)
}

fn executable() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Device and inode of a file as the kernel tells them.
fn numbers(path: &Path) -> ((u32, u32), u64) {
    let file = fs::metadata(path).unwrap();
    let number = |number: u64| u32::try_from(number).unwrap();
    ((number(major(file.dev())), number(minor(file.dev()))), file.ino())
}

/// Where this process's code lies: startcode and endcode of proc_pid_stat(5), counted from the first after the name.
fn own_code() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[23].parse().unwrap(), fields[24].parse().unwrap())
}

fn frame(code: &Code, address: u64) -> Frame {
    let frames = Symbols::new().user(None, Some(code), &[address]);
    frames.into_iter().next().unwrap()
}

#[track_caller]
fn assert_landmark(frame: &Frame) {
    let (mapping, _) = mapped(landmark_address());
    assert_eq!(frame.function.as_deref(), Some("synscope_tracer::symbols::gone::tests::landmark"));
    assert_eq!(frame.module.as_deref(), executable().to_str());
    assert_eq!(frame.module_offset, Some(mapping.file_offset(landmark_address())));
}

#[test]
fn the_executable_is_found_by_its_inode() {
    let path = executable();
    let code = Code::new(&path, numbers(&path), own_code(), &[]);
    assert_landmark(&frame(&code, landmark_address()));
}

#[test]
fn another_file_at_the_path_is_not_asked() {
    let path = executable();
    let (device, inode) = numbers(&path);
    let code = Code::new(&path, (device, inode + 1), own_code(), &[]);
    let expected = Frame { module: path.to_str().map(Into::into), ..Frame::bare(landmark_address()) };
    assert_eq!(frame(&code, landmark_address()), expected);
    // A place of another build proves nothing either, but it is told.
    let places = [(landmark_address(), NOBODYS, 77)];
    let code = Code::new(&path, (device, inode + 1), own_code(), &places);
    let build_id = Some(NOBODYS.to_string());
    assert_eq!(frame(&code, landmark_address()), Frame { module_offset: Some(77), build_id, ..expected });
    let nowhere = Code::new(Path::new("/nowhere"), numbers(&path), own_code(), &[]);
    assert_eq!(frame(&nowhere, landmark_address()).module.as_deref(), Some("/nowhere"));
}

#[test]
fn the_executable_is_found_by_its_build() {
    let (mapping, id) = mapped(landmark_address());
    if id == NOBODYS {
        // A linker that makes no build ids: nothing to be found by.
        return;
    }
    let path = executable();
    let places = [(landmark_address(), id, mapping.file_offset(landmark_address()))];
    let frame = frame(&Code::new(&path, ((0, 0), 0), own_code(), &places), landmark_address());
    assert_landmark(&frame);
    assert_eq!(frame.build_id, Some(id.to_string()));
}

#[test]
fn a_library_is_named_after_the_file_of_the_same_build() {
    // Any function of a library that this process has mapped as well.
    let address = fs::read_to_string("/proc/self/maps").unwrap().lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let is_library = rest.starts_with("r-xp") && rest.contains("/libc.so");
        is_library.then(|| u64::from_str_radix(range.split('-').next()?, 16).ok())?
    });
    // A static test has none.
    let Some(address) = address.map(|start| start + 0x1000) else { return };
    let (mapping, id) = mapped(address);
    let at = 0x7000_0000_1000;
    let code = |id| Code::new(&executable(), ((0, 0), 0), (0, 0), &[(at, id, mapping.file_offset(address))]);
    let known = frame(&code(id), at);
    assert_eq!(known.module.as_deref(), mapping.name.to_str());
    assert_eq!(
        (known.module_offset, known.build_id),
        (Some(mapping.file_offset(address)), Some(id.to_string()))
    );

    let unknown = frame(&code(NOBODYS), at);
    assert_eq!((unknown.module, unknown.function), (None, None));
    assert_eq!(
        (unknown.module_offset, unknown.build_id),
        (Some(mapping.file_offset(address)), Some(NOBODYS.to_string()))
    );
}

#[test]
fn without_anything_kept_there_are_addresses() {
    let code = Code::new(&executable(), ((0, 0), 0), (0, 0), &[]);
    assert_eq!(frame(&code, 0x1234), Frame::bare(0x1234));
    assert_eq!(Symbols::new().user(None, None, &[0x1234]), [Frame::bare(0x1234)]);
}
