//! Makes the selector the same bytes in every build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "uefi") {
        // Neither the time of the build, nor an identity for debuggers, which the
        // linker takes from the path of its output.
        println!("cargo::rustc-link-arg-bins=/timestamp:0");
        println!("cargo::rustc-link-arg-bins=/debug:none");
    }
}
