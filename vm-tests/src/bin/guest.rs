//! `/init` of the test machine.
fn main() {}
