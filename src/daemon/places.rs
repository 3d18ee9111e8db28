//! Where netd keeps its pid file and its admin socket if nobody says.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
};

use nix::unistd::Uid;

use crate::daemon::environment::Environment;

/// `/run/netd` for root, else in the user's runtime directory, else a
/// directory of the user's own in `/tmp`.
pub(super) fn runtime_dir(environment: &Environment) -> PathBuf {
    let uid = Uid::effective();
    if uid.is_root() {
        return PathBuf::from("/run/netd");
    }
    match environment.user_runtime_dir() {
        Some(directory) => directory.join("netd"),
        None => PathBuf::from(format!("/tmp/netd-{uid}")),
    }
}

/// Makes the directory if it is missing, and makes sure that it is nobody
/// else's: in `/tmp` anybody could have been there first.
///
/// # Errors
/// If it cannot be made, or belongs to somebody else.
pub(super) fn ensure(directory: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => owner.map_or(Ok(()), |(uid, gid)| chown(directory, Some(uid), Some(gid))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(directory)?;
            let mine = Uid::effective().is_root() || metadata.uid() == Uid::effective().as_raw();
            if metadata.is_dir() && mine {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
        }
        Err(error) => Err(error),
    }
}
