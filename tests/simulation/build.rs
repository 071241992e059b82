//! Lets `getrandom` of `src/interpose.rs` be found by name at run time too: the crate getrandom looks it up with dlsym.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_SIMULATION").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=getrandom");
    }
}
