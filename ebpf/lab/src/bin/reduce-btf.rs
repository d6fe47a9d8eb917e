//! Writes a fixture: `reduce-btf KERNEL WANTED.toml OUT`, where KERNEL is a kernel's BTF (the content of
//! `/sys/kernel/btf/vmlinux`) or an uncompressed `vmlinux` that carries it.

use std::{env, error::Error, fs};

use bpf_lab::btf::{
    Btf,
    reduce::{Wanted, reduce},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kernel, wanted, out] = arguments.as_slice() else {
        return Err("usage: reduce-btf KERNEL WANTED.toml OUT".into());
    };
    let bytes = fs::read(kernel)?;
    let btf = bpf_lab::section(&bytes, ".BTF").unwrap_or(bytes);
    let reduced = reduce(&Btf::parse(&btf)?, &Wanted::parse(&fs::read_to_string(wanted)?)?);
    fs::write(out, &reduced)?;
    println!("{out}: {} of {} bytes", reduced.len(), btf.len());
    Ok(())
}
