//! Takes the built client in, where there is one: a build without Node has a server that says how to get it.

use std::path::Path;

fn main() -> std::io::Result<()> {
    const CLIENT: &str = "web/sdk/dist/client.js";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={CLIENT}");
    let client = std::fs::read(CLIENT).unwrap_or_default();
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    std::fs::write(Path::new(&folder).join("client.js"), client)
}
