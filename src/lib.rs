//! helm-guard: guards a Helm deploy. The modules, in pipeline order.

pub mod action;
pub mod cli;
pub mod request;

pub mod ci;
pub mod lock;

pub mod manifest;
pub mod redact;
pub mod release;
pub mod yaml;

pub mod backup;
pub mod preflight;

pub mod repair;

pub mod fence;
pub mod helm;

pub mod progress;

pub mod diagnose;

pub mod changes;

pub mod report;

pub mod deploy;
pub mod recover;
pub mod status;
pub mod unlock;

pub mod clock;
pub mod cluster;
pub mod exit;
pub mod process;
pub mod signals;
pub mod supervise;
