//! `--emulator-listen` without a mountpoint: only the emulator, for other B2 clients.

use anyhow::Context;

use crate::emulator::{self, Server};
use crate::mount::{self, Outcome};

/// Serves until a signal comes.
pub(super) fn run(options: emulator::Options) -> anyhow::Result<Outcome> {
    let listen = options.listen;
    let kept = match &options.dir {
        Some(dir) => format!("kept in {}", dir.display()),
        None => "in memory, gone when this ends".to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut signals = mount::Signals::listen()?;
        let server = Server::start(options)
            .with_context(|| format!("the emulator cannot start at {listen}"))?;
        mount::tell(&introduction(&server, &kept));
        signals.next().await;
        Ok(Outcome::Stored)
    })
}

/// All that another client needs, with lines to paste.
fn introduction(server: &Server, kept: &str) -> String {
    let (endpoint, id, key, bucket) = (
        server.endpoint(),
        server.key_id(),
        server.key(),
        server.bucket_name(),
    );
    format!(
        "emulator of B2 ({kept}), until Ctrl-C\n\
         endpoint {endpoint}\n\
         key id   {id}\n\
         key      {key}\n\
         bucket   {bucket}\n\
         \n\
         export B2_APPLICATION_KEY_ID={id} B2_APPLICATION_KEY={key}\n\
         b2:      B2_ENVIRONMENT={endpoint} b2 ls b2://{bucket}\n\
         rclone:  rclone lsl :b2:{bucket} --b2-endpoint={endpoint} --b2-account=$B2_APPLICATION_KEY_ID --b2-key=$B2_APPLICATION_KEY\n\
         b2fuse:  B2_ENDPOINT={endpoint} B2FUSE_BUCKET={bucket} b2fuse <mountpoint>"
    )
}
