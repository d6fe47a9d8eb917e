//! New asset files must lead to a rebuild; `include_dir!` alone tracks only those it knew.

fn main() {
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=templates");
}
