//! `/init` of the test machine.

fn main() {
    vm_tests::guest::main();
}
