//! Helm 3 and 4: argument vectors, versions.
//! Pure: the child process is in `helm/child.rs`.
