//! Tests of bundles: what is digested, what is refused, and that all of it is told.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;

use crate::fixture::{ALLOW_READERS, MANIFEST, folder};

use super::{Bundle, MAX_REGO};

fn files<'f>(more: &[(&'f str, &'f [u8])]) -> Vec<(&'f str, &'f [u8])> {
    let mut files: Vec<(&str, &[u8])> = vec![
        (".manifest", MANIFEST.as_bytes()),
        ("vaultgate/rules.rego", ALLOW_READERS.as_bytes()),
        ("vaultgate/data.json", br#"{"landing": {"a": [1]}}"#),
    ];
    for (path, bytes) in more {
        files.retain(|(known, _)| known != path);
        files.push((path, bytes));
    }
    files
}

/// `file:line: message` of each problem.
fn problems(more: &[(&str, &[u8])]) -> Vec<String> {
    let dir = folder(&files(more));
    let rejected = Bundle::load(dir.path()).unwrap_err();
    let told = rejected.problems().iter();
    told.map(|problem| problem.to_string().lines().next().unwrap().to_owned())
        .collect()
}

#[test]
fn loads_files_manifest_and_data() {
    let dir = folder(&files(&[
        ("data.json", br#"{"vaultgate": {"landing": {"b": 2}}}"#),
        ("README.md", b"for people"),
        (".git/config", b"hidden"),
        ("vaultgate/rules_test.rego", b"package elsewhere"),
    ]));
    let bundle = Bundle::load(dir.path()).unwrap();
    assert_eq!(bundle.revision(), "t1");
    assert_eq!(
        bundle.data(),
        &serde_json::json!({"vaultgate": {"landing": {"a": [1], "b": 2}}})
    );
    let paths: Vec<&str> = bundle.files().map(|(path, _)| path).collect();
    let expected = [
        ".manifest",
        "data.json",
        "vaultgate/data.json",
        "vaultgate/rules.rego",
        "vaultgate/rules_test.rego",
    ];
    assert_eq!(paths, expected);
    let deciding: Vec<&str> = bundle.policies().map(|(path, _)| path).collect();
    assert_eq!(deciding, ["vaultgate/rules.rego"]);
}

#[test]
fn the_digest_is_that_of_sha256sum() {
    let dir = folder(&[
        (".manifest", br#"{"revision": "1", "roots": ["a"]}"#),
        ("a/data.json", b"{}"),
    ]);
    let digest = Bundle::load(dir.path()).unwrap().digest().to_owned();
    // Made with `sha256sum * | sha256sum` in a shell.
    let expected = "sha256:d72ab429a6af38e940709737e2d60fd97148dd969240f40aa6d0e09d0733830e";
    assert_eq!(digest, expected);
    let other = folder(&files(&[]));
    let first = Bundle::load(other.path()).unwrap().digest().to_owned();
    fs::write(other.path().join("vaultgate/data.json"), "{ }").unwrap();
    assert_ne!(Bundle::load(other.path()).unwrap().digest(), first);
    // The name of a file is part of it too.
    let renamed = folder(&files(&[]));
    fs::rename(
        renamed.path().join("vaultgate/rules.rego"),
        renamed.path().join("vaultgate/rule.rego"),
    )
    .unwrap();
    assert_ne!(Bundle::load(renamed.path()).unwrap().digest(), first);
}

#[test]
fn an_archive_gives_the_same_bundle() {
    let dir = folder(&files(&[]));
    let bundle = Bundle::load(dir.path()).unwrap();
    let bytes = bundle.to_archive_bytes();
    let back = Bundle::from_archive_bytes(&bytes).unwrap();
    assert_eq!(back.digest(), bundle.digest());
    assert_eq!(back.data(), bundle.data());
    assert_eq!(back.to_archive_bytes(), bytes);
}

#[test]
fn bad_archives_are_refused() {
    let bad: [&[u8]; 9] = [
        b"",
        b"[]",
        b"\xff",
        br#"{".manifest": 1}"#,
        br#"{"../x.rego": "package vaultgate"}"#,
        br#"{"/x.rego": "package vaultgate"}"#,
        br#"{"x.sh": "true"}"#,
        br#"{"a.rego": "package vaultgate.a", "a.rego": "package vaultgate.b"}"#,
        br#"{"a.rego": "package vaultgate.a"}"#,
    ];
    for bytes in bad {
        assert!(
            Bundle::from_archive_bytes(bytes).is_err(),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn manifests_are_strict() {
    for (text, message) in [
        ("", "EOF while parsing"),
        ("[]", "invalid length"),
        (r#"{"revision": "1"}"#, "missing field `roots`"),
        (r#"{"roots": ["vaultgate"]}"#, "missing field `revision`"),
        (
            r#"{"revision": " ", "roots": ["vaultgate"]}"#,
            "`revision` is empty",
        ),
        (r#"{"revision": "1", "roots": []}"#, "`roots` is empty"),
        (r#"{"revision": "1", "roots": [""]}"#, "`` is no root"),
        (
            r#"{"revision": "1", "roots": ["/vaultgate"]}"#,
            "`/vaultgate` is no root",
        ),
        (
            r#"{"revision": "1", "roots": ["vaultgate", "vaultgate/x"]}"#,
            "overlaps",
        ),
        (
            r#"{"revision": "1", "roots": ["vaultgate"], "rego_version": 0}"#,
            "`rego_version` 0",
        ),
        (
            r#"{"revision": "1", "roots": ["vaultgate"], "wasm": []}"#,
            "unknown field `wasm`",
        ),
        (
            r#"{"revision": "1", "roots": ["vaultgate"], "revision": "2"}"#,
            "duplicate key `revision`",
        ),
    ] {
        let told = problems(&[(".manifest", text.as_bytes())]);
        assert!(
            told.iter().any(|told| told.contains(message)),
            "{text}: {told:?}"
        );
    }
    let dir = folder(&[("vaultgate/rules.rego", ALLOW_READERS.as_bytes())]);
    let rejected = Bundle::load(dir.path()).unwrap_err();
    assert!(
        rejected.to_string().contains("the bundle has no manifest"),
        "{rejected}"
    );
}

#[test]
fn data_is_strict() {
    for (path, text, message) in [
        (
            "vaultgate/data.json",
            r#"{"a": {"b": 1, "b": 2}}"#,
            "duplicate key `b`",
        ),
        ("vaultgate/data.json", "[]", "a data document is an object"),
        (
            "vaultgate/data.json",
            "{\n\n nope}",
            "vaultgate/data.json:3:",
        ),
        (
            "data.json",
            r#"{"other": 1}"#,
            "`other` is outside the roots",
        ),
        (
            "data.json",
            r#"{"vaultgate2": {}}"#,
            "`vaultgate2` is outside the roots",
        ),
        (
            "other/data.json",
            r#"{"x": 1}"#,
            "`other/x` is outside the roots",
        ),
        (
            "data.json",
            r#"{"vaultgate": {"landing": {"a": [1]}}}"#,
            "stands in another data document too",
        ),
        (
            "data.json",
            r#"{"vaultgate": 1}"#,
            "stands in another data document too",
        ),
    ] {
        let told = problems(&[(path, text.as_bytes())]);
        assert!(
            told.iter().any(|told| told.contains(message)),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn nothing_is_left_out_in_silence() {
    for path in [
        "data.yaml",
        "vaultgate/data.JSON",
        "policy.wasm",
        "patch.json",
        "x.rego.bak",
        "run",
    ] {
        let told = problems(&[(path, b"{}")]);
        assert!(
            told.iter().any(|told| told.starts_with(path)),
            "{path}: {told:?}"
        );
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let large = vec![b' '; MAX_REGO + 1];
    let told = problems(&[
        (".manifest", br#"{"revision": "", "roots": ["vaultgate"]}"#),
        ("vaultgate/latin.rego", b"package vaultgate\n# caf\xe9\n"),
        ("vaultgate/bom.rego", "\u{feff}package vaultgate".as_bytes()),
        ("vaultgate/large.rego", &large),
        ("vaultgate/data.json", b"{"),
        ("other/data.json", br#"{"x": 1}"#),
        ("policy.wasm", b""),
    ]);
    for start in [
        ".manifest: `revision` is empty",
        "vaultgate/latin.rego:2: the file is not UTF-8",
        "vaultgate/bom.rego:1: the file begins with a byte order mark",
        "vaultgate/large.rego: the file is larger",
        "vaultgate/data.json:1: EOF",
        "other/data.json: `other/x` is outside",
        "policy.wasm: a bundle has no such file",
    ] {
        assert!(
            told.iter().any(|told| told.starts_with(start)),
            "{start}: {told:#?}"
        );
    }
}

#[test]
fn a_missing_folder_is_a_problem_and_no_panic() {
    let dir = folder(&[]);
    let rejected = Bundle::load(&dir.path().join("nothing")).unwrap_err();
    assert!(
        rejected.to_string().contains("cannot read the folder"),
        "{rejected}"
    );
}

#[cfg(unix)]
#[test]
fn links_lead_to_files_of_the_bundle_only() {
    use std::os::unix::fs::symlink;

    let outside = folder(&[("secret.rego", b"package vaultgate")]);
    let dir = folder(&files(&[]));
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("..data")).unwrap();
    fs::write(at("..data/inside.rego"), "package vaultgate.inside").unwrap();
    symlink("..data/inside.rego", at("inside.rego")).unwrap();
    let bundle = Bundle::load(dir.path()).unwrap();
    assert!(bundle.files().any(|(path, _)| path == "inside.rego"));

    symlink(outside.path().join("secret.rego"), at("out.rego")).unwrap();
    symlink(outside.path(), at("outdir")).unwrap();
    symlink("vaultgate", at("again")).unwrap();
    symlink("nothing", at("dangling.rego")).unwrap();
    let rejected = Bundle::load(dir.path()).unwrap_err().to_string();
    for told in [
        "out.rego: the link leads out",
        "outdir: the link leads out",
        "again: the link does not lead to a file",
        "dangling.rego: the link leads nowhere",
    ] {
        assert!(rejected.contains(told), "{told}: {rejected}");
    }
}

/// The entries of a gzipped tar archive, written as they are.
fn packed(entries: &[(tar::EntryType, &[u8], &[u8])]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Past the checks of a library that means well.
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        if *kind != tar::EntryType::Regular {
            header.set_size(0);
            header.as_old_mut().linkname[..bytes.len()].copy_from_slice(bytes);
        }
        header.set_cksum();
        let data: &[u8] = if *kind == tar::EntryType::Regular {
            bytes
        } else {
            b""
        };
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_packed_bundle_is_the_same_bundle() {
    let dir = folder(&files(&[(
        ".signatures.json",
        b"{\"signatures\": [\"x\"]}",
    )]));
    let bundle = Bundle::load(dir.path()).unwrap();
    let bytes = bundle.to_tarball().unwrap();
    assert_eq!(bytes, bundle.to_tarball().unwrap());
    let read = Bundle::from_tarball(&bytes).unwrap();
    assert_eq!(
        (read.digest(), read.revision()),
        (bundle.digest(), bundle.revision())
    );
    assert_eq!(read.signatures(), Some("{\"signatures\": [\"x\"]}"));
    let file = dir.path().join("../packed.tar.gz");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(Bundle::load(&file).unwrap().digest(), bundle.digest());
    fs::remove_file(&file).unwrap();
    let kept = Bundle::from_archive_bytes(&bundle.to_archive_bytes()).unwrap();
    assert_eq!(
        (kept.digest(), kept.signatures()),
        (bundle.digest(), bundle.signatures())
    );
    // Signatures are no part of what they sign.
    let plain = Bundle::load(folder(&files(&[])).path()).unwrap();
    assert_eq!(plain.digest(), bundle.digest());
}

#[test]
fn what_leads_out_of_an_archive_or_is_no_file_is_refused() {
    use tar::EntryType::{Char, Fifo, Link, Regular, Symlink};
    let manifest: (tar::EntryType, &[u8], &[u8]) = (Regular, b"/.manifest", MANIFEST.as_bytes());
    let rules: (tar::EntryType, &[u8], &[u8]) =
        (Regular, b"./vaultgate/rules.rego", ALLOW_READERS.as_bytes());
    assert!(Bundle::from_tarball(&packed(&[manifest, rules])).is_ok());
    for (kind, name, bytes) in [
        (Regular, &b"../escape.rego"[..], &b"package a"[..]),
        (Regular, b"a/../../escape.rego", b"package a"),
        (Regular, b"//etc/x.rego", b"package a"),
        (Regular, b"a\\b.rego", b"package a"),
        (Regular, b"a/\x01.rego", b"package a"),
        (Regular, b"\xff.rego", b"package a"),
        (Regular, b"policy.wasm", b"x"),
        (Regular, b"vaultgate/rules.rego", b"package vaultgate"),
        (Symlink, b"vaultgate/link.rego", b"/etc/passwd"),
        (Link, b"vaultgate/link.rego", b"vaultgate/rules.rego"),
        (Char, b"vaultgate/device.rego", b""),
        (Fifo, b"vaultgate/pipe.rego", b""),
    ] {
        let refused = Bundle::from_tarball(&packed(&[manifest, rules, (kind, name, bytes)]));
        assert!(
            refused.is_err(),
            "{kind:?} {}",
            String::from_utf8_lossy(name)
        );
    }
    let whole = packed(&[manifest, rules]);
    for cut in [0, 1, 10, 20, whole.len() / 2, whole.len() - 9] {
        assert!(
            Bundle::from_tarball(whole.get(..cut).unwrap()).is_err(),
            "{cut}"
        );
    }
    for rubbish in [&b""[..], b"PK\x03\x04", b"not gzip", &[0; 4096]] {
        assert!(Bundle::from_tarball(rubbish).is_err());
    }
}

/// A few kilobytes that unpack to gigabytes are stopped at the limit of a file.
#[test]
fn an_archive_that_grows_is_stopped() {
    let zeros = vec![b' '; 80 << 20];
    let bomb = packed(&[
        (tar::EntryType::Regular, b".manifest", MANIFEST.as_bytes()),
        (tar::EntryType::Regular, b"vaultgate/data.json", &zeros),
    ]);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let refused = Bundle::from_tarball(&bomb).unwrap_err().to_string();
    assert!(refused.contains("larger than"), "{refused}");
}
