//! Splices that a list of lines does not cover, and a verifier in another language
//! that has to say the same.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::{VerifyError, exit_code, verify};
use super::{BASE, Change, Doctored, SIZE, doctor, renumbered};
use crate::medium::fault::FaultMedium;
use crate::segment;
use crate::test_log::{ORIGIN, TestLog};

impl Doctored {
    /// The same by the one in Python; none when there is no Python here.
    fn python(&self, anchors: &[&str], pure: bool) -> Option<(u8, Option<u64>)> {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/oracle/verify_log.py"
        );
        let mut command = Command::new("python3");
        command
            .arg("-B")
            .arg(script)
            .arg(self.dir())
            .arg("--key")
            .arg(TestLog::key(1).vkey());
        for anchor in anchors {
            command.arg("--anchor").arg(BASE.test.beside(anchor));
        }
        if pure {
            command.arg("--pure");
        }
        let output = command.output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let bad = text
            .split_once("first_bad_seq=")
            .map(|(_, rest)| rest.split(':').next().unwrap().parse().unwrap());
        let code = output.status.code().unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some((code.try_into().unwrap(), bad))
    }
}

/// Ways to spoil a log that a list of lines does not cover.
fn splices() -> Vec<(&'static str, Doctored, Option<u64>)> {
    let mut all = Vec::new();
    let mut case = |name, bad, change: &dyn Fn(&Path)| {
        let doctored = Doctored::new();
        change(doctored.dir());
        all.push((name, doctored, bad));
    };
    let (second, third) = (BASE.firsts[1], BASE.firsts[2]);
    let at = |dir: &Path, first| segment::path(dir, first);
    case("intact", None, &|_| {});
    case("two segments swapped", Some(second), &|dir| {
        fs::rename(at(dir, second), dir.join("x")).unwrap();
        fs::rename(at(dir, third), at(dir, second)).unwrap();
        fs::rename(dir.join("x"), at(dir, third)).unwrap();
    });
    case("a segment removed", Some(second), &|dir| {
        fs::remove_file(at(dir, second)).unwrap()
    });
    case("all segments removed", Some(0), &|dir| {
        fs::remove_dir_all(dir.join("segments")).unwrap()
    });
    case("a segment twice", Some(second - 3), &|dir| {
        fs::copy(at(dir, 0), at(dir, second - 3)).map(drop).unwrap();
    });
    case("room in the middle", Some(second), &|dir| {
        let mut bytes = fs::read(at(dir, 0)).unwrap();
        bytes.extend([0; 100]);
        fs::write(at(dir, 0), bytes).unwrap();
    });
    case("a record beyond the checkpoint", None, &|dir| {
        let last = *BASE.firsts.last().unwrap();
        let mut bytes = fs::read(at(dir, last)).unwrap();
        bytes.extend(renumbered(&BASE.lines[0], SIZE as usize));
        bytes.push(b'\n');
        fs::write(at(dir, last), bytes).unwrap();
    });
    case("a torn tail", None, &|dir| {
        let last = *BASE.firsts.last().unwrap();
        let mut bytes = fs::read(at(dir, last)).unwrap();
        bytes.extend(b"{\"schema\"\0\0\0");
        fs::write(at(dir, last), bytes).unwrap();
    });
    case("no checkpoint", Some(0), &|dir| {
        fs::remove_file(dir.join("checkpoint")).unwrap()
    });
    case("a checkpoint of bytes", Some(0), &|dir| {
        fs::write(dir.join("checkpoint"), [255; 9]).unwrap()
    });
    case("no tiles", None, &|dir| {
        fs::remove_dir_all(dir.join("tile")).unwrap()
    });
    case("a tile of more records", Some(SIZE), &|dir| {
        fs::write(dir.join("tile/0/003"), [7; 8192]).unwrap();
    });
    case("a higher tile", Some(256), &|dir| {
        let path = dir.join("tile/1/000.p/2");
        let mut tile = fs::read(&path).unwrap();
        tile[40] ^= 1;
        fs::write(path, tile).unwrap();
    });
    case("another key's checkpoint", Some(0), &|dir| {
        let note = fs::read_to_string(dir.join("checkpoint")).unwrap();
        let text = note.split("\n\n").next().unwrap();
        fs::write(
            dir.join("checkpoint"),
            TestLog::key(9).sign_note(&format!("{text}\n")),
        )
        .unwrap();
    });
    case("a forged key change", Some(SIZE), &|dir| {
        let (thief, own) = (TestLog::key(9), TestLog::key(1));
        let event = crate::lifecycle::Event::rotation(&thief, &own, SIZE);
        let entry = event.entry(ORIGIN, SIZE).unwrap();
        let last = at(dir, *BASE.firsts.last().unwrap());
        let mut bytes = fs::read(&last).unwrap();
        entry.write_leaf(SIZE, "2026-11-23T03:00:00.000Z", &mut bytes);
        bytes.push(b'\n');
        fs::write(last, bytes).unwrap();
        // The thief signs what stands before the change.
        let note = fs::read_to_string(dir.join("checkpoint")).unwrap();
        let text = note.split("\n\n").next().unwrap();
        fs::write(
            dir.join("checkpoint"),
            thief.sign_note(&format!("{text}\n")),
        )
        .unwrap();
    });
    all
}

#[test]
fn splices_and_strays_are_told() {
    for (name, doctored, bad) in splices() {
        let (code, first) = doctored.verdict(&[]);
        if name == "a forged key change" {
            assert_eq!((code, first), (1, Some(0)), "{name}");
            continue;
        }
        assert_eq!(
            (code, first),
            (if bad.is_some() { 1 } else { 3 }, bad),
            "{name}"
        );
    }
}

#[test]
fn a_verifier_in_another_language_agrees() {
    if Command::new("python3").arg("-V").output().is_err() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "python3 is needed in CI"
        );
        let mut out = std::io::stderr();
        let _ = std::io::Write::write_all(&mut out, b"not run: python3 is missing\n");
        return;
    }
    let total: usize = BASE.lines.iter().map(|line| line.len() + 1).sum();
    let mut all: Vec<(String, Doctored)> = splices()
        .into_iter()
        .map(|(name, doctored, _)| (name.to_owned(), doctored))
        .collect();
    let changes = [
        Change::Edit(0, 1),
        Change::Edit(total - 1, 7),
        Change::Edit(total / 2, 0x80),
        Change::Edit(total / 3, 0x20),
        Change::Edit(BASE.lines[0].len(), 10),
        Change::Edit(50, b'"' ^ 10),
        Change::Delete(0),
        Change::Delete(699),
        Change::DeleteRenumber(300),
        Change::Swap(5, 600),
        Change::SwapRenumber(255, 256),
        Change::Insert(3, 3),
        Change::Insert(3, 600),
        Change::InsertRenumber(9, 511),
        Change::Truncate(0),
        Change::Truncate(512),
        Change::Truncate(699),
    ];
    all.extend(
        changes
            .iter()
            .map(|change| (format!("{change:?}"), doctor(change).0)),
    );
    for (at, (name, doctored)) in all.iter().enumerate() {
        for anchors in [&[][..], &["early", "receipt", "late"][..]] {
            let python = doctored.python(anchors, at % 3 == 0).unwrap();
            assert_eq!(python, doctored.verdict(anchors), "{name} {anchors:?}");
        }
    }
}

#[test]
fn both_judge_keys_forks_and_bodies_alike() {
    let test = TestLog::new();
    let (log, _) = test.open_on(FaultMedium::default()).unwrap();
    for n in 0..9 {
        test.append_sized(&log, n, 10);
    }
    let digest = log.store_blob("input", b"{}").unwrap();
    let entry = crate::record::Entry {
        kind: crate::record::Kind::Decision,
        id: "b".to_owned(),
        fields: crate::record::Members::parse(format!(
            "{{\"input\":{{\"blob\":\"{digest}\",\"bytes\":2}}}}"
        ))
        .unwrap(),
    };
    TestLog::append_entry(&log, entry, crate::record::Priority::Restore).unwrap();
    let lost = log.close().unwrap().note;
    let first = segment::path(&test.dir(), 0);
    let text = fs::read_to_string(&first).unwrap();
    let kept: String = text
        .lines()
        .take(8)
        .map(|line| format!("{line}\n"))
        .collect();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/oracle/verify_log.py"
    );
    let judge = |key: u8, anchor: &str| {
        let path = test.beside("anchor");
        fs::write(&path, anchor).unwrap();
        let result = verify(
            &test.dir(),
            &TestLog::key(key).verifier(),
            std::slice::from_ref(&path),
        );
        let mut command = Command::new("python3");
        command
            .arg("-B")
            .arg(script)
            .arg(test.dir())
            .arg("--key")
            .arg(TestLog::key(key).vkey());
        match command.arg("--anchor").arg(&path).output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(
                    output.status.code(),
                    Some(exit_code(&result).into()),
                    "{text}"
                );
                if let Err(VerifyError::Broken(broken)) = &result {
                    let told = format!("first_bad_seq={}:", broken.first_bad_seq);
                    assert!(text.contains(&told), "{text} {broken:?}");
                }
            }
            Err(_) => assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "python3 is needed in CI"
            ),
        }
        exit_code(&result)
    };
    assert_eq!(judge(1, &lost), 0);
    let blob = crate::blob::path(&test.dir(), &digest);
    fs::rename(&blob, test.beside("blob")).unwrap();
    assert_eq!(judge(1, &lost), 1);
    fs::rename(test.beside("blob"), &blob).unwrap();
    // Two records are lost, the fork is declared, a new key takes over.
    fs::write(&first, kept).unwrap();
    assert_eq!(judge(1, &lost), 1);
    test.options.lock().unwrap().declare_fork = Some("lost".to_owned());
    let (log, _) = test.open_on(FaultMedium::default()).unwrap();
    let between = log.checkpoint().unwrap().note;
    let anew = log.rotate_key(TestLog::key(2)).unwrap().note;
    log.close().unwrap();
    assert_eq!(judge(1, &lost), 3);
    assert_eq!(judge(2, &format!("{lost}\n{between}\n{anew}")), 0);
    assert_eq!(judge(3, ""), 1);
    // The old key may not sign for what came after it.
    let stolen = anew.split("\n\n").next().unwrap();
    let stolen = TestLog::key(1).sign_note(&format!("{stolen}\n"));
    assert_eq!(judge(1, &stolen), 1);
    assert_eq!(judge(1, "rubbish"), 2);
    assert_eq!(judge(1, &stolen.replace(ORIGIN, "other.example")), 2);
}
