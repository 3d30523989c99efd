//! What a call can end with besides its reply: an error in B2's JSON form, or a cut line.

use std::borrow::Cow;

/// An error as B2 tells it: `{"code", "message", "status"}` (API §1, §12).
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
    pub(super) retry_after: Option<u64>,
}

pub(super) type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: Cow::Borrowed(code),
            message: message.into(),
            retry_after: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    pub(super) fn bad_json(message: impl Into<String>) -> Self {
        Self::new(400, "bad_json", message)
    }

    pub(super) fn out_of_range(message: impl Into<String>) -> Self {
        Self::new(400, "out_of_range", message)
    }

    /// Capability, bucket or prefix outside the key's rights: 401, not 403, and an empty text (API §11).
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "unauthorized", "")
    }

    pub(super) fn bad_bucket_id(id: &str) -> Self {
        Self::new(400, "bad_bucket_id", format!("Bucket {id} does not exist"))
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    pub(super) fn invalid_file_id(id: &str) -> Self {
        Self::bad_request(format!("Invalid fileId: {id}"))
    }

    pub(super) fn internal(error: &std::io::Error) -> Self {
        Self::new(500, "internal_error", error.to_string())
    }

    /// The body as it goes over the wire, keys in alphabetical order.
    pub(super) fn json(&self) -> String {
        serde_json::json!({"code": self.code, "message": self.message, "status": self.status})
            .to_string()
    }
}

/// How handling a request can fail.
#[derive(Debug)]
pub(super) enum Failure {
    /// An answer in JSON.
    Api(ApiError),
    /// An answer in HTML, as a load balancer gives it.
    Html(u16),
    /// No answer: the connection is reset.
    Cut,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}
