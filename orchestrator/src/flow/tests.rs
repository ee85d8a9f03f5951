//! A file as people write it, and ninety that are wrong: each is told where, what, and what to
//! write instead.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use super::{Flow, Kind, Tier};
use crate::duration::Length;
use crate::schedule::{Catchup, Overlap};

const NIGHTLY: &str = include_str!("nightly.yaml");

/// The line of the good file that holds a text.
fn line_of(text: &str) -> u64 {
    let lines = NIGHTLY.lines().zip(1..);
    lines
        .into_iter()
        .find(|(line, _)| line.contains(text))
        .unwrap()
        .1
}

#[test]
fn a_flow_is_what_its_file_says() {
    let flow = Flow::read("nightly.yaml", NIGHTLY).unwrap();
    assert_eq!(
        (flow.name.as_str(), flow.identity.as_str()),
        ("nightly-vm-backup", "nightly")
    );
    assert!(flow.digest.starts_with("sha256:") && flow.digest.len() == 71);
    let names: Vec<&str> = flow
        .regions
        .iter()
        .map(|region| region.name.as_str())
        .collect();
    assert_eq!(names, ["eastus", "japaneast", "westeurope"]);
    let [east, japan, west] = flow.regions.as_slice() else {
        panic!("three regions")
    };
    assert_eq!((east.parallel, west.parallel), (8, 4));
    assert_eq!(
        (japan.schedule.overlap, west.schedule.overlap),
        (Overlap::Queue, Overlap::Skip)
    );
    assert_eq!(west.schedule.catchup, Catchup::Last);
    assert_eq!(japan.deadline.finish_within, Length::parse("4h").unwrap());
    // What a region says of a part replaces all of that part.
    assert_eq!(japan.deadline.start_within, Length::parse("30m").unwrap());
    let tier = |region: &super::Region| region.checks.recovery_point.as_ref().unwrap().tier;
    assert_eq!(
        (tier(west), tier(japan)),
        (Some(Tier::Snapshot), Some(Tier::Vault))
    );
    let items = &west.targets.first().unwrap().items;
    assert!(items.iter().all(|one| one.kind == Kind::Vm));
    assert!(items.first().unwrap().names.matches("RG-App/WEB-17"));
    assert_eq!(west.maintenance.len(), 1);
    assert_eq!(west.controls, ["SOC2 A1.2", "ISO27001 A.8.13"]);
    assert_eq!(flow.notify.len(), 2);
}

/// One change to the good file, and what is said of it: on which line, in which words, with which
/// hint.
const BROKEN: &[(&str, &str, &str, &str)] = &[
    // Keys.
    (
        "version: 1",
        "versoin: 1",
        "unknown key `versoin`",
        "write `version`",
    ),
    ("owner: ", "ower: ", "unknown key `ower`", "write `owner`"),
    (
        "  westeurope:",
        "  westeurope:\n    shedule: 1",
        "unknown key `shedule`",
        "write `schedule`",
    ),
    (
        "overlap: skip",
        "overlapp: skip",
        "unknown key `overlapp`",
        "write `overlap`",
    ),
    (
        "exclude: ",
        "excludes: ",
        "unknown key `excludes`",
        "write `exclude`",
    ),
    (
        "repeat: 1h",
        "evry: 1h",
        "unknown key `evry`",
        "write one of: on, after_failures, repeat",
    ),
    (
        "clock: excluding",
        "colour: excluding",
        "unknown key `colour`",
        "write one of: start_within",
    ),
    ("flow: nightly-vm-backup\n", "", "`flow` is missing", ""),
    (
        "owner: platform-backup@contoso.com\n",
        "",
        "`owner` is missing",
        "",
    ),
    ("cron: \"30 2 * * *\", ", "", "`cron` is missing", ""),
    (
        ", timezone: Europe/Amsterdam",
        "",
        "`timezone` is missing",
        "",
    ),
    (
        "flow: nightly-vm-backup",
        "flow: nightly-vm-backup\nflow: other",
        "duplicate",
        "",
    ),
    // Form.
    (
        "regions:",
        "regions: []\nothers:",
        "keys with values are expected",
        "`key: value`",
    ),
    (
        "version: 1",
        "version: one",
        "a whole number is expected",
        "digits only",
    ),
    (
        "version: 1",
        "version: 2",
        "version 2 is not known",
        "write `version: 1`",
    ),
    (
        "    parallel: 8",
        "\tparallel: 8",
        "indented with a tab",
        "indent with spaces",
    ),
    (
        "items: [\"share:stagingsa/*\"]",
        "items: [\"share:stagingsa/*\"",
        "is not closed",
        "the line before it",
    ),
    (
        "flow: nightly-vm-backup",
        "flow: [nightly]",
        "one text is expected",
        "without brackets",
    ),
    (
        "parallel: 4",
        "parallel: 4.5",
        "a whole number is expected",
        "digits only",
    ),
    (
        "parallel: 4",
        "parallel: yes",
        "a whole number is expected",
        "digits only",
    ),
    (
        "version: 1",
        "version: 1\nx: &x [*x]",
        "unknown key `x`",
        "write one of",
    ),
    (
        "version: 1",
        "version: !!binary 1",
        "a whole number is expected",
        "digits only",
    ),
    (
        "version: 1",
        "version: 1\nkind: backups",
        "is no kind of flow",
        "write `backup`",
    ),
    (
        "version: 1",
        "version: 1\nkind: restore-drill",
        "does not say where it restores to",
        "`drill: {",
    ),
    (
        "version: 1",
        "version: 1\nkind: retention-review",
        "does not say what it expects",
        "`retention: {",
    ),
    (
        "cron: \"30 2 * * *\", timezone: Europe/Amsterdam }",
        "cron: \"30 2 * * *\", timezone: Europe/Amsterdam }\n    retention: { daily: 7d }",
        "a setting of flows that review it",
        "kind: retention-review",
    ),
    (
        "exclude: [\"vm:rg-app/web-canary\"]",
        "tag: nightly",
        "is no tag",
        "backup=nightly",
    ),
    // Names.
    (
        "flow: nightly-vm-backup",
        "flow: Nightly_Backup",
        "`Nightly_Backup` is no name of a flow",
        "small letters",
    ),
    (
        "flow: nightly-vm-backup",
        "flow: ../etc",
        "is no name of a flow",
        "small letters",
    ),
    (
        "flow: nightly-vm-backup",
        "flow: \"\"",
        "is no name of a flow",
        "small letters",
    ),
    (
        "flow: nightly-vm-backup",
        "flow: -a",
        "is no name of a flow",
        "small letters",
    ),
    (
        "identity: nightly",
        "identity: \"client secret\"",
        "is no name of an identity",
        "small letters",
    ),
    (
        "platform-backup@contoso.com",
        "platform-backup",
        "is no mail address",
        "backup@contoso.com",
    ),
    (
        "platform-backup@contoso.com",
        "a b@contoso.com",
        "is no mail address",
        "backup@contoso.com",
    ),
    // The gateway, and nothing but the gateway.
    (
        "https://gateway.internal:8443",
        "http://gateway.internal:8443",
        "has no TLS",
        "https://",
    ),
    (
        "https://gateway.internal:8443",
        "gateway.internal",
        "is no address",
        "https://gw.internal:8443",
    ),
    (
        "https://gateway.internal:8443",
        "https://management.azure.com",
        "is Azure, not the gateway",
        "only",
    ),
    (
        "https://gateway.internal:8443",
        "https://MANAGEMENT.AZURE.COM.",
        "is Azure, not the gateway",
        "only",
    ),
    (
        "https://gateway.internal:8443",
        "https://vault.vault.azure.net",
        "is Azure, not the gateway",
        "only",
    ),
    (
        "https://gateway.internal:8443",
        "https://user:pass@gateway.internal",
        "more than host and port",
        "only",
    ),
    (
        "https://gateway.internal:8443",
        "https://gateway.internal/path",
        "more than host and port",
        "only",
    ),
    (
        "https://gateway.internal:8443",
        "https://gateway.internal?x=1",
        "more than host and port",
        "only",
    ),
    // Schedules.
    (
        "30 2 * * *",
        "30 2 * *",
        "has 4 fields, not five",
        "30 2 * * *",
    ),
    (
        "30 2 * * *",
        "0 30 2 * * *",
        "has 6 fields, not five",
        "30 2 * * *",
    ),
    ("30 2 * * *", "70 2 * * *", "`70 2 * * *`", "30 2 * * *"),
    ("30 2 * * *", "0 2 30 2 *", "is never due", "30 2 * * *"),
    (
        "Europe/Amsterdam",
        "Europe/Amsterdm",
        "is no time zone",
        "IANA",
    ),
    ("Europe/Amsterdam", "CET", "is no time zone", "IANA"),
    ("Europe/Amsterdam", "\"+02:00\"", "is no time zone", "IANA"),
    (
        "overlap: skip",
        "overlap: skipp",
        "`skipp` is no way to overlap",
        "write `skip`",
    ),
    (
        "catchup: last",
        "catchup: latest",
        "`latest` is no way to catch up",
        "write one of: none, last, all",
    ),
    (
        "catchup: last",
        "catchup: everything",
        "is no way to catch up",
        "write one of: none, last, all",
    ),
    (
        "catchup_window: 6h",
        "catchup_window: 30s",
        "is not between 1m and 7d",
        "usual is 6h",
    ),
    // Lengths of time.
    (
        "catchup_window: 6h",
        "catchup_window: 6",
        "has no unit",
        "`90m`",
    ),
    ("first: 15s", "first: 15 s", "is no unit of time", "`90m`"),
    (
        "start_within: 30m",
        "start_within: half an hour",
        "is no length of time",
        "`90m`",
    ),
    (
        "finish_within: 8h",
        "finish_within: 8h30m",
        "is no unit of time",
        "`90m`",
    ),
    (
        "finish_within: 8h",
        "finish_within: 20m",
        "has to end within 20m",
        "longer than `start_within`",
    ),
    (
        "cap: 5m",
        "cap: 5s",
        "shorter than the first wait",
        "not shorter",
    ),
    (
        "max: 5m",
        "max: 30s",
        "shorter than the first wait",
        "less often",
    ),
    (
        "first: 60s",
        "first: 0s",
        "is not between 1s and 1h",
        "usual is 1m",
    ),
    (
        "retain: 30d",
        "retain: 1h",
        "is not between 1d and 9999d",
        "usual is 30d",
    ),
    (
        "clock: excluding-approval",
        "clock: excluding-approvals",
        "is no clock of a deadline",
        "excluding-approval",
    ),
    // Numbers.
    (
        "attempts: 6",
        "attempts: 0",
        "0 is not between 1 and 20",
        "usual is 6",
    ),
    (
        "parallel: 8",
        "parallel: 1000",
        "1000 is not between 1 and 100",
        "usual is 4",
    ),
    (
        "after_failures: 1",
        "after_failures: -1",
        "-1 is not between 1 and 100",
        "usual is 1",
    ),
    // Targets.
    (
        "22222222-2222-2222-2222-222222222222/rg1/v1",
        "rg1/v1",
        "`rg1/v1` is no vault",
        "subscription id",
    ),
    (
        "22222222-2222-2222-2222-222222222222/rg1/v1",
        "22222222-2222-2222-2222-222222222222/rg1/../v1",
        "is no vault",
        "",
    ),
    (
        "vm:rg-app/web-*",
        "rg-app/web-*",
        "does not say what it names",
        "`vm:rg-app/web-*`",
    ),
    (
        "vm:rg-app/web-*",
        "vms:rg-app/web-*",
        "`vms` is no kind of item",
        "write `vm`",
    ),
    (
        "vm:rg-app/web-*",
        "vm:web-*",
        "does not have two parts",
        "`vm:rg-app/web-*`",
    ),
    (
        "vm:rg-app/web-*",
        "vm:rg-app/web-??",
        "has a `?`",
        "`*` for any letters",
    ),
    (
        "vm:rg-app/web-*",
        "vm:**/web",
        "has `**`",
        "`*` for any letters",
    ),
    (
        "\"vm:rg-app/db-01\"",
        "\"vm:rg-app/web-*\"",
        "is named twice",
        "leave one out",
    ),
    ("[\"sql:sqlvm01/payroll\"]", "[]", "no item of", "vm:*/*"),
    // What has to hold.
    (
        "tier: vault",
        "tier: valut",
        "`valut` is no tier",
        "write `vault`",
    ),
    (
        "accept: [Completed]",
        "accept: [Complete]",
        "is no state that jobs end in",
        "write `Completed`",
    ),
    (
        "accept: [Completed]",
        "accept: [Failed]",
        "backed nothing up",
        "leave it out",
    ),
    (
        "accept: [Completed]",
        "accept: []",
        "no state of a job is accepted",
        "accept: [Completed]",
    ),
    (
        "warn: [CompletedWithWarnings]",
        "warn: [Completed]",
        "is accepted and warned of",
        "one of the two",
    ),
    // Windows.
    (
        "days: [Sat, Sun]",
        "days: [Saturday]",
        "is no day of the week",
        "write one of: Mon",
    ),
    (
        "days: [Sat, Sun]",
        "days: []",
        "a window has no day",
        "days: [Sat, Sun]",
    ),
    (
        "from: \"22:00\"",
        "from: \"24:00\"",
        "is no time of the day",
        "`\"22:00\"`",
    ),
    (
        "from: \"22:00\"",
        "from: 22:00:00",
        "is no time of the day",
        "`\"22:00\"`",
    ),
    (
        "to: \"04:00\"",
        "to: \"22:00\"",
        "empty, or a whole day",
        "two times",
    ),
    (
        "controls: [SOC2 A1.2, ISO27001 A.8.13]",
        "controls: [\" \"]",
        "is no name of a control",
        "SOC2 A1.2",
    ),
    // Who is told.
    (
        "on: [RpoBreached]",
        "on: [RPOBreached]",
        "is no event",
        "write `RpoBreached`",
    ),
    (
        "on: [RpoBreached]",
        "on: []",
        "is told nothing",
        "on: [Failed",
    ),
    (
        "repeat: 1h",
        "repeat: 1s",
        "is not between 5m and 7d",
        "usual is",
    ),
];

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_to_write() {
    assert!(BROKEN.len() >= 60);
    let mut wrong = Vec::new();
    for (good, bad, told, hint) in BROKEN {
        assert!(NIGHTLY.contains(good), "{good}");
        let text = NIGHTLY.replacen(good, bad, 1);
        let Err(rejected) = Flow::read("nightly.yaml", &text) else {
            wrong.push(format!("`{bad}` is taken"));
            continue;
        };
        let shown = rejected.to_string();
        let line = line_of(good.lines().next().unwrap());
        let mut problems = rejected.problems.iter();
        let Some(problem) = problems.find(|problem| problem.message.contains(told)) else {
            wrong.push(format!("`{bad}`: no `{told}` in {shown}"));
            continue;
        };
        let lines = bad.matches('\n').count() as u64;
        // What is missing is told where its part begins; what is malformed, where it shows.
        let near = problem.line.abs_diff(line) <= lines + 1
            || told.ends_with("missing")
            || told.ends_with("closed");
        let given = problem.hint.as_deref().unwrap_or_default();
        let plain = !["Spanned", "struct", "RUST", "variant"]
            .iter()
            .any(|word| shown.contains(word));
        if !(near && problem.line > 0 && problem.column > 0 && given.contains(hint) && plain) {
            wrong.push(format!("`{bad}` on line {line}, `{hint}`: {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = NIGHTLY
        .replacen("30 2 * * *", "70 2 * * *", 1)
        .replacen("Asia/Tokyo", "Asia/Tokio", 1)
        .replacen("tier: vault", "tier: cloud", 1);
    let rejected = Flow::read("nightly.yaml", &text).unwrap_err();
    assert_eq!(rejected.problems.len(), 3, "{rejected}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever stands in a file, reading it ends, and says something.
    #[test]
    fn no_text_panics(cut in 0_usize..NIGHTLY.len(), put in "[\\PC\n\t:{}\\[\\]&*!|>%@`'\",#-]{0,20}", skip in 0_usize..40) {
        let cut = (0..=cut).rev().find(|at| NIGHTLY.is_char_boundary(*at)).unwrap();
        let rest = NIGHTLY.get((cut + skip).min(NIGHTLY.len())..).unwrap_or_default();
        let text = format!("{}{put}{rest}", NIGHTLY.get(..cut).unwrap());
        if let Err(rejected) = Flow::read("f.yaml", &text) {
            assert!(!rejected.to_string().is_empty());
        }
    }
}
