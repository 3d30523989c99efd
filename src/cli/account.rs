//! Which account: options of every command that has one.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::config::{self, Borrowed, Config, Environment, Layer, Profile, Which};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Account and bucket")]
pub(super) struct AccountOptions {
    /// Read this configuration file
    #[arg(long, value_name = "FILE", visible_alias = "config_filename", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,
    /// Read ~/.config/b2fuse/NAME.yaml
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub(super) profile: Option<Profile>,
    /// Take the account of this remote of rclone (RCLONE_CONFIG, ~/.config/rclone/rclone.conf)
    #[arg(
        long,
        alias = "from_rclone",
        value_name = "REMOTE",
        conflicts_with = "from_b2_cli"
    )]
    from_rclone: Option<String>,
    /// Take the account of the b2 command line, or of another profile of it
    #[arg(
        long,
        alias = "from_b2_cli",
        hide_short_help = true,
        value_name = "PROFILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    from_b2_cli: Option<String>,
    /// Refused: every user of the machine can read the options of a running program.
    #[arg(
        long,
        alias = "application_key",
        hide = true,
        num_args = 0..=1,
        default_missing_value = ""
    )]
    application_key: Option<String>,
}

impl AccountOptions {
    /// These, and others below them.
    pub(super) fn over(self, under: Self) -> Self {
        let from = self.from_rclone.is_some() || self.from_b2_cli.is_some();
        let file = self.config.is_some() || self.profile.is_some();
        Self {
            config: self.config.or(under.config.filter(|_| !file)),
            profile: self.profile.or(under.profile.filter(|_| !file)),
            from_rclone: self.from_rclone.or(under.from_rclone.filter(|_| !from)),
            from_b2_cli: self.from_b2_cli.or(under.from_b2_cli.filter(|_| !from)),
            application_key: self.application_key.or(under.application_key),
        }
    }

    /// Why they cannot be used, if they cannot.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.application_key.as_ref().map(|_| {
            "the application key is no option, every user of this machine could read it: \
             set B2_APPLICATION_KEY, or write applicationKey into config.yaml"
        })
    }

    /// The configuration file that is meant.
    pub(super) fn which(&self) -> Which {
        match (&self.config, &self.profile) {
            (Some(path), _) => Which::Named(path.clone()),
            (None, Some(profile)) => Which::Profile(profile.clone()),
            (None, None) => Which::Search,
        }
    }

    /// Whose account is taken, if another program's is.
    pub(super) fn borrowed(&self) -> Option<Borrowed> {
        let of_b2 = |profile: &String| Some(profile.clone()).filter(|name| !name.is_empty());
        let rclone = self.from_rclone.clone().map(Borrowed::Rclone);
        rclone.or_else(|| self.from_b2_cli.as_ref().map(of_b2).map(Borrowed::B2Cli))
    }

    /// What they, the other options, the environment and that file say together.
    pub(super) fn load(
        &self,
        options: Layer,
        which: &Which,
        environment: &Environment<'_>,
        emulated: bool,
    ) -> Result<Config, config::Error> {
        let options = match self.borrowed().filter(|_| !emulated) {
            Some(borrowed) => borrowed.under(options, environment)?,
            None => options,
        };
        Config::load_from(options, which, environment, emulated)
    }
}
