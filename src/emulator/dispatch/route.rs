//! From a request line to its call (API §1).

use hyper::Method;

use crate::emulator::error::{ApiError, Result};
use crate::emulator::exchange::request::Route;
use crate::emulator::shared::call::{Call, Role};

pub(in crate::emulator) fn find(role: Role, method: &Method, path: &str) -> Result<Route> {
    let unknown = || ApiError::not_found(format!("Unknown path: {path}"));
    let (version, call, rest) = if let Some(rest) = path.strip_prefix("/file/") {
        (4, Some(Call::DownloadFileByName), rest)
    } else {
        let rest = path.strip_prefix("/b2api/v").ok_or_else(unknown)?;
        let (version, rest) = rest.split_once('/').ok_or_else(unknown)?;
        let version = version.parse().map_err(|_| unknown())?;
        if !(1..=4).contains(&version) {
            return Err(unknown());
        }
        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
        (version, Call::named(name), rest)
    };
    // The api host serves downloads too: the official SDK sends its HEAD there.
    let served = |call: Role| call == role || (call == Role::Download && role == Role::Api);
    let call = call
        .filter(|call| served(call.role()))
        .ok_or_else(unknown)?;
    let fits = match call.role() {
        Role::Pod => method == Method::POST,
        Role::Api => method == Method::POST || method == Method::GET,
        Role::Download => matches!(*method, Method::POST | Method::GET | Method::HEAD),
    };
    if !fits {
        let text = format!("{method} is not allowed");
        return Err(ApiError::new(405, "method_not_allowed", text));
    }
    Ok(Route {
        version,
        call,
        rest: rest.to_owned(),
    })
}
