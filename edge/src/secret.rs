//! A value that is never shown.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Bytes that nobody but their owner may see: a key, a password, a token.
///
/// They are never printed, are compared in a time that does not depend on them, and are overwritten with
/// zeros when they are dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes over the bytes, of any number.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        // Making the vector smaller could leave a copy of it behind, so the box is filled from it.
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(bytes.into());
        Self(Zeroizing::new(Box::from(bytes.as_slice())))
    }

    /// The bytes, for those who compute with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    /// Only the length can be learned from the time that this takes.
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_and_never_printed() {
        let secret = Secret::new("correct horse");
        assert_eq!(secret, Secret::new("correct horse"));
        assert_ne!(secret, Secret::new("correct house"));
        assert_ne!(secret, Secret::new("correct"));
        assert_eq!(secret.expose(), b"correct horse");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
    }
}
