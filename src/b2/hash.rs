//! SHA-1 of contents, on every byte that is read or written: by AWS-LC, which TLS brings along and which is half as fast again
//! as others. The emulator computes its own by another implementation, so that a fault in one would show.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::Sha1;

/// Computes a SHA-1.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The SHA-1 of all that was taken in.
    pub fn finish(self) -> Sha1 {
        let digest = self.0.finish();
        let mut sha1 = Sha1([0; 20]);
        for (to, from) in sha1.0.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        sha1
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha1::Digest as _;

    #[test]
    fn known_hashes_are_found() {
        assert_eq!(
            Hasher::new().finish().to_string(),
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        );
        let mut hasher = Hasher::default();
        hasher.update("abc");
        assert_eq!(
            hasher.finish().to_string(),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
    }

    proptest! {
        #[test]
        fn another_implementation_finds_the_same(pieces: Vec<Vec<u8>>) {
            let (mut ours, mut other) = (Hasher::new(), sha1::Sha1::new());
            for piece in &pieces {
                let before = ours.clone();
                ours.update(piece);
                other.update(piece);
                drop(before);
            }
            prop_assert_eq!(ours.finish(), Sha1(other.finalize().into()));
        }
    }
}
