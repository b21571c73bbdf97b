//! The query of a URL.

/// Encodes as a browser's form does.
pub fn encode<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = reqwest::Url::parse("http://host/").expect("a URL");
    url.query_pairs_mut().extend_pairs(parameters);
    url.query().unwrap_or_default().to_owned()
}
