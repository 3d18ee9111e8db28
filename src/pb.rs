//! Types generated from `proto/netd/admin/v1/admin.proto`.
#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; the proto file documents every field"
)]

tonic::include_proto!("netd.admin.v1");

/// The compiled descriptor set, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("netd_descriptor");
