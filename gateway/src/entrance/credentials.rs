//! Where the token of a client is in its request. Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_edge::Head;
use campanile_edge::query::{decode, pairs};
use campanile_edge::websocket::offered;

use crate::entrance::refusal::Refusal;

/// A subprotocol that begins with this is none, but carries a token in base64url. The page of a browser can
/// send a token in no other header.
const SUBPROTOCOL: &str = "base64url.bearer.campanile.";

/// The query parameter with a token.
pub const PARAMETER: &str = "token";

/// The places that are looked at, besides the headers that always are.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The name of the cookie, if one may carry the token.
    pub cookie: Option<&'a str>,
    /// Whether a cookie of this request may say who the client is.
    pub trusts_cookie: bool,
    /// Whether the query may carry the token.
    pub url: bool,
}

/// Finds the token of a request: in `Authorization: Bearer`, in a subprotocol, in a cookie, or in the query.
/// It is not checked yet.
///
/// # Errors
/// 400 if there are several that differ. 403 if only a cookie has it, and the request may come from a page
/// of somebody else.
pub fn token_of<'a>(
    head: &'a Head<'_>,
    places: Places<'_>,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let mut found: Vec<Cow<'a, str>> =
        head.all("authorization").filter_map(bearer).map(Cow::Borrowed).collect();
    let subprotocols = offered(head).filter_map(|name| name.strip_prefix(SUBPROTOCOL));
    found.extend(subprotocols.map(|encoded| {
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok();
        // What is not base64url is no valid token either, but it is one.
        Cow::Owned(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default())
    }));
    if places.url {
        let values = pairs(head.query.as_bytes())
            .filter(|(name, _)| decode(name).is_ok_and(|name| name == PARAMETER));
        for (_, value) in values {
            let malformed = |error| Refusal::bad(&format!("parameter token: the value {error}"));
            found.push(Cow::Owned(decode(value).map_err(malformed)?.into_owned()));
        }
    }
    let is_shown = !found.is_empty();
    found.extend(places.cookie.into_iter().flat_map(|name| cookies(head, name)).map(Cow::Borrowed));
    let mut found = found.into_iter();
    let Some(token) = found.next() else { return Ok(None) };
    if found.any(|other| other != token) {
        return Err(Refusal::bad("the request has two tokens that differ, one is accepted"));
    }
    if !is_shown && !places.trusts_cookie {
        return Err(Refusal::cookie_of_a_stranger());
    }
    Ok(Some(token))
}

/// The token in a value of `Authorization`; `None` for another scheme.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The values of the cookies with this name.
fn cookies<'a>(head: &'a Head<'_>, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = head.all("cookie").flat_map(|line| line.split(';'));
    let values = pairs.filter_map(move |pair| match pair.split_once('=') {
        Some((this, value)) if this.trim() == name => Some(value.trim()),
        _ => None,
    });
    values.map(|value| {
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        quoted.unwrap_or(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: Places<'_> =
        Places { cookie: Some("session"), trusts_cookie: true, url: true };

    fn find(target: &str, lines: &[&str], places: Places<'_>) -> Result<Option<String>, u16> {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
        let (head, _) = Head::parse(request.as_bytes()).expect("well-formed").expect("complete");
        let token = token_of(&head, places).map_err(|refusal| refusal.status)?;
        Ok(token.map(Cow::into_owned))
    }

    fn found(token: &str) -> Result<Option<String>, u16> {
        Ok(Some(token.to_owned()))
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        let offer = "Sec-WebSocket-Protocol: campanile.v1, base64url.bearer.campanile.YS5iLmM";
        for (target, lines) in [
            ("/", vec!["Authorization: Bearer a.b.c"]),
            ("/", vec!["authorization: bearer  a.b.c "]),
            ("/", vec![offer]),
            ("/", vec!["Cookie: a=b; session=a.b.c"]),
            ("/", vec!["Cookie: session=\"a.b.c\"", "Cookie: x"]),
            ("/?group=a&token=a.b.c", vec![]),
            ("/?tok%65n=a%2eb.c", vec![]),
            ("/?token=a.b.c&token=a.b.c", vec![offer, "Authorization: Bearer a.b.c"]),
        ] {
            assert_eq!(find(target, &lines, EVERYWHERE), found("a.b.c"), "{target} {lines:?}");
        }
        for (target, lines) in [
            ("/?since=a&_token=a", vec!["Cookie: sessions=a; xsession=b; session"]),
            ("/token=a", vec!["Authorization: Basic YTpi", "Sec-WebSocket-Protocol: mqtt"]),
        ] {
            assert_eq!(find(target, &lines, EVERYWHERE), Ok(None), "{target} {lines:?}");
        }
        // An empty token is one, and a wrong one.
        assert_eq!(find("/?token", &[], EVERYWHERE), found(""));
        let bad = "Sec-WebSocket-Protocol: base64url.bearer.campanile.!!";
        assert_eq!(find("/", &[bad], EVERYWHERE), found(""));
    }

    #[test]
    fn places_that_are_off_are_not_looked_at() {
        let off = Places { cookie: None, trusts_cookie: true, url: false };
        assert_eq!(find("/?token=a", &["Cookie: session=a"], off), Ok(None));
        assert_eq!(find("/?token=a", &["Authorization: Bearer b"], off), found("b"));
    }

    #[test]
    fn two_tokens_that_differ_are_refused() {
        let (a, b) = ("Authorization: Bearer a", "Authorization: Bearer b");
        for (target, lines) in [
            ("/", vec![a, b]),
            ("/?token=b", vec![a]),
            ("/?token=a&token=b", vec![]),
            ("/", vec!["Cookie: session=a; session=b"]),
            ("/", vec![a, "Cookie: session=b"]),
            ("/", vec![a, "Sec-WebSocket-Protocol: base64url.bearer.campanile.Yg"]),
        ] {
            assert_eq!(find(target, &lines, EVERYWHERE), Err(400), "{target} {lines:?}");
        }
        assert_eq!(find("/?token=%zz", &[], EVERYWHERE), Err(400));
    }

    #[test]
    fn a_cookie_that_is_not_trusted_is_refused_unless_the_token_is_shown() {
        let strange = Places { trusts_cookie: false, ..EVERYWHERE };
        let cookie = "Cookie: session=a";
        assert_eq!(find("/", &[cookie], strange), Err(403));
        assert_eq!(find("/", &[cookie, "Authorization: Bearer a"], strange), found("a"));
        assert_eq!(find("/", &["Cookie: other=a"], strange), Ok(None));
    }
}
