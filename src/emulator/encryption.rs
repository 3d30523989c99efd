//! How contents are encrypted where they lie, which is told and never done (API §5.3), and the customers' keys that
//! must be given again with every request that reads or adds to what they have encrypted (API §5.2, §6.1, §7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::error::{ApiError, Result};

/// Bytes in a key for AES-256.
const KEY_LEN: usize = 32;

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

    /// Whether somebody who gives a key of this MD5 may read the content: 400 without a key, 403 with a wrong one
    /// (API §7).
    pub(super) fn check_reader(&self, given: Option<&str>) -> Result<()> {
        let Self::Customer(md5) = self else {
            return Ok(());
        };
        match given {
            Some(given) if given == md5 => Ok(()),
            Some(_) => Err(ApiError::new(
                403,
                "access_denied",
                "The customer key is not that of the file",
            )),
            None => Err(ApiError::bad_request(
                "The object was stored using a form of Server Side Encryption. The correct parameters must be \
                 provided to retrieve the object.",
            )),
        }
    }

    /// Whether somebody who gives a key of this MD5 may add a part to a large file (API §6).
    pub(super) fn check_part(&self, given: Option<&str>) -> Result<()> {
        match self {
            Self::Customer(md5) if given != Some(md5) => {
                Err(ApiError::bad_request("The part needs the key of its file"))
            }
            _ => Ok(()),
        }
    }
}

/// A customer's key as a request gives it, in headers or in JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenKey<'a> {
    pub(super) algorithm: Option<&'a str>,
    /// In base64, as the MD5.
    pub(super) key: Option<&'a str>,
    pub(super) md5: Option<&'a str>,
}

impl GivenKey<'_> {
    /// The MD5 of the key in base64, which must be the one that is given; `None` where there is no key at all.
    pub(super) fn md5(self) -> Result<Option<String>> {
        let refuse = |text: &str| Err(ApiError::bad_request(text));
        match (self.algorithm, self.key, self.md5) {
            (None, None, None) => Ok(None),
            (Some("AES256"), Some(key), Some(md5)) => {
                let Some(key) = STANDARD.decode(key).ok().filter(|key| key.len() == KEY_LEN) else {
                    return refuse("The customer key must be 32 bytes in base64");
                };
                if STANDARD.encode(Md5::digest(&key)) != md5 {
                    return refuse("The MD5 is not that of the customer key");
                }
                Ok(Some(md5.to_owned()))
            }
            (Some("AES256"), ..) => refuse("SSE-C needs customerKey and customerKeyMd5"),
            _ => refuse("SSE-C needs the algorithm AES256"),
        }
    }
}

/// How replies tell the encryption; the key is not in it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct EncryptionShown {
    algorithm: Option<&'static str>,
    mode: Option<&'static str>,
}
