//! The token or key in the header `Authorization` (RFC 6750). Pure.

/// Returns what follows the scheme `Bearer`, in any case; `None` for another scheme.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, credentials) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| credentials.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scheme_bearer_has_a_key() {
        for (value, key) in [
            (&b"Bearer cpk_a"[..], Some(&b"cpk_a"[..])),
            (b"bearer cpk_a", Some(b"cpk_a")),
            (b"BEARER   cpk_a", Some(b"cpk_a")),
            (b"Bearer a b", Some(b"a b")),
            (b"Bearer \xff", Some(b"\xff")),
            (b"Bearer", Some(b"")),
            (b"Bearercpk_a", None),
            (b"Basic Y3BrX2E6", None),
            (b"cpk_a", None),
            (b"", None),
        ] {
            assert_eq!(bearer(value), key, "{value:?}");
        }
    }
}
