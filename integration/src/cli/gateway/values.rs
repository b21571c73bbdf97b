//! The values of flags that only a gateway has. Pure.

/// The names of a list, without the white space around them and without empty ones.
pub(super) fn names(list: &[String]) -> Vec<String> {
    list.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Reads the name of a cookie (RFC 6265 section 4.1.1).
pub(super) fn cookie_name(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_token) {
        true => Ok(text.to_owned()),
        false => Err("accepted are letters, digits and !#$%&'*+-.^_`|~".to_owned()),
    }
}

/// Reads an absolute URL that a browser can push to.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']) => {
            Ok(text.to_owned())
        }
        _ => Err("accepted is http://HOST[:PORT][/PATH] or the same with https".to_owned()),
    }
}
