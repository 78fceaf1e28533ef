//! What makes the answer of an API server to a release depend on more than one object: what lives, flags, rights, order. Each is
//! drawn by the point; each can end well or not, and nothing here says which.

mod around;
mod defined;
mod hooks;
mod lives;
mod texts;

use testbed::tools::Helm;

use super::part::Part;
use crate::sweep::{draw, pick};

/// A coupling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coupling {
    MovedPort,
    KeptClaim,
    Adopted,
    Limits,
    Quota,
    Selector,
    BrokenHook,
    Frozen,
    WrongPort,
    Waits,
    RightsByName,
    Volumes,
    Replaced,
    SecretType,
    OtherManager,
    RoleRef,
    ForgottenRight,
    Webhook,
    Unreachable,
    Policy,
    MovedPath,
    ChartCrds,
    TemplateCrds,
    HookCrds,
    UnknownKind,
    ActingHook,
    HookAccount,
    FailingHook,
    LastingHook,
    PodLevel,
    OwnNamespace,
    RolledBack,
    Values,
    Revision,
    JobTemplate,
    WrongType,
    OfTheCluster,
    MissingAccount,
    WaitsForJobs,
    LimitedPods,
    OfOthers,
    KeptAll,
    ServerSide,
    GoneVersion,
    Random,
    Looked,
}

/// Draws for one coupling at a point.
#[derive(Clone, Copy)]
struct Draws {
    of: Coupling,
    point: u64,
    version: Helm,
}

impl Draws {
    /// Once in `of` times.
    fn chance(self, what: &str, of: u64) -> bool {
        draw((what, self.of, self.point), of) == 0
    }

    fn pick<T: Copy>(self, what: &str, from: &[T]) -> T {
        pick((what, self.of, self.point), from)
    }

    /// The flag with which a failed deploy is rolled back.
    fn atomic(self) -> String {
        match self.version {
            Helm::V3 => "--atomic".to_owned(),
            Helm::V4 => "--rollback-on-failure".to_owned(),
        }
    }

    fn is_v4(self) -> bool {
        self.version == Helm::V4
    }
}

impl Coupling {
    pub const ALL: [Self; 46] = [
        Self::MovedPort,
        Self::KeptClaim,
        Self::Adopted,
        Self::Limits,
        Self::Quota,
        Self::Selector,
        Self::BrokenHook,
        Self::Frozen,
        Self::WrongPort,
        Self::Waits,
        Self::RightsByName,
        Self::Volumes,
        Self::Replaced,
        Self::SecretType,
        Self::OtherManager,
        Self::RoleRef,
        Self::ForgottenRight,
        Self::Webhook,
        Self::Unreachable,
        Self::Policy,
        Self::MovedPath,
        Self::ChartCrds,
        Self::TemplateCrds,
        Self::HookCrds,
        Self::UnknownKind,
        Self::ActingHook,
        Self::HookAccount,
        Self::FailingHook,
        Self::LastingHook,
        Self::PodLevel,
        Self::OwnNamespace,
        Self::RolledBack,
        Self::Values,
        Self::Revision,
        Self::JobTemplate,
        Self::WrongType,
        Self::OfTheCluster,
        Self::MissingAccount,
        Self::WaitsForJobs,
        Self::LimitedPods,
        Self::OfOthers,
        Self::KeptAll,
        Self::ServerSide,
        Self::GoneVersion,
        Self::Random,
        Self::Looked,
    ];

    /// What it brings at a point.
    pub fn part(self, point: u64, version: Helm) -> Part {
        let draws = Draws { of: self, point, version };
        let found = lives::part(draws).or_else(|| around::part(draws)).or_else(|| defined::part(draws));
        found.or_else(|| hooks::part(draws)).or_else(|| texts::part(draws)).unwrap()
    }
}
