//! The program; all of it is in the library, so that what takes bytes from outside can be fuzzed.

fn main() -> std::process::ExitCode {
    synscope::main()
}
