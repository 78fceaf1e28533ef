//! helm-guard: guards a Helm deploy. The modules, in pipeline order.

pub mod helm;
pub mod release;
pub mod report;
