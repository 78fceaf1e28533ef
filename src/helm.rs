//! Helm 3 and 4: argument vectors, versions.
//! Pure: Helm is started in `helm/launch.rs` and run in `deploy/helm_process.rs`, its file is read in `helm/binary.rs`.

pub mod argv;
pub mod binary;
pub mod env_settings;
pub mod flags;
pub mod given;
pub mod go;
pub mod launch;
pub mod memory;
pub mod phases;
pub mod split;
pub mod stop;
pub mod template;
pub mod terminal;
pub mod version;

pub use argv::{ArgvError, Command, Invocation, ValuesFrom, rollback_argv, uninstall_argv};
pub use split::{OwnFlag, Split, split};
pub use template::{
    defines, flags_argv, lint_argv, rehearsal_argv, show_crds_argv, template_argv, unknown_kinds,
};
pub use version::{Major, Version, VersionError};
