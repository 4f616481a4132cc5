//! Makes the selector the same bytes in every build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "uefi") {
        // A hash of the content in place of the time of the build.
        println!("cargo::rustc-link-arg-bins=/Brepro");
    }
}
