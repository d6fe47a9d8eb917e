//! A writer of newc archives, the form of an initramfs.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;
const TRAILER: &str = "TRAILER!!!";
const HEADER: usize = 110;

/// An archive that is being written.
pub struct Archive<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// Adds a directory; parents come before their children.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY, &[], (0, 0))
    }

    /// Adds an executable file.
    pub fn program(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, content, (0, 0))
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, FILE, content, (0, 0))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, LINK, target.as_bytes(), (0, 0))
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(name, DEVICE, &[], (major, minor))
    }

    /// Ends the archive and returns what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, &[], (0, 0))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // magic, then: inode, mode, uid, gid, links, mtime, size, device of the file (major, minor),
        // device it stands for (major, minor), size of the name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(HEADER + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(entry: &[u8], index: usize) -> usize {
        let text = std::str::from_utf8(&entry[6 + 8 * index..14 + 8 * index]).unwrap();
        usize::from_str_radix(text, 16).unwrap()
    }

    /// Reads the archive back: name, mode, content.
    fn read(mut archive: &[u8]) -> Vec<(String, usize, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let (mode, size, name_size) = (field(archive, 1), field(archive, 6), field(archive, 11));
            let name = std::str::from_utf8(&archive[HEADER..HEADER + name_size - 1]).unwrap();
            let content = (HEADER + name_size).next_multiple_of(4);
            if name == TRAILER {
                assert_eq!(archive.len(), content);
                return entries;
            }
            let data = archive[content..content + size].to_vec();
            entries.push((name.to_owned(), mode, data));
            archive = &archive[(content + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn what_is_written_is_read_back() -> io::Result<()> {
        for size in 0..5 {
            let mut archive = Archive::new(Vec::new());
            archive.directory("bin")?;
            archive.program("bin/odd", &vec![7; size])?;
            archive.device("console", 5, 1)?;
            archive.link("sbin", "bin")?;
            archive.file("even", &[])?;
            let archive = archive.finish()?;
            let entries = read(&archive);
            assert_eq!(entries[0], ("bin".to_owned(), 0o040_755, Vec::new()));
            assert_eq!(entries[1], ("bin/odd".to_owned(), 0o100_755, vec![7; size]));
            assert_eq!(entries[2].1, 0o020_600);
            assert_eq!(entries[3], ("sbin".to_owned(), 0o120_777, b"bin".to_vec()));
            assert_eq!(entries[4].1, 0o100_644);
        }
        Ok(())
    }

    #[test]
    fn a_device_carries_its_numbers() -> io::Result<()> {
        let mut archive = Archive::new(Vec::new());
        archive.device("console", 5, 1)?;
        let archive = archive.finish()?;
        assert_eq!((field(&archive, 9), field(&archive, 10)), (5, 1));
        Ok(())
    }
}
