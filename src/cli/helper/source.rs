//! The source of a mount in mount(8)'s sense: which bucket, and which directory of it.

/// `BUCKET`, `BUCKET:DIR`, `b2://BUCKET/DIR`, or `none` where key or configuration say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Source {
    pub(super) bucket: Option<String>,
    pub(super) prefix: Option<String>,
}

/// What fstab(5) says where there is no source; no bucket has so short a name.
pub(super) const NONE: &str = "none";

impl Source {
    pub(super) fn parse(text: &str) -> Self {
        if text == NONE {
            return Self::default();
        }
        let (bucket, prefix) = match text.strip_prefix("b2://") {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            bucket: said(bucket),
            prefix: said(prefix.trim_matches('/')),
        }
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        match (&self.bucket, &self.prefix) {
            (None, None) => NONE.to_owned(),
            (Some(bucket), None) => bucket.clone(),
            (bucket, Some(prefix)) => {
                format!("{}:{prefix}", bucket.as_deref().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_bucket_and_directory() {
        for (text, bucket, prefix, written) in [
            ("photos", Some("photos"), None, "photos"),
            ("photos:", Some("photos"), None, "photos"),
            ("photos:a/b", Some("photos"), Some("a/b"), "photos:a/b"),
            ("photos:/a:b/", Some("photos"), Some("a:b"), "photos:a:b"),
            ("b2://photos", Some("photos"), None, "photos"),
            ("b2://photos/a/b", Some("photos"), Some("a/b"), "photos:a/b"),
            (":a", None, Some("a"), ":a"),
            ("none", None, None, "none"),
        ] {
            let source = Source::parse(text);
            assert_eq!(source.bucket.as_deref(), bucket, "{text}");
            assert_eq!(source.prefix.as_deref(), prefix, "{text}");
            assert_eq!(source.text(), written);
            assert_eq!(Source::parse(written), source);
        }
    }
}
