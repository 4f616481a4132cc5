//! Turns an OCI runtime spec into a running process.
