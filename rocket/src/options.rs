//! What people write on the command line of `run` and `prepare`: a pod, then its apps.

mod app;
mod pod;
mod split;
mod value;

pub use app::{AppOptions, ExecOption, SeccompOption, Stream};
pub use pod::{
    Insecure, IpcMode, PidMode, PodArguments, PodOptions, PullPolicy, Restart, UserNamespace,
};
pub use split::{AppArguments, SplitError, split};
pub use value::{
    Bytes, Cpus, EnvOption, HostsEntry, MountOption, NetOption, PortOption, Protocol, ValueError,
    VolumeKind, VolumeOption,
};
