//! What becomes of claims: kinds, persons, actors, flows, and Entra's peculiarities.

use std::sync::Arc;

use serde_json::{Value, json};
use vaultgate_pdp::{Actor, Principal, PrincipalKind};

use super::minting::{Minted, key, now};
use super::provider::{Answer, discovery, document};
use super::{AUDIENCE, ISSUER, World, generic, issuer, token};

const TENANT: &str = "11111111-1111-1111-1111-111111111111";

async fn principal(world: &World, token: &str) -> Arc<Principal> {
    world.bearer(token).await.unwrap().principal
}

#[tokio::test]
async fn kind_and_person_come_from_the_configuration() {
    let world = World::of(&[generic(
        ISSUER,
        r#"
        claims.person = "person"
        kind = "workload"
        [[app]]
        id = "agent"
        kind = "agent"
        person = "ada"
        [[app]]
        subject = "system:ci"
        kind = "flow"
        [[app]]
        claim = "/ci/repository"
        value = "org/repo"
        kind = "human"
        "#,
    )]);
    let of = async |patch: Value| principal(&world, &token(patch)).await;
    let agent = of(json!({})).await;
    assert_eq!(
        (agent.kind, agent.person.as_deref()),
        (PrincipalKind::Agent, Some("ada"))
    );
    assert_eq!(
        of(json!({"client_id": "x", "sub": "system:ci"})).await.kind,
        PrincipalKind::Flow
    );
    let repository = json!({"client_id": "x", "ci": {"repository": "org/repo"}});
    assert_eq!(of(repository).await.kind, PrincipalKind::Human);
    assert_eq!(
        of(json!({"client_id": "x"})).await.kind,
        PrincipalKind::Workload
    );
    // The token's own word counts for the person, and for nothing else.
    let other = of(json!({"person": "grace", "vg_kind": "human"})).await;
    assert_eq!(
        (other.kind, other.person.as_deref()),
        (PrincipalKind::Agent, Some("grace"))
    );
}

#[tokio::test]
async fn a_kind_claim_counts_only_where_it_is_configured() {
    let silent = World::new();
    let of = async |world: &World, kind: Value| {
        principal(world, &token(json!({"vg_kind": kind})))
            .await
            .kind
    };
    assert_eq!(of(&silent, json!("human")).await, PrincipalKind::Unknown);
    let told = World::of(&[generic(ISSUER, "claims.kind = \"vg_kind\"")]);
    assert_eq!(of(&told, json!("human")).await, PrincipalKind::Human);
    assert_eq!(of(&told, json!("admin")).await, PrincipalKind::Unknown);
    assert_eq!(
        told.code(&token(json!({"vg_kind": 5}))).await,
        "token-claim-type"
    );
}

#[tokio::test]
async fn a_flow_is_named_only_by_an_issuer_that_may() {
    let named = token(json!({"vg_flow": "nightly"}));
    assert_eq!(principal(&World::new(), &named).await.flow, None);
    let world = World::of(&[generic(
        ISSUER,
        "asserts_flows = true\nclaims.flow = \"vg_flow\"",
    )]);
    assert_eq!(
        principal(&world, &named).await.flow.as_deref(),
        Some("nightly")
    );
}

#[tokio::test]
async fn an_actor_chain_is_believed_or_refused_never_dropped() {
    let chain =
        json!({"act": {"sub": "agent", "act": {"sub": "tool", "iss": "https://x.example"}}});
    assert_eq!(
        World::new().code(&token(chain.clone())).await,
        "token-actor"
    );
    let world = World::of(&[generic(ISSUER, "asserts_actors = true")]);
    let actor = |issuer: &str, subject: &str| Actor {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
    };
    let actors = principal(&world, &token(chain)).await.actors.clone();
    assert_eq!(
        actors,
        [actor(ISSUER, "agent"), actor("https://x.example", "tool")]
    );
    // A row that knows the person has not looked at who acts; one that knows the application has.
    for (row, kind) in [
        ("subject = \"alice\"", PrincipalKind::Unknown),
        ("id = \"agent\"", PrincipalKind::Human),
    ] {
        let rows = format!("asserts_actors = true\n[[app]]\n{row}\nkind = \"human\"");
        let world = World::of(&[generic(ISSUER, &rows)]);
        let acted = token(json!({"sub": "alice", "act": {"sub": "agent"}}));
        assert_eq!(principal(&world, &acted).await.kind, kind);
    }
    let mut deep = json!({"sub": "x"});
    for _ in 0..20 {
        deep = json!({"sub": "x", "act": deep});
    }
    for hostile in [
        json!("x"),
        json!({}),
        json!({"sub": 1}),
        json!({"sub": "a", "act": []}),
        json!({"sub": "a\n"}),
        deep,
    ] {
        let code = world.code(&token(json!({"act": hostile}))).await;
        assert!(code.starts_with("token-claim"), "{code}");
    }
}

#[tokio::test]
async fn claims_of_the_wrong_type_refuse() {
    let world = World::of(&[generic(
        ISSUER,
        "claims.person = \"person\"\nclaims.tenant = \"tid\"\nclaims.scopes = \"scope\"",
    )]);
    for (patch, code) in [
        (json!({"groups": "g"}), "token-claim-type"),
        (json!({"groups": ["g", 1]}), "token-claim-type"),
        (json!({"roles": ["r", null]}), "token-claim-type"),
        (json!({"roles": 5}), "token-claim-type"),
        (json!({"scope": {"a": 1}}), "token-claim-type"),
        (json!({"client_id": ["a"]}), "token-claim-type"),
        (json!({"person": 1}), "token-claim-type"),
        (json!({"tid": false}), "token-claim-type"),
        (json!({"jti": 1}), "token-claim-type"),
        (json!({"auth_time": "yesterday"}), "token-claim-type"),
        (json!({"acr": []}), "token-claim-type"),
        (json!({"acrs": "c1"}), "token-claim-type"),
        (json!({"nbf": "0"}), "token-claim-type"),
        (json!({"iat": true}), "token-claim-type"),
        (json!({"iat": null}), "token-claim-missing"),
        (json!({"sub": ""}), "token-claim-missing"),
        (json!({"sub": "x".repeat(600)}), "token-claim-value"),
        (json!({"roles": ["a\u{1b}[2J"]}), "token-claim-value"),
        (
            json!({"iat": now() + 40, "nbf": null}),
            "token-not-yet-valid",
        ),
        (json!({"iat": now() + 40}), "token-not-yet-valid"),
        (json!({"exp": now() + 3_601}), "token-lifetime"),
        (json!({"exp": 1e300}), "token-lifetime"),
    ] {
        assert_eq!(world.code(&token(patch.clone())).await, code, "{patch}");
    }
    let spread = token(json!({"scope": ["a", "b"], "groups": ["g"], "auth_time": now() - 60}));
    let caller = principal(&world, &spread).await;
    assert_eq!(caller.scopes, ["a", "b"]);
    assert_eq!(caller.groups, ["g"]);
    assert_eq!(caller.tenant.as_deref(), Some("t-1"));
    assert_eq!(caller.auth_time.as_deref(), Some("2026-11-23T02:59:00Z"));
}

#[tokio::test]
async fn equal_subjects_of_two_issuers_are_two_principals() {
    let world = World::new();
    let second = json!({"iss": super::SECOND});
    let one = principal(&world, &token(json!({}))).await;
    let other = principal(
        &world,
        &Minted::honest().claims(second).key("issuer2-es").sign(),
    )
    .await;
    assert_eq!(one.subject, other.subject);
    assert_ne!(one.key(), other.key());
}

#[tokio::test]
async fn a_console_token_does_not_open_the_data_door() {
    let world = World::of(&[generic(ISSUER, "console_audiences = [\"api://console\"]")]);
    assert_eq!(
        world.code(&token(json!({"aud": "api://console"}))).await,
        "token-audience"
    );
    let both = json!({"aud": [AUDIENCE, "api://console/"]});
    assert_eq!(world.code(&token(both)).await, "token-audience");
    let bare = json!({"aud": AUDIENCE.trim_end_matches('/')});
    assert_eq!(
        world.code(&token(bare)).await,
        "accepted",
        "modulo a trailing slash"
    );
}

/// The Entra world of one preset, and an honest delegated token's claims.
fn entra(preset: &str, more: &str) -> (World, Value) {
    let issuer = issuer(&format!(
        "name = \"entra\"\npreset = \"{preset}\"\ntenant = \"{TENANT}\"\n\
         audiences = [\"api://vaultgate\"]\n{more}"
    ));
    let (url, version, app) = (issuer.url.clone(), &issuer.entra, &issuer.claims.app);
    let claims = json!({
        "iss": url, "aud": "api://vaultgate", "sub": "pairwise", "oid": "o-1", "tid": TENANT,
        "ver": version.as_ref().unwrap().version, app.as_ref().unwrap().as_str(): "cli",
        "scp": "user_impersonation", "roles": ["backup.operator"], "uti": "u-1",
        "iat": now(), "nbf": now(), "exp": now() + 3_600, "acrs": ["c1"],
    });
    let world = World::of(&[issuer]);
    // As Entra publishes keys: without `alg`.
    let mut jwk = key("rs-1").jwk.clone();
    super::minting::merge(&mut jwk, &json!({"alg": null}));
    let keys = Answer::Json(json!({"keys": [jwk]}));
    let authority = "https://login.microsoftonline.com";
    let v2 = format!("{authority}/{TENANT}/discovery/v2.0/keys");
    world
        .provider
        .set(&discovery(&url), Answer::Json(document(&url, &v2)));
    world.provider.set(&v2, keys.clone());
    world
        .provider
        .set(&format!("{authority}/{TENANT}/discovery/keys"), keys);
    (world, claims)
}

fn entra_token(claims: &Value, patch: Value) -> String {
    let mut minted = Minted::honest().header(json!({"alg": "RS256", "typ": "JWT", "kid": "rs-1"}));
    minted.claims = claims.clone();
    minted.claims(patch).key("rs-1").sign()
}

const CLI_IS_HUMAN: &str = "[[app]]\nid = \"cli\"\nkind = \"human\"";

#[tokio::test]
async fn a_delegated_entra_token_is_a_person_with_the_app_as_actor() {
    for preset in ["entra-v1", "entra-v2"] {
        let (world, claims) = entra(preset, CLI_IS_HUMAN);
        let caller = world
            .bearer(&entra_token(&claims, json!({})))
            .await
            .unwrap();
        assert_eq!(caller.token_id.as_deref(), Some("u-1"));
        let principal = caller.principal;
        assert_eq!(principal.subject, "o-1");
        assert_eq!(principal.person, Some(format!("{TENANT}/o-1")));
        assert_eq!(principal.kind, PrincipalKind::Human);
        assert_eq!(principal.tenant.as_deref(), Some(TENANT));
        assert_eq!(principal.acr.as_deref(), Some("c1"));
        assert_eq!(principal.scopes, ["user_impersonation"]);
        assert_eq!(principal.actors.len(), 1);
        assert_eq!(principal.actors[0].subject, "cli");
    }
}

#[tokio::test]
async fn an_entra_application_by_itself_is_nobody() {
    let (world, claims) = entra("entra-v2", CLI_IS_HUMAN);
    for patch in [json!({"scp": null}), json!({"idtyp": "app"})] {
        let caller = principal(&world, &entra_token(&claims, patch)).await;
        assert_eq!(caller.person, None);
        assert_eq!(
            caller.kind,
            PrincipalKind::Unknown,
            "an app with a secret is not at a keyboard"
        );
        assert_eq!(caller.actors, []);
    }
}

#[tokio::test]
async fn entra_tokens_of_another_kind_tenant_or_version_refuse() {
    let (world, claims) = entra("entra-v2", "");
    for (patch, code) in [
        (
            json!({"tid": "22222222-2222-2222-2222-222222222222"}),
            "token-tenant",
        ),
        (json!({"tid": null}), "token-tenant"),
        (json!({"ver": "1.0"}), "token-tenant"),
        (json!({"ver": 2.0}), "token-claim-type"),
        (json!({"nonce": "n"}), "token-type"),
        (json!({"scp": null, "roles": null}), "token-type"),
        (json!({"oid": null}), "token-claim-missing"),
        (json!({"sub": null}), "token-claim-missing"),
        (
            json!({"iss": format!("https://sts.windows.net/{TENANT}/")}),
            "token-issuer-unknown",
        ),
        (
            json!({"_claim_names": {"groups": "src1"}}),
            "token-claims-overage",
        ),
        (json!({"_claim_names": "groups"}), "token-claim-type"),
        (json!({"hasgroups": true}), "token-claims-overage"),
        (json!({"hasgroups": "true"}), "token-claims-overage"),
        (json!({"exp": now() + 7_201}), "token-lifetime"),
    ] {
        assert_eq!(
            world.code(&entra_token(&claims, patch.clone())).await,
            code,
            "{patch}"
        );
    }
    let (world, claims) = entra("entra-v2", "claims.groups = \"\"");
    let overage = entra_token(&claims, json!({"_claim_names": {"groups": "src1"}}));
    assert_eq!(
        world.code(&overage).await,
        "accepted",
        "groups are not looked at"
    );
}

#[tokio::test]
async fn ci_and_cluster_tokens_pass_by_their_presets() {
    let github = "https://token.actions.githubusercontent.com";
    let cluster = "https://cluster.example/id/";
    let world = World::of(&[
        issuer(
            "name = \"ci\"\npreset = \"github-actions\"\naudiences = [\"api://vaultgate\"]\nkind = \"workload\"",
        ),
        issuer(&format!(
            "name = \"k8s\"\npreset = \"kubernetes\"\nissuer = \"{cluster}\"\naudiences = [\"api://vaultgate\"]\n\
             claims.tenant = \"/kubernetes.io/namespace\""
        )),
    ]);
    let keys = Answer::Json(json!({"keys": [key("rs-1").jwk]}));
    world
        .provider
        .set(&format!("{github}/.well-known/jwks"), keys.clone());
    world
        .provider
        .set("https://cluster.example/id/openid/v1/jwks", keys);
    let times = json!({"aud": "api://vaultgate", "iat": now(), "nbf": now(), "exp": now() + 300});
    let with = |patch: Value| {
        let mut claims = times.clone();
        super::minting::merge(&mut claims, &patch);
        claims
    };
    let ci = with(
        json!({"iss": github, "sub": "repo:org/repo:ref:refs/heads/main", "repository": "org/repo", "repository_owner": "org", "jti": "j"}),
    );
    let caller = principal(&world, &entra_token(&ci, json!({}))).await;
    assert_eq!(
        (caller.kind, caller.app.as_deref()),
        (PrincipalKind::Workload, Some("org/repo"))
    );
    let pod = with(
        json!({"iss": cluster, "sub": "system:serviceaccount:ns:sa", "kubernetes.io": {"namespace": "ns"}}),
    );
    let mut minted = Minted::honest().header(json!({"alg": "RS256", "typ": null, "kid": "rs-1"}));
    minted.claims = pod;
    let caller = principal(&world, &minted.key("rs-1").sign()).await;
    assert_eq!(
        (caller.subject.as_str(), caller.tenant.as_deref()),
        ("system:serviceaccount:ns:sa", Some("ns"))
    );
}
