//! What a process runs: a memory descriptor, an executable with its path, and code that its stacks lead to.

use std::iter;

use crate::{
    fabric::Memory,
    fixtures::Kernel,
    things::{Bytes, Piece},
};

/// A program that a task runs. One of which nothing can be read but that it is there has no mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Tells its memory descriptor from all others; what stands for its address where results are compared.
    pub number: u64,
    /// Where its code is mapped, and where that ends.
    pub code: (u64, u64),
    /// Inode number of the executable.
    pub inode: u64,
    /// `s_dev` of the file system that it is on.
    pub device: u32,
    /// The executable's path, name by name, innermost first: a list for each mount on the way.
    pub mounts: Vec<Vec<String>>,
}

impl Program {
    /// An executable of this path, with `depth` directories behind each mount point.
    pub fn new(number: u64, mounts: &[&[&str]]) -> Self {
        let base = 0x0055_0000_0000 + number * 0x10_0000;
        Self {
            number,
            code: (base, base + 0x8_0000),
            inode: 0x1_0000_0000 + number,
            device: 0x80_0003,
            mounts: mounts.iter().map(|names| names.iter().map(|&name| name.into()).collect()).collect(),
        }
    }

    /// Its names, innermost first, each with a zero at its end.
    pub fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        self.mounts.iter().flatten().map(|name| [name.as_bytes(), b"\0"].concat())
    }

    /// Fabricates it and returns the address of its `struct mm_struct`.
    pub fn fabricate(&self, kernel: &Kernel, memory: &mut impl Memory) -> u64 {
        let descriptor = |file: u64| {
            Bytes::of(kernel, "mm_struct")
                .set("mm_struct", "start_code", &self.code.0.to_le_bytes())
                .set("mm_struct", "end_code", &self.code.1.to_le_bytes())
                .set("mm_struct", "exe_file", &file.to_le_bytes())
                .done()
        };
        if self.mounts.is_empty() {
            return memory.add(&descriptor(0));
        }
        let super_block =
            Bytes::of(kernel, "super_block").set("super_block", "s_dev", &self.device.to_le_bytes());
        let super_block = memory.add(&super_block.done());
        let inode = Bytes::of(kernel, "inode").set("inode", "i_ino", &self.inode.to_le_bytes()).set(
            "inode",
            "i_sb",
            &super_block.to_le_bytes(),
        );
        let inode = memory.add(&inode.done());
        let (dentry, mount) = self.path(kernel, inode, memory);
        let mount = mount + kernel.offset("mount", "mnt") as u64;
        let file = Bytes::of(kernel, "file").set("file", "f_path.mnt", &mount.to_le_bytes()).set(
            "file",
            "f_path.dentry",
            &dentry.to_le_bytes(),
        );
        let file = memory.add(&file.done());
        memory.add(&descriptor(file))
    }

    /// The executable's directory entry and mount. Built from the outermost mount to the innermost.
    fn path(&self, kernel: &Kernel, inode: u64, memory: &mut impl Memory) -> (u64, u64) {
        let (mut dentry, mut mount) = (0_u64, 0_u64);
        for (at, names) in self.mounts.iter().enumerate().rev() {
            // Of a root nothing is read, unless the executable itself is mounted.
            let is_mounted = at == 0 && names.is_empty();
            let root = Bytes::of(kernel, "dentry");
            let root = if is_mounted { root.set("dentry", "d_inode", &inode.to_le_bytes()) } else { root };
            let root = memory.add(&root.done());
            let describe = |parent: u64| {
                Bytes::of(kernel, "mount")
                    .set("mount", "mnt.mnt_root", &root.to_le_bytes())
                    .set("mount", "mnt_parent", &parent.to_le_bytes())
                    .set("mount", "mnt_mountpoint", &dentry.to_le_bytes())
                    .done()
            };
            let address = memory.add(&describe(mount));
            if mount == 0 {
                // The outermost mount is its own parent.
                memory.put(address, &describe(address));
            }
            (mount, dentry) = (address, root);
            for (depth, name) in names.iter().enumerate().rev() {
                let name = memory.add(&string(name));
                let entry = Bytes::of(kernel, "dentry")
                    .set("dentry", "d_name.name", &name.to_le_bytes())
                    .set("dentry", "d_parent", &dentry.to_le_bytes());
                let is_executable = (at, depth) == (0, 0);
                let entry =
                    if is_executable { entry.set("dentry", "d_inode", &inode.to_le_bytes()) } else { entry };
                dentry = memory.add(&entry.done());
            }
        }
        (dentry, mount)
    }
}

fn string(text: &str) -> Piece {
    let bytes: Vec<u8> = text.bytes().chain(iter::once(0)).collect();
    Piece { members: vec![(0, bytes.len())], bytes }
}
