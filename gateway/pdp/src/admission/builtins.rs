//! The builtins that a policy may call: an allow-list.
//!
//! A decision depends on its input and its bundle alone, ends soon and can be
//! repeated. So nothing in here looks at a clock, a network, a random source or
//! the process, and nothing makes much out of little.

/// How many arguments each takes.
const ALLOWED: &[(&str, usize)] = &[
    ("__builtin_sets.intersection", 2),
    ("__builtin_sets.union", 2),
    ("abs", 1),
    ("array.concat", 2),
    ("array.reverse", 1),
    ("array.slice", 3),
    ("base64.decode", 1),
    ("base64.encode", 1),
    ("base64.is_valid", 1),
    ("base64url.decode", 1),
    ("base64url.encode", 1),
    ("base64url.encode_no_pad", 1),
    ("bits.and", 2),
    ("bits.negate", 1),
    ("bits.or", 2),
    ("bits.rsh", 2),
    ("bits.xor", 2),
    ("ceil", 1),
    ("concat", 2),
    ("contains", 2),
    ("count", 1),
    ("endswith", 2),
    ("floor", 1),
    ("format_int", 2),
    ("glob.match", 3),
    ("glob.quote_meta", 1),
    ("graph.reachable", 2),
    ("hex.decode", 1),
    ("hex.encode", 1),
    ("indexof", 2),
    ("indexof_n", 2),
    ("intersection", 1),
    ("is_array", 1),
    ("is_boolean", 1),
    ("is_null", 1),
    ("is_number", 1),
    ("is_object", 1),
    ("is_set", 1),
    ("is_string", 1),
    ("json.filter", 2),
    ("json.is_valid", 1),
    ("json.marshal", 1),
    ("json.remove", 2),
    ("json.unmarshal", 1),
    ("lower", 1),
    ("max", 1),
    ("min", 1),
    ("net.cidr_contains", 2),
    ("net.cidr_is_valid", 1),
    ("object.filter", 2),
    ("object.get", 3),
    ("object.keys", 1),
    ("object.remove", 2),
    ("object.subset", 2),
    ("object.union", 2),
    ("object.union_n", 1),
    ("product", 1),
    ("regex.find_n", 3),
    ("regex.is_valid", 1),
    ("regex.match", 2),
    ("regex.replace", 3),
    ("regex.split", 2),
    ("regex.template_match", 4),
    ("replace", 3),
    ("round", 1),
    ("semver.compare", 2),
    ("semver.is_valid", 1),
    ("sort", 1),
    ("split", 2),
    ("sprintf", 2),
    ("startswith", 2),
    ("strings.any_prefix_match", 2),
    ("strings.any_suffix_match", 2),
    ("strings.count", 2),
    ("strings.replace_n", 2),
    ("strings.reverse", 1),
    ("substring", 3),
    ("sum", 1),
    ("time.add_date", 4),
    ("time.clock", 1),
    ("time.date", 1),
    ("time.diff", 2),
    ("time.format", 1),
    ("time.parse_duration_ns", 1),
    ("time.parse_ns", 2),
    ("time.parse_rfc3339_ns", 1),
    ("time.weekday", 1),
    ("to_number", 1),
    ("trim", 2),
    ("trim_left", 2),
    ("trim_prefix", 2),
    ("trim_right", 2),
    ("trim_space", 1),
    ("trim_suffix", 2),
    ("type_name", 1),
    ("union", 1),
    ("units.parse", 1),
    ("units.parse_bytes", 1),
    ("upper", 1),
    ("walk", 1),
];

/// What there is, or was in other engines, and why it is not taken here.
const REFUSED: &[(&str, &str)] = &[
    (
        "http.send",
        "a decision asks nobody; put what it needs into `data`",
    ),
    (
        "net.lookup_ip_addr",
        "a decision asks nobody; put what it needs into `data`",
    ),
    (
        "time.now_ns",
        "the time of the request is `input.now`, so that a decision can be repeated",
    ),
    (
        "rand.intn",
        "a decision is the same whenever it is repeated",
    ),
    (
        "uuid.rfc4122",
        "a decision is the same whenever it is repeated",
    ),
    ("uuid.parse", "compare the text of ids"),
    (
        "opa.runtime",
        "a decision depends on its input and its bundle alone",
    ),
    (
        "numbers.range",
        "its size can come from a request; list the numbers in `data`",
    ),
    (
        "numbers.range_step",
        "its size can come from a request; list the numbers in `data`",
    ),
    (
        "net.cidr_expand",
        "it makes millions out of one range; use `net.cidr_contains`",
    ),
    ("bits.lsh", "it makes numbers of any size; multiply"),
    (
        "graph.reachable_paths",
        "it makes many paths out of few edges; use `graph.reachable`",
    ),
    ("regex.globs_match", "use `glob.match`"),
    (
        "io.jwt.decode",
        "tokens are verified before policy; read `input.principal`",
    ),
    (
        "io.jwt.decode_verify",
        "tokens are verified before policy; read `input.principal`",
    ),
];

/// Only for tests: what they say goes to whoever runs them.
const FOR_TESTS: &[(&str, usize)] = &[("trace", 1)];

/// What a name of a builtin stands for.
pub(super) enum Builtin {
    /// May be called with so many arguments.
    Allowed(usize),
    /// May be called with any arguments.
    AnyArguments,
    /// May not be called, with the reason.
    Refused(&'static str),
    /// There is no such function.
    Unknown,
}

/// Names of the builtins that a policy may call, in a fixed order.
pub(crate) fn allowed_builtins() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().map(|(name, _)| *name)
}

/// Whether a builtin is called so, admitted or not.
pub(crate) fn is_builtin(name: &str) -> bool {
    !matches!(find(name, true), Builtin::Unknown)
}

/// Looks a builtin up.
pub(super) fn find(name: &str, in_tests: bool) -> Builtin {
    let allowed = |list: &[(&str, usize)]| {
        let found = list.iter().find(|(known, _)| *known == name);
        found.map(|(_, arguments)| Builtin::Allowed(*arguments))
    };
    if name == "print" || FOR_TESTS.iter().any(|(known, _)| *known == name) {
        if !in_tests {
            return Builtin::Refused("it is for tests; say what matters in a reason's message");
        }
        return allowed(FOR_TESTS).unwrap_or(Builtin::AnyArguments);
    }
    if let Some(builtin) = allowed(ALLOWED) {
        return builtin;
    }
    let refused = REFUSED.iter().find(|(known, _)| *known == name);
    refused.map_or(Builtin::Unknown, |(_, why)| Builtin::Refused(why))
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, Builtin, REFUSED, find};

    #[test]
    fn the_lists_are_sorted_and_do_not_overlap() {
        assert!(ALLOWED.is_sorted());
        for (name, _) in REFUSED {
            assert!(
                !ALLOWED.iter().any(|(allowed, _)| allowed == name),
                "{name}"
            );
        }
    }

    /// Every name on the list is one that the engine knows with these arguments:
    /// a name that it does not know would pass here and fail at a request.
    #[test]
    fn the_engine_has_all_that_is_allowed() {
        for (name, arguments) in ALLOWED {
            let parameters = vec!["null"; *arguments].join(", ");
            let mut engine = regorus::Engine::new();
            engine.set_gather_prints(true);
            let rule = format!("package t\nx := {name}({parameters})");
            // Constant calls are evaluated while they are parsed.
            let parsed = engine.add_policy("t.rego".into(), rule);
            if let Err(error) = parsed.and_then(|_| engine.eval_rule("data.t.x".into())) {
                let text = error.to_string();
                assert!(!text.contains("could not find function"), "{name}: {text}");
                assert!(!text.ends_with(" arguments"), "{name}: {text}");
                assert!(!text.ends_with(" 1 argument"), "{name}: {text}");
            }
        }
    }

    #[test]
    fn what_tests_may_do_rules_may_not() {
        for name in ["print", "trace"] {
            assert!(matches!(find(name, false), Builtin::Refused(_)));
            assert!(!matches!(
                find(name, true),
                Builtin::Refused(_) | Builtin::Unknown
            ));
        }
        assert!(matches!(find("http.send", true), Builtin::Refused(_)));
        assert!(matches!(find("nobody.knows", false), Builtin::Unknown));
    }
}
