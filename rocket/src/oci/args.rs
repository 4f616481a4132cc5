//! The command line. Names and meaning of all options are runc's.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Runs containers from OCI bundles, for engines
#[derive(Debug, Parser)]
#[command(name = "rocket-oci", version)]
pub struct Args {
    /// Where containers are kept track of
    #[arg(
        long,
        global = true,
        value_name = "DIRECTORY",
        default_value = "/run/rocket/oci"
    )]
    pub root: PathBuf,
    /// A file that failures are written to, beside standard error
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How failures are written
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Accepted for compatibility
    #[arg(long, global = true, hide = true)]
    pub debug: bool,
    /// Lets systemd make control groups; linux.cgroupsPath is slice:prefix:name
    #[arg(long, global = true)]
    pub systemd_cgroup: bool,
    /// Accepted for compatibility: rocket runs as root
    #[arg(long, global = true, hide = true, value_name = "auto|true|false")]
    pub rootless: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// How failures are written to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For engines.
    Json,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a container, whose program waits
    Create(Create),
    /// Lets the program of a container begin
    Start(Id),
    /// Makes a container and runs its program
    Run(Run),
    /// Runs another program in a container
    Exec(Box<Exec>),
    /// Prints what is known of a container
    State(Id),
    /// Sends a signal to a container
    Kill(Kill),
    /// Removes a container that has ended
    Delete(Delete),
    /// Stops all processes of a container for a while
    Pause(Id),
    /// Lets them go on
    Resume(Id),
    /// Changes limits of a container
    Update(Box<Update>),
    /// Lists processes of a container
    Ps(Ps),
    /// Lists containers
    List(List),
    /// Prints what the runtime can do
    Features,
}

/// A container.
#[derive(Debug, clap::Args)]
pub struct Id {
    /// Its name
    pub id: String,
}

/// How a container is made.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Directory with config.json
    #[arg(short, long, default_value = ".")]
    pub bundle: PathBuf,
    /// Socket to which the master of the terminal is sent
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// File for the number of the first process
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Changes the root by chroot, on a ramfs
    #[arg(long)]
    pub no_pivot: bool,
    /// Leaves the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Descriptors after the standard streams that the container gets
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// The container's name
    pub id: String,
}

/// How a container is made and run.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// As for create
    #[command(flatten)]
    pub create: Create,
    /// Does not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// Keeps it when it has ended
    #[arg(long)]
    pub keep: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
}

/// What is run in a container.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Socket to which the master of the terminal is sent
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long)]
    pub cwd: Option<PathBuf>,
    /// A variable, as KEY=value
    #[arg(short, long)]
    pub env: Vec<String>,
    /// Gives it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// As whom: user or user:group, in numbers
    #[arg(short, long)]
    pub user: Option<String>,
    /// Other groups, in numbers
    #[arg(short = 'g', long)]
    pub additional_gids: Vec<u32>,
    /// File with the process as in a spec
    #[arg(short, long)]
    pub process: Option<PathBuf>,
    /// Does not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// File for its number
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Must be empty: rocket has no SELinux
    #[arg(long, hide = true)]
    pub process_label: Option<String>,
    /// Profile of AppArmor
    #[arg(long)]
    pub apparmor: Option<String>,
    /// Execution never gives more rights
    #[arg(long)]
    pub no_new_privs: bool,
    /// A capability more
    #[arg(short, long)]
    pub cap: Vec<String>,
    /// Descriptors after the standard streams that it gets
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// Also if the container is paused: it begins when that goes on
    #[arg(long)]
    pub ignore_paused: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    /// The container's name
    pub id: String,
    /// The program, unless --process names it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// A signal for a container.
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// To all its processes, also when the first has ended
    #[arg(short, long)]
    pub all: bool,
    /// The container's name
    pub id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
}

/// What is removed.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Kills it first; one that is not there is no failure
    #[arg(short, long)]
    pub force: bool,
    /// The container's name
    pub id: String,
}

/// Which processes.
#[derive(Debug, clap::Args)]
pub struct Ps {
    /// table or json
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: Format,
    /// The container's name
    pub id: String,
    /// Options of ps for a table
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// How containers are listed.
#[derive(Debug, clap::Args)]
pub struct List {
    /// table or json
    #[arg(short, long, value_enum, default_value = "table")]
    pub format: Format,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// New limits.
#[derive(Debug, Default, clap::Args)]
pub struct Update {
    /// File with resources as in a spec; - is standard input
    #[arg(short, long)]
    pub resources: Option<PathBuf>,
    /// Bytes of memory; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub memory: Option<i64>,
    /// Bytes that are left to it when memory is short
    #[arg(long, allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 is no limit
    #[arg(long, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// Share of processors, 2 to 262144
    #[arg(long, visible_alias = "cpu-shares")]
    pub cpu_share: Option<u64>,
    /// Microseconds of a period
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// Microseconds per period
    #[arg(long, allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// Processors, as 0-3,7
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Nodes of memory
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Share of devices, 10 to 1000
    #[arg(long)]
    pub blkio_weight: Option<u16>,
    /// Processes and threads
    #[arg(long, allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// The container's name
    pub id: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_fits_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn engines_are_understood() {
        for line in [
            "rocket-oci --log-format=json --log=/l --systemd-cgroup create --bundle /b --pid-file /p --no-pivot --console-socket /c x",
            "rocket-oci --root /r --log /l --log-format json create --bundle /b --pid-file /p x",
            "rocket-oci --root /r exec --process /p --detach --pid-file /f -t --console-socket /s --preserve-fds 2 x",
            "rocket-oci exec -u 1:2 -e A=b -g 5 --cap CAP_KILL x sh -c true",
            "rocket-oci kill --all x 9",
            "rocket-oci delete --force x",
            "rocket-oci update --memory -1 --resources - x",
            "rocket-oci ps --format json x",
            "rocket-oci run -d --keep x",
            "rocket-oci --rootless true state x",
        ] {
            Args::try_parse_from(line.split(' ')).unwrap();
        }
    }
}
