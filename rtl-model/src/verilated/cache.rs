//! What was built once is not built again: a folder for each content, in the user's cache folder.
//!
//! ```text
//!   ~/.cache/virtio-testbench/rtl/HASH/{libmodel.so, Vtop.h, verilate.log}
//!                                 HASH.lock
//!                            HASH/library.o         Verilator's own library
//! ```
//!
//! The hash is of everything that decides what comes out: sources, included files, options, both tools, the
//! shim. Who builds holds the lock, so that a second one waits and then finds it; the folder comes into being
//! whole, by a rename.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::build::Options;
use super::compile;
use super::error::RtlError;
use super::header::Header;
use super::manifest::Manifest;
use super::shim;
use super::toolchain::Toolchain;
use super::verilate;

/// The folder of this project in the user's cache folder.
#[must_use]
pub fn user_folder() -> Option<PathBuf> {
    let variable =
        |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(cache.join("virtio-testbench"))
}

/// A hash of everything that decides what is built.
pub(super) fn key(
    manifest: &Manifest,
    options: &Options,
    tools: &Toolchain,
    what: &str,
) -> Result<String, RtlError> {
    let mut hash = Parts::default();
    let mut part = |bytes: &[u8]| hash.add(bytes);
    part(what.as_bytes());
    part(shim::source(&Header::default()).as_bytes());
    part(tools.identity.as_bytes());
    part(&[manifest.optimise]);
    compile::arguments().iter().for_each(|argument| part(argument.as_bytes()));
    verilate::arguments(manifest, options).iter().for_each(|argument| part(argument.as_bytes()));
    let mut file = |path: &Path, name: &Path| -> Result<(), RtlError> {
        let bytes = fs::read(path).map_err(RtlError::io(path))?;
        part(name.as_os_str().as_encoded_bytes());
        part(&bytes);
        Ok(())
    };
    for path in &manifest.files {
        file(path, Path::new(path.file_name().unwrap_or_default()))?;
    }
    for folder in &manifest.include {
        for path in all_files(folder)? {
            file(&path, path.strip_prefix(folder).unwrap_or(&path))?;
        }
    }
    Ok(hash.finish())
}

/// As [`key`], for what Verilator brings along.
pub(super) fn library_key(tools: &Toolchain, text: &str, waves: bool) -> String {
    let mut hash = Parts::default();
    hash.add(b"library");
    hash.add(tools.identity.as_bytes());
    hash.add(text.as_bytes());
    hash.add(&[u8::from(waves)]);
    compile::arguments().iter().for_each(|argument| hash.add(argument.as_bytes()));
    hash.finish()
}

/// A hash of parts, in which it matters where one ends.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Every file in `folder` and below, in order of name.
fn all_files(folder: &Path) -> Result<Vec<PathBuf>, RtlError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(RtlError::io(&folder))? {
            let entry = entry.map_err(RtlError::io(&folder))?;
            let kind = entry.file_type().map_err(RtlError::io(&folder))?;
            let path = entry.path();
            match kind.is_dir() {
                true => folders.push(path),
                // A link that leads to a folder is not followed, it might lead back.
                false if path.is_file() => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The folder of `key` in `cache`; `build` fills a new one when there is none. The second is whether it did.
pub(super) fn entry(
    cache: &Path,
    key: &str,
    build: impl FnOnce(&Path) -> Result<(), RtlError>,
) -> Result<(PathBuf, bool), RtlError> {
    let folder = cache.join(key);
    if folder.is_dir() {
        return Ok((folder, false));
    }
    fs::create_dir_all(cache).map_err(RtlError::io(cache))?;
    let path = cache.join(format!("{key}.lock"));
    let lock = File::create(&path).map_err(RtlError::io(&path))?;
    lock.lock().map_err(RtlError::io(&path))?;
    if folder.is_dir() {
        return Ok((folder, false));
    }
    let prefix = format!(".new-{key}-");
    forget_unfinished(cache, &prefix);
    let new = tempfile::Builder::new().prefix(&prefix).tempdir_in(cache);
    let new = new.map_err(RtlError::io(cache))?;
    build(new.path())?;
    let new = new.keep();
    match fs::rename(&new, &folder) {
        Ok(()) => Ok((folder, true)),
        // Where locks do not work, another may have been quicker; its folder is as good.
        Err(_) if folder.is_dir() => {
            let _ = fs::remove_dir_all(&new);
            Ok((folder, false))
        }
        Err(error) => Err(RtlError::Io { path: folder, error }),
    }
}

/// What one who held the lock left behind when it was ended.
fn forget_unfinished(cache: &Path, prefix: &str) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_builds_and_the_others_find_it() {
        let cache = tempfile::tempdir().unwrap();
        let built = AtomicU32::new(0);
        let build = |folder: &Path| {
            built.fetch_add(1, Ordering::Relaxed);
            fs::write(folder.join("result"), "whole").map_err(RtlError::io(folder))
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let (folder, _) = entry(cache.path(), "k", build).unwrap();
                    assert_eq!(fs::read_to_string(folder.join("result")).unwrap(), "whole");
                });
            }
        });
        assert_eq!(built.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_build_that_fails_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join(".new-k-ended")).unwrap();
        let fail = |folder: &Path| Err(RtlError::io(folder)(std::io::Error::other("no")));
        assert!(entry(cache.path(), "k", fail).is_err());
        let left: Vec<_> =
            fs::read_dir(cache.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["k.lock"]);
        assert!(entry(cache.path(), "k", |_| Ok(())).unwrap().1);
    }
}
