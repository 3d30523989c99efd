//! A request on its way to its handler: its head, its body, who asks, what strikes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;

use crate::emulator::account::Account;
use crate::emulator::account::keys::Key;
use crate::emulator::error::{ApiError, Failure, Result};
use crate::emulator::rules;
use crate::emulator::shared::Shared;
use crate::emulator::shared::call::{Call, Role};
use crate::emulator::shared::faults::{Fault, NameRules};

/// A JSON body longer than this is no call of B2's.
const JSON_LIMIT: usize = 8 << 20;

/// What a request may do to its connection.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Line {
    reset: AtomicBool,
}

impl Line {
    /// The connection ends in RST, not FIN, when it is dropped.
    pub(in crate::emulator) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    pub(in crate::emulator) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }
}

/// What a request line asks for.
pub(in crate::emulator) struct Route {
    pub(in crate::emulator) version: u8,
    pub(in crate::emulator) call: Call,
    /// The path after the call, still encoded.
    pub(in crate::emulator) rest: String,
}

/// A request whose head has been read.
pub(in crate::emulator) struct Request {
    pub(in crate::emulator) shared: Arc<Shared>,
    pub(in crate::emulator) call: Call,
    pub(in crate::emulator) version: u8,
    /// The path after the call, still encoded.
    pub(in crate::emulator) rest: String,
    pub(in crate::emulator) query: String,
    pub(in crate::emulator) method: Method,
    pub(in crate::emulator) headers: HeaderMap,
    pub(in crate::emulator) body: Option<Incoming>,
    pub(in crate::emulator) fault: Option<Fault>,
    pub(in crate::emulator) line: Arc<Line>,
    key: Option<Arc<Key>>,
}

impl Request {
    pub(in crate::emulator) fn new(
        shared: Arc<Shared>,
        route: Route,
        head: Parts,
        body: Incoming,
        line: Arc<Line>,
    ) -> Self {
        Self {
            shared,
            call: route.call,
            version: route.version,
            rest: route.rest,
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            body: Some(body),
            fault: None,
            line,
            key: None,
        }
    }

    pub(in crate::emulator) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(in crate::emulator) fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    pub(in crate::emulator) fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// Admits the account token of the header.
    pub(in crate::emulator) fn authorize(&mut self) -> Result<()> {
        let token = self.authorization().unwrap_or_default();
        self.key = Some(self.shared.tokens.account(token)?);
        Ok(())
    }

    pub(in crate::emulator) fn admit(&mut self, key: Arc<Key>) {
        self.key = Some(key);
    }

    pub(in crate::emulator) fn key(&self) -> Result<&Arc<Key>> {
        self.key.as_ref().ok_or_else(ApiError::unauthorized)
    }

    /// Whether the caller's key has the right that the call needs, see [`Key::check`].
    pub(in crate::emulator) fn allow(
        &self,
        bucket: Option<&str>,
        name: Option<&str>,
    ) -> Result<()> {
        match self.call.right() {
            Some(right) => self.check(right, bucket, name),
            None => Ok(()),
        }
    }

    /// As [`Self::allow`], for a call on the account as a whole, see [`Key::check_account`].
    pub(in crate::emulator) fn allow_account(&self) -> Result<()> {
        match self.call.right() {
            Some(right) => self.key()?.check_account(right),
            None => Ok(()),
        }
    }

    /// Whether it has a right beside that of the call.
    pub(in crate::emulator) fn check(
        &self,
        capability: &str,
        bucket: Option<&str>,
        name: Option<&str>,
    ) -> Result<()> {
        self.key()?.check(capability, bucket, name)
    }

    pub(in crate::emulator) fn check_name(&self, name: &str) -> Result<()> {
        let switches = self.shared.faults.switches();
        let checked = match switches.names {
            NameRules::Former => rules::check_old_name(name).and_then(|()| rules::check_name(name)),
            NameRules::Present => rules::check_name(name),
        };
        let checked = checked.and_then(|()| rules::check_segments(name));
        checked.map_err(|error| match self.call.role() {
            Role::Api if switches.json_names => ApiError {
                code: "bad_json".into(),
                ..error
            },
            _ => error,
        })
    }

    /// Refuses file info of more keys than the account takes; older rules say ten (API §5.2).
    pub(in crate::emulator) fn check_info_keys(&self, info: &rules::Info) -> Result<()> {
        let most = self.shared.faults.switches().info_keys;
        if info.len() > most {
            return Err(ApiError::bad_request(format!(
                "File info has more than {most} keys"
            )));
        }
        Ok(())
    }

    /// The time of what is being made, see [`Account::stamp`].
    pub(in crate::emulator) fn stamp(&self, account: &mut Account) -> u64 {
        account.stamp(self.shared.faults.switches().stamp_step)
    }

    /// A stamp of the client's choice, where the account has that feature (API §5.2).
    pub(in crate::emulator) fn custom_stamp(&self, given: Option<&str>) -> Result<Option<u64>> {
        let Some(given) = given else {
            return Ok(None);
        };
        if !self.shared.faults.switches().custom_timestamps {
            return Err(ApiError::new(
                400,
                "custom_timestamp_not_allowed",
                "Custom upload timestamps are not enabled for this account",
            ));
        }
        given
            .parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request("The upload timestamp must be a number"))
    }

    pub(in crate::emulator) async fn read_json_body(
        &mut self,
    ) -> std::result::Result<Bytes, Failure> {
        let Some(mut body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::Cut)?;
            if let Some(data) = frame.data_ref() {
                all.extend_from_slice(data);
            }
            if all.len() > JSON_LIMIT {
                return Err(ApiError::bad_json("The request body is too long").into());
            }
        }
        Ok(all.into())
    }

    pub(in crate::emulator) async fn drain(&mut self, limit: u64) {
        let Some(body) = &mut self.body else {
            return;
        };
        let mut read = 0;
        while read < limit {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
                _ => return,
            }
        }
    }

    pub(in crate::emulator) fn declared_length(&self) -> u64 {
        self.body
            .as_ref()
            .and_then(|body| body.size_hint().upper())
            .unwrap_or(0)
    }
}
