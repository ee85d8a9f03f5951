//! What a written issuer becomes, and which mistakes are told.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde::Deserialize;

use super::{Issuer, IssuerFile, KeyLocation, SAMPLE, check_distinct};
use crate::config::Problems;

fn checked(toml: &str) -> (Option<Issuer>, Vec<String>) {
    let mut problems = Problems::default();
    let file: IssuerFile = toml::from_str(toml).unwrap();
    let issuer = file.check("issuer[0]", &mut problems);
    (
        issuer,
        problems.iter().map(|problem| problem.key.clone()).collect(),
    )
}

fn entra(version: &str, more: &str) -> Issuer {
    let (issuer, problems) = checked(&format!(
        "name = \"e\"\npreset = \"entra-{version}\"\ntenant = \"ABCDEF00-1111-1111-1111-111111111111\"\n\
         audiences = [\"a\"]\n{more}"
    ));
    assert_eq!(problems, Vec::<String>::new());
    issuer.unwrap()
}

const TENANT: &str = "abcdef00-1111-1111-1111-111111111111";

#[test]
fn entra_issuers_follow_from_tenant_and_cloud() {
    let cases = [
        ("v2", "", "https://login.microsoftonline.com/T/v2.0", None),
        (
            "v2",
            "cloud = \"usgov\"",
            "https://login.microsoftonline.us/T/v2.0",
            None,
        ),
        (
            "v2",
            "cloud = \"china\"",
            "https://login.partner.microsoftonline.cn/T/v2.0",
            None,
        ),
        (
            "v2",
            "authority = \"https://localhost:7/\"",
            "https://localhost:7/T/v2.0",
            None,
        ),
        (
            "v1",
            "",
            "https://sts.windows.net/T/",
            Some("https://login.microsoftonline.com/T/discovery/keys"),
        ),
        (
            "v1",
            "cloud = \"china\"",
            "https://sts.chinacloudapi.cn/T/",
            Some("https://login.partner.microsoftonline.cn/T/discovery/keys"),
        ),
        (
            "v1",
            "authority = \"https://localhost:7\"",
            "https://localhost:7/T/",
            Some("https://localhost:7/T/discovery/keys"),
        ),
    ];
    for (version, more, url, keys) in cases {
        let issuer = entra(version, more);
        assert_eq!(issuer.url, url.replace('T', TENANT), "{more}");
        let expected = match keys {
            None => KeyLocation::Discovered,
            Some(keys) => {
                KeyLocation::Pinned(keys.replace("/T/", &format!("/{TENANT}/")).parse().unwrap())
            }
        };
        assert_eq!(issuer.keys, expected, "{more}");
    }
}

#[test]
fn mistakes_are_named_where_they_stand() {
    let generic = |more: &str| {
        format!("name = \"g\"\naudiences = [\"a\"]\nissuer = \"https://i.example\"\n{more}")
    };
    let no_issuer = "name = \"g\"\naudiences = [\"a\"]\n";
    let cases = [
        (generic(""), vec![]),
        (
            generic("algorithms = [\"HS256\"]"),
            vec!["issuer[0].algorithms"],
        ),
        (
            generic("algorithms = [\"none\"]"),
            vec!["issuer[0].algorithms"],
        ),
        (generic("algorithms = []"), vec!["issuer[0].algorithms"]),
        (generic("token_types = []"), vec!["issuer[0].token_types"]),
        (
            generic("max_lifetime = \"10s\""),
            vec!["issuer[0].max_lifetime"],
        ),
        (generic("leeway = \"10m\""), vec!["issuer[0].leeway"]),
        (
            generic("jwks_cooldown = \"0s\""),
            vec!["issuer[0].jwks_cooldown"],
        ),
        (
            generic("jwks_uri = \"http://i.example/jwks\""),
            vec!["issuer[0].jwks_uri"],
        ),
        (
            generic("asserts_flows = true"),
            vec!["issuer[0].asserts_flows"],
        ),
        (
            generic("claims.flow = \"f\""),
            vec!["issuer[0].claims.flow"],
        ),
        (
            generic("console_audiences = [\"a/\"]"),
            vec!["issuer[0].audiences"],
        ),
        (
            generic("console_audiences = [\"*\"]"),
            vec!["issuer[0].audiences"],
        ),
        (generic("tenant = \"t\""), vec!["issuer[0].tenant"]),
        (
            generic("[[app]]\nkind = \"human\""),
            vec!["issuer[0].app[0]"],
        ),
        (
            generic("[[app]]\nid = \"a\"\nkind = \"human\"\n[[app]]\nid = \"a\"\nkind = \"agent\""),
            vec!["issuer[0].app[1]"],
        ),
        (no_issuer.to_owned(), vec!["issuer[0].issuer"]),
        (
            format!("{no_issuer}issuer = \"http://i.example\""),
            vec!["issuer[0].issuer"],
        ),
        (
            format!("{no_issuer}issuer = \"http://127.0.0.1:9/\""),
            vec!["issuer[0].issuer"],
        ),
        (
            format!("{no_issuer}issuer = \"http://127.0.0.1:9/\"\nallow_insecure_loopback = true"),
            vec![],
        ),
        (
            format!("{no_issuer}issuer = \"http://i.example/\"\nallow_insecure_loopback = true"),
            vec!["issuer[0].issuer"],
        ),
        (
            format!("{no_issuer}issuer = \"https://u@i.example/\""),
            vec!["issuer[0].issuer"],
        ),
        (
            format!("{no_issuer}issuer = \"https://i.example/?x\""),
            vec!["issuer[0].issuer"],
        ),
        (
            format!("{no_issuer}preset = \"entra-v2\"\ntenant = \"common\""),
            vec!["issuer[0].tenant"],
        ),
        (
            "name = \"a b\"\naudiences = []\nissuer = \"https://i.example\"".to_owned(),
            vec!["issuer[0].name", "issuer[0].audiences"],
        ),
    ];
    for (toml, expected) in cases {
        assert_eq!(checked(&toml).1, expected, "{toml}");
    }
}

#[test]
fn a_misspelt_setting_is_refused() {
    let wrong =
        "name = \"g\"\naudiences = [\"a\"]\nissuer = \"https://i.example\"\nmax_lifetme = \"1h\"";
    assert!(toml::from_str::<IssuerFile>(wrong).is_err());
}

#[test]
fn one_issuer_has_one_table() {
    let one = entra("v2", "");
    let mut problems = Problems::default();
    check_distinct(&[one.clone(), one], &mut problems);
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["issuer[1].issuer", "issuer[1].name"]);
}

#[derive(Deserialize)]
struct Sample {
    issuer: Vec<IssuerFile>,
}

#[test]
fn the_sample_holds_and_shows_every_setting() {
    let sample: Sample = toml::from_str(SAMPLE).unwrap();
    let mut problems = Problems::default();
    for issuer in sample.issuer {
        assert!(issuer.check("issuer[0]", &mut problems).is_some());
    }
    assert!(
        problems.is_empty(),
        "{:?}",
        problems.iter().collect::<Vec<_>>()
    );
    // A setting that does not exist makes the parser list those that do.
    let all = toml::from_str::<IssuerFile>("nothing = 1")
        .unwrap_err()
        .to_string();
    let names: Vec<&str> = all.split('`').skip(3).step_by(2).collect();
    assert!(names.len() > 15, "{all}");
    for name in names {
        let shown = [
            format!("\n{name} = "),
            format!("\n# {name} = "),
            format!("[issuer.{name}]"),
        ];
        assert!(
            shown.iter().any(|line| SAMPLE.contains(line.as_str())),
            "`{name}` is not in the sample"
        );
    }
}
