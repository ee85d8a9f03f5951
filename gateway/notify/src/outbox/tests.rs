//! What is kept, over restarts and beside what was cut short.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn notice(title: &str, second: i64) -> Notice {
    let mut notice = Notice::new("k", title, Timestamp::from_second(second).unwrap());
    notice.text = vec!["a line".into()];
    notice.facts = vec![("vault".into(), "v1".into())];
    notice.link = Some("https://gateway.example/".into());
    notice
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_kept_survives_a_restart_until_it_is_taken_out() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("var/outbox");
    let (old, new) = (notice("old", 100), notice("new", 200));
    let outbox = Outbox::open(&dir).unwrap();
    assert_eq!(outbox.waiting().age(Timestamp::UNIX_EPOCH), None);
    outbox.put(&new, &["a", "b"]).unwrap();
    outbox.put(&old, &["a".to_owned()]).unwrap();
    drop(outbox);

    let outbox = Outbox::open(&dir).unwrap();
    let waiting = outbox.waiting();
    assert_eq!((waiting.count, waiting.oldest), (3, Some(old.at)));
    let now = Timestamp::from_second(160).unwrap();
    assert_eq!(waiting.age(now), Some(Duration::from_secs(60)));
    assert_eq!(waiting.age(Timestamp::UNIX_EPOCH), Some(Duration::ZERO));
    assert_eq!(outbox.read("a", old.id).unwrap(), Some(old.clone()));
    assert_eq!(outbox.first("a", |_| true), Some(old.id.min(new.id)));
    assert_eq!(outbox.first("b", |_| true), Some(new.id));
    assert_eq!(outbox.first("b", |id| *id != new.id), None);
    assert_eq!(outbox.first("c", |_| true), None);

    outbox.remove("a", old.id).unwrap();
    outbox.remove("a", new.id).unwrap();
    outbox.remove("a", new.id).unwrap();
    assert_eq!(outbox.waiting().count, 1);
    drop(outbox);
    let outbox = Outbox::open(&dir).unwrap();
    assert_eq!(outbox.waiting().count, 1);
    assert_eq!(outbox.read("b", new.id).unwrap(), Some(new));
}

#[test]
fn the_same_notice_put_again_is_one_message() {
    let root = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(root.path()).unwrap();
    let notice = notice("t", 1);
    outbox.put(&notice, &["a", "a"]).unwrap();
    outbox.put(&notice, &["a"]).unwrap();
    assert_eq!(outbox.waiting().count, 1);
    let file = format!("{}.a.json", notice.id);
    assert_eq!(names(root.path()), [".lock", file.as_str(), "unreadable"]);
    let mode = fs::metadata(root.path().join(file)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn what_was_cut_short_is_no_message() {
    let root = tempfile::tempdir().unwrap();
    drop(Outbox::open(root.path()).unwrap());
    let notice = notice("t", 1);
    let half = format!(".{}.a.json.1.tmp", notice.id);
    fs::write(root.path().join(half), r#"{"channel":"a","noti"#).unwrap();
    let outbox = Outbox::open(root.path()).unwrap();
    assert_eq!(outbox.waiting().count, 0);
    assert_eq!(names(&root.path().join("unreadable")), [""; 0]);
    // Nor is it in the way of the message itself.
    outbox.put(&notice, &["a"]).unwrap();
    assert_eq!(outbox.waiting().count, 1);
}

#[test]
fn what_cannot_be_read_is_moved_aside_and_never_over_another() {
    let root = tempfile::tempdir().unwrap();
    let aside = root.path().join("unreadable");
    let notice = notice("t", 1);
    let outbox = Outbox::open(root.path()).unwrap();
    outbox.put(&notice, &["a"]).unwrap();
    drop(outbox);
    // The right content under the name of another channel, and no content at all.
    let name = format!("{}.a.json", notice.id);
    let other = format!("{}.b.json", notice.id);
    fs::rename(root.path().join(&name), root.path().join(&other)).unwrap();
    for content in ["one", "two"] {
        fs::write(root.path().join("broken.json"), content).unwrap();
        assert_eq!(Outbox::open(root.path()).unwrap().waiting().count, 0);
    }
    let moved = names(&aside);
    assert_eq!(moved.len(), 3, "{moved:?}");
    assert!(moved.contains(&other) && moved.contains(&"broken.json".to_owned()));
    let kept = fs::read_to_string(aside.join("broken.json")).unwrap();
    assert_eq!(kept, "one");
}

#[test]
fn a_message_that_was_taken_away_by_hand_waits_no_longer() {
    let root = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(root.path()).unwrap();
    let notice = notice("t", 1);
    outbox.put(&notice, &["a"]).unwrap();
    fs::remove_file(root.path().join(format!("{}.a.json", notice.id))).unwrap();
    assert_eq!(outbox.read("a", notice.id).unwrap(), None);
    assert_eq!(outbox.waiting().count, 0);
}

#[test]
fn a_name_that_leads_elsewhere_is_refused_and_nothing_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(root.path()).unwrap();
    let refused = outbox.put(&notice("t", 1), &["a", "../b"]).unwrap_err();
    assert!(
        refused.to_string().starts_with("`../b` is no name"),
        "{refused}"
    );
    assert_eq!(outbox.waiting().count, 0);
    assert_eq!(names(root.path()), [".lock", "unreadable"]);
}

#[test]
fn nothing_is_promised_that_is_not_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("outbox");
    let outbox = Outbox::open(&dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let refused = outbox.put(&notice("t", 1), &["a"]).unwrap_err();
    assert!(
        matches!(refused, OutboxError::File { doing: "write", .. }),
        "{refused}"
    );
    assert_eq!(outbox.waiting().count, 0);
}

#[test]
fn a_folder_has_one_outbox() {
    let root = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(root.path()).unwrap();
    let second = Outbox::open(root.path()).unwrap_err();
    assert!(matches!(second, OutboxError::InUse(_)), "{second}");
    drop(outbox);
    Outbox::open(root.path()).unwrap();
}
