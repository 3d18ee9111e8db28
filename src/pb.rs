//! Types generated from `proto/netd/admin/v1/admin.proto`, and in [`handover`]
//! from `proto/netd/handover/v1/handover.proto`.
#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; the proto file documents every field"
)]

tonic::include_proto!("netd.admin.v1");

/// The compiled descriptor set, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("netd_descriptor");

/// What passes between a netd and its successor.
pub mod handover {
    tonic::include_proto!("netd.handover.v1");
}
