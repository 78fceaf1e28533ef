//! helm-guard: guards a Helm deploy. The modules, in pipeline order.

pub mod cli;
pub mod color;
pub mod commands;
pub mod display;
pub mod env;
pub mod health;
pub mod id;
pub mod output;
pub mod request;

pub mod ci;
pub mod lock;

pub mod manifest;
pub mod redact;
pub mod release;
pub mod storage;
pub mod table;
pub mod text;
pub mod workload;
pub mod yaml;

pub mod backup;
pub mod preflight;

pub mod repair;

pub mod fence;
pub mod helm;

pub mod progress;

pub mod diagnose;

pub mod report;

pub mod deploy;
pub mod status;
pub mod unlock;

pub mod bytes;
pub mod cause;
pub mod clock;
pub mod cluster;
pub mod copies;
pub mod exit;
pub mod located;
pub mod private_file;
pub mod process;
pub mod signals;
pub mod supervise;
