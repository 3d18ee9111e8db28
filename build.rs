//! Compiles the admin API and the messages of an upgrade without a system
//! `protoc`, and leaves the API's descriptor set where gRPC reflection finds it.
use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

#[expect(clippy::disallowed_methods, reason = "how cargo speaks to a build script")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["netd/admin/v1/admin.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("netd_descriptor.bin"), descriptors.encode_to_vec())?;
    let receipt = ".netd.admin.v1.UpgradeProgress.of.ended";
    tonic_prost_build::configure().boxed(receipt).compile_fds(descriptors)?;
    let descriptors = protox::compile(["netd/handover/v1/handover.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
