//! The name that somebody probably meant.

/// How similar a name must be to be suggested, from 0 to 1; clap has the same bound.
const SIMILAR: f64 = 0.7;

/// The name that is most similar to `wrong`; `None` if none is similar.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('-', "_");
    // The comparison takes time by the product of both lengths.
    if wrong.len() > 100 {
        return None;
    }
    let rated = names
        .into_iter()
        .map(|name| (name, strsim::jaro_winkler(&wrong, &name.to_lowercase().replace('-', "_"))));
    let similar = rated.filter(|(_, similarity)| *similarity > SIMILAR);
    similar.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_name_and_nonsense_finds_none() {
        let names = ["listen", "max_connections", "max_groups"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("max-connections", names), Some("max_connections"));
        assert_eq!(nearest("MaxConnection", names), Some("max_connections"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(nearest(&"listen".repeat(100), names), None);
        assert_eq!(nearest("", names), None);
    }
}
