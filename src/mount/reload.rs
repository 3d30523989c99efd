//! Reading the configuration again while the mount goes on. Of what it says only the key counts.

use std::fmt;
use std::sync::Arc;

use crate::b2::{Client, Secret};
use crate::vfs::Vfs;

type Read = dyn Fn() -> Result<(String, Secret), String> + Send + Sync;

/// How the configuration is read again: the key's id and the key, or why there is none.
#[derive(Clone)]
pub struct Reload(Arc<Read>);

impl Reload {
    /// Reads by calling that.
    pub fn new(
        read: impl Fn() -> Result<(String, Secret), String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}

/// Takes the key that the configuration has now, tries again what is pending, and asks B2 anew for all names. What was done,
/// or why the key stays what it was.
pub(super) async fn reload(
    reload: Option<Reload>,
    client: Client,
    vfs: Vfs,
) -> Result<String, String> {
    vfs.ask_anew();
    let Some(Reload(read)) = reload else {
        return Ok("the names are asked for anew".to_owned());
    };
    // It may run a command, which takes its time.
    let read = tokio::task::spawn_blocking(move || read()).await;
    let taken = match read.unwrap_or_else(|_| Err("reading it has failed".to_owned())) {
        Ok((id, key)) => client.take_key(&id, &key).await.map(|()| id),
        Err(fault) => Err(fault),
    };
    match taken {
        Ok(id) => {
            vfs.try_pending_again();
            Ok(format!("the key {id} is used from now on"))
        }
        Err(why) => Err(format!("the key stays what it was: {why}")),
    }
}
