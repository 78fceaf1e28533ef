//! Helm 3 and 4: argument vectors, versions.
//! Pure: Helm is started in `helm/launch.rs` and run in `deploy/helm_process.rs`, its file is read in `helm/buildinfo.rs`.

pub mod argv;
pub mod buildinfo;
pub mod env_settings;
pub mod flags;
pub mod gc_tuning;
pub mod go_syntax;
pub mod launch;
pub mod mask;
pub mod own_flags;
pub mod phases;
pub mod shutdown;
pub mod template;
pub mod terminal;
pub mod version;

pub use argv::{ArgvError, Command, Invocation, ValuesFrom, rollback_argv, uninstall_argv};
pub use own_flags::{OwnFlag, Split, split};
pub use template::{
    defines, flags_argv, lint_argv, rehearsal_argv, show_crds_argv, template_argv, unknown_kinds,
};
pub use version::{Major, Version, VersionError};
