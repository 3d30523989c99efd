//! What a handler is given and gives back.

pub(in crate::emulator) mod reply;
pub(in crate::emulator) mod request;
