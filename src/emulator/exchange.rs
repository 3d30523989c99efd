//! One exchange: the request that a handler is given, and the reply that it gives back.
//!
//! Below the handlers, because all of them speak in these; what brings a request here and a reply away is `http`.

pub(in crate::emulator) mod reply;
pub(in crate::emulator) mod request;
