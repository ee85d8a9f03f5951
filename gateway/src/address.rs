//! Addresses in Azure's answers: which of them may be followed, by a caller or by us.

/// The path and query of `url` when it is one of the pinned authority and its path can be
/// read in one way only: the gateway, or a caller through it, is to follow it.
pub(crate) fn local_part<'u>(url: &'u str, authority: &str) -> Option<&'u str> {
    let rest = url.strip_prefix("https://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, local) = rest.split_at(end);
    let same = host.eq_ignore_ascii_case(authority);
    let plain = local.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    (same && plain && is_plain_path(local)).then_some(local)
}

/// Whether a path has no segment that some server would resolve, cut or join: empty ones,
/// those that begin with two dots or are one, and encoded dots, slashes and controls.
pub(crate) fn is_plain_path(local: &str) -> bool {
    let path = local.split('?').next().unwrap_or_default();
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment.starts_with("..");
    let encoded = path.split('%').skip(1).map(|rest| {
        let digits = rest.get(..2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    let hidden = |byte: Option<u8>| {
        byte.is_none_or(|byte| byte.is_ascii_control() || b"./\\%?#".contains(&byte))
    };
    !path.contains('\\') && !path.split('/').any(odd) && !encoded.into_iter().any(hidden)
}

/// Whether a path is one of this subscription, or of none where there is none.
pub(crate) fn is_of(local: &str, subscription: Option<&str>) -> bool {
    let mut segments = local.split(['/', '?']).skip(1);
    let first = segments.next().unwrap_or_default();
    if first.eq_ignore_ascii_case("subscriptions") {
        let named = segments.next().unwrap_or_default();
        return subscription.is_some_and(|own| own.eq_ignore_ascii_case(named));
    }
    // Azure keeps some operations beside all subscriptions.
    first.eq_ignore_ascii_case("providers")
}

#[cfg(test)]
mod tests {
    use super::{is_of, local_part};

    #[test]
    fn only_the_pinned_authority_is_followed() {
        let arm = "management.azure.com";
        let good = "https://management.azure.com/subscriptions/s?t=1&s=a%2Fb";
        assert_eq!(local_part(good, arm), Some("/subscriptions/s?t=1&s=a%2Fb"));
        let upper = "https://MANAGEMENT.azure.com/x";
        assert_eq!(local_part(upper, arm), Some("/x"));
        for hostile in [
            "http://management.azure.com/x",
            "https://management.azure.com@evil.example/x",
            "https://management.azure.com.evil.example/x",
            "https://management.azure.com:444/x",
            "https://evil.example/x",
            "//management.azure.com/x",
            "https://management.azure.com",
            "https://management.azure.com/x#y",
            "https://management.azure.com/x\r\nSet-Cookie: a",
            "https://management.azure.com\\@evil.example/x",
            "https://management.azure.com//evil.example/x",
            "https://management.azure.com/subscriptions/../x",
            "https://management.azure.com/subscriptions/..;/x",
            "https://management.azure.com/subscriptions/./x",
            "https://management.azure.com/subscriptions/%2e%2E/x",
            "https://management.azure.com/subscriptions/a%2fb",
            "https://management.azure.com/subscriptions/a%5Cb",
            "https://management.azure.com/subscriptions/a%00b",
            "https://management.azure.com/subscriptions/a%0d%0ab",
            "https://management.azure.com/subscriptions/a%252e",
            "https://management.azure.com/subscriptions/a%2",
            "https://management.azure.com/subscriptions/a%zz",
        ] {
            assert_eq!(local_part(hostile, arm), None, "{hostile}");
        }
    }

    #[test]
    fn a_poll_stays_in_its_subscription() {
        for (local, subscription, want) in [
            ("/subscriptions/S1/x?a", Some("s1"), true),
            ("/Subscriptions/s2/x", Some("s1"), false),
            ("/subscriptions/s1", None, false),
            ("/subscriptions?x=/s1", Some("s1"), false),
            ("/providers/x", Some("s1"), true),
            ("/tenants", Some("s1"), false),
        ] {
            assert_eq!(is_of(local, subscription), want, "{local}");
        }
    }
}
