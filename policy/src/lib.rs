//! Policy files: TOML fragments that an operator drops on a host.
