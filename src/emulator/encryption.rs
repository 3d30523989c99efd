//! How contents are encrypted where they lie, which is told and never done (API §5.3).

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Encryption {
    None,
    B2,
    /// With the customer's key, known by its MD5 in base64.
    Customer(String),
}

impl Encryption {
    pub(super) fn shown(&self) -> EncryptionShown {
        let mode = match self {
            Self::None => None,
            Self::B2 => Some("SSE-B2"),
            Self::Customer(_) => Some("SSE-C"),
        };
        EncryptionShown {
            algorithm: mode.map(|_| "AES256"),
            mode,
        }
    }
}

/// How replies tell the encryption; the key is not in it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct EncryptionShown {
    algorithm: Option<&'static str>,
    mode: Option<&'static str>,
}
