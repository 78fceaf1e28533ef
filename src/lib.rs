//! helm-guard: guards a Helm deploy.
