//! A bundle as OPA ships it: a gzipped tar archive, read with suspicion.
//!
//! Nothing is unpacked to a disk. What is not a plain file inside the bundle, what comes twice,
//! and what grows beyond the limits is refused, whatever the archive says of itself.

use std::io::{self, Read as _};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header};

use super::{Files, MANIFEST, MAX_BUNDLE, MAX_FILES, SIGNATURES, is_data, is_rego, size_limit};
use crate::problem::Problem;

/// Most that the archive may unpack to: the files, and what tar adds to each.
const MAX_UNPACKED: u64 = (MAX_BUNDLE + MAX_FILES * 2_048) as u64;

/// Reads the files of an archive, with everything that is wrong with it.
pub(super) fn read(bytes: &[u8]) -> (Files, Vec<Problem>) {
    let mut reading = Reading::default();
    let unpacked = GzDecoder::new(bytes).take(MAX_UNPACKED);
    let mut archive = Archive::new(unpacked);
    let read = archive
        .entries()
        .and_then(|mut entries| entries.try_for_each(|entry| reading.entry(&mut entry?)))
        // To its end, where the sum of all bytes stands.
        .and_then(|()| io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop));
    if let Err(error) = read {
        let message = format!("the archive is not read: {error}");
        let hint = "a bundle is a gzipped tar archive, at most so large";
        reading
            .problems
            .push(Problem::error(".", None, message).hint(hint));
    }
    (reading.files, reading.problems)
}

#[derive(Default)]
struct Reading {
    files: Files,
    bytes: usize,
    problems: Vec<Problem>,
}

impl Reading {
    fn entry<R: io::Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw).escape_debug().to_string();
        let mut refuse = |why: &str| {
            self.problems.push(Problem::error(&shown, None, why));
            Ok(())
        };
        match entry.header().entry_type() {
            EntryType::Directory | EntryType::XGlobalHeader => return Ok(()),
            EntryType::Regular => {}
            _ => return refuse("it is no plain file; a bundle holds no links and no devices"),
        }
        let Ok(path) = String::from_utf8(raw) else {
            return refuse("the name is not UTF-8");
        };
        let path = path.strip_prefix("./").unwrap_or(&path);
        let path = path.strip_prefix('/').unwrap_or(path);
        let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !plain || path.contains('\\') || path.chars().any(char::is_control) {
            return refuse("the name leads elsewhere");
        }
        if path != MANIFEST && path != SIGNATURES && !is_rego(path) && !is_data(path) {
            return refuse(
                "a bundle has no such file: it holds `.manifest`, `*.rego` and `data.json`",
            );
        }
        if self.files.len() >= MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files")));
        }
        let most = size_limit(path);
        let mut bytes = Vec::new();
        entry.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return refuse(&format!("the file is larger than {most} bytes"));
        }
        self.bytes += bytes.len();
        if self.bytes > MAX_BUNDLE {
            return Err(io::Error::other(format!("more than {MAX_BUNDLE} bytes")));
        }
        if self.files.insert(path.to_owned(), bytes).is_some() {
            let why = "the archive holds this file twice";
            self.problems.push(Problem::error(path, None, why));
        }
        Ok(())
    }
}

/// Writes the files; the same files always give the same bytes.
pub(super) fn write<'f>(files: impl Iterator<Item = (&'f str, &'f str)>) -> io::Result<Vec<u8>> {
    let packed = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut builder = Builder::new(packed);
    for (path, text) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, path, text.as_bytes())?;
    }
    builder.into_inner()?.finish()
}
