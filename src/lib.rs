//! helm-guard: guards a Helm deploy. The modules, in pipeline order.

pub mod clock;
pub mod cluster;
pub mod helm;
pub mod lock;
pub mod manifest;
pub mod release;
pub mod repair;
pub mod report;
