//! A laboratory for BPF objects: it takes a compiled object apart, executes its instructions in user space
//! with every access checked, and breaks them on purpose to see whether anybody notices.
//!
//! Nothing in it knows what the programs are about, so that other projects can test their own probes with
//! it. [`docs/testing.md`](https://github.com/synscope/synscope/blob/main/docs/testing.md) shows how the
//! parts work together:
//!
//! - [`Object`] is what an ELF file holds: programs linked with the functions they call, maps, globals;
//! - [`isa`] says which instructions kernel 5.10 takes, [`helpers`] which helper functions, [`frames`] how
//!   much stack a program uses;
//! - [`Machine`] executes a program against modelled maps and a [`World`]: a clock, a current task, kernel
//!   memory made up by the test, faults on request. Whatever the model does not know is an error, never a
//!   guess;
//! - [`Coverage`] tells which instructions were reached;
//! - [`mutate`] derives slightly wrong programs from a right one;
//! - [`btf`] reads type information, and [`btf::reduce`] cuts a kernel's down to a size that can be
//!   committed as a fixture;
//! - `kernel` (with the feature of that name) gives tests memory in the running kernel whose address they know,
//!   so that programs can be run on fabricated structures by `BPF_PROG_TEST_RUN`;
//! - [`asm`] and [`elf`] make small programs and objects with known faults.

pub mod asm;
pub mod btf;
pub mod elf;
pub mod frames;
pub mod helpers;
pub mod insn;
pub mod isa;
#[cfg(feature = "kernel")]
pub mod kernel;
pub mod mutate;

mod alu;
mod calls;
mod coverage;
mod machine;
mod maps;
mod memory;
mod object;
mod world;

pub use coverage::Coverage;
pub use insn::{Insn, Insns, decode, encode};
pub use machine::{Machine, Setup, Trap};
pub use maps::MapError;
pub use memory::Access;
pub use object::{Global, Link, MapDef, Object, ObjectError, Program, section};
pub use world::{Mapping, Task, World};
