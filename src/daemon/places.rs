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
            let mut metadata = fs::symlink_metadata(directory)?;
            // systemd's for a DynamicUser= is a link of root's (systemd.exec(5),
            // RuntimeDirectory=).
            if metadata.is_symlink() && metadata.uid() == 0 {
                metadata = fs::metadata(directory)?;
            }
            let mine = Uid::effective().is_root() || metadata.uid() == Uid::effective().as_raw();
            if metadata.is_dir() && mine {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_counts_if_root_has_made_it() {
        let place = tempfile::tempdir().unwrap();
        let (made, link) = (place.path().join("made"), place.path().join("link"));
        ensure(&made, None).unwrap();
        ensure(&made, None).unwrap();
        symlink(&made, &link).unwrap();
        assert_eq!(ensure(&link, None).is_ok(), Uid::effective().is_root());
        fs::remove_file(&link).unwrap();
        fs::write(place.path().join("file"), "").unwrap();
        symlink(place.path().join("file"), &link).unwrap();
        assert_eq!(ensure(&link, None).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
