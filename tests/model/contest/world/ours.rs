//! What A does on its mount, and what it is told.

use std::time::Duration;

use super::{Told, ours_token};
use crate::contest::mount::Mount;
use crate::contest::steps::Ours;

pub(super) async fn act(mount: &Mount, what: &Ours) -> Told {
    Told::Done(match what {
        Ours::Put { name, token } => mount.put(name, &ours_token(*token)).await,
        Ours::Append { name, token } => {
            return Told::Content(mount.append(name, &ours_token(*token)).await);
        }
        Ours::Open { name } => mount.open_slot(name).await,
        Ours::Write { token } => mount.write_slot(&ours_token(*token)).await,
        Ours::Sync => return Told::Content(mount.sync_slot().await),
        Ours::Close => return Told::Content(mount.close_slot().await),
        Ours::Remove { name } => mount.remove(name).await,
        Ours::Rename {
            from,
            to,
            no_replace,
        } => mount.rename(from, to, *no_replace).await,
        Ours::RenameDirectory { from, to } => mount.rename(from, to, false).await,
        Ours::Mkdir { name } => mount.mkdir(name).await,
        Ours::Rmdir { name } => mount.rmdir(name).await,
        Ours::Chmod { name, mode } => mount.chmod(name, *mode).await,
        Ours::Look { name } => mount.get(name).await.map(drop),
        Ours::SyncDir { name } => mount.sync_dir(name).await,
        Ours::Drain => return Told::Drained(mount.drain().await.is_empty()),
        Ours::Pause => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        }
    })
}
