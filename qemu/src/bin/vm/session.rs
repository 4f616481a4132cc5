//! One run of the program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::tools::Tools;
use qemu::console::Tee;
use qemu::{Setup, Storage, Vm};

use crate::attach;
use crate::cli::{Options, check_config};
use crate::exit;
use crate::progress::Progress;

/// How long a boot may take; scaled.
const BOOT: Duration = Duration::from_secs(180);

/// How long powering off may take; scaled.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Whether the guest's console is copied to stdout now.
static CONSOLE_SHOWN: AtomicBool = AtomicBool::new(false);

/// Does what the options say and returns the exit status.
pub fn run(options: &Options) -> Result<i32> {
    let default = image::build::source_dir().join("examples/single-host.ign");
    let config = options.ignition.as_ref().unwrap_or(&default);
    check_config(config)?;
    let image = match &options.image {
        Some(image) => image.clone(),
        None => image::build(&image::BuildOptions::default())?.join("disk.img"),
    };
    let tools = tools(&[Some(&image), options.disk.as_ref()])?;
    let setup = setup(options, &image, config);
    let accel = qemu::Accel::from(options.accel).settle();
    eprintln!("vm: booting {} with {accel}", image.display());
    let attach = options.exec.is_empty();
    CONSOLE_SHOWN.store(attach && !attach::is_possible(), Ordering::Relaxed);
    let mut vm = setup.boot_with(Arc::new(tools), Some(tee()))?;
    let dir = vm.dir().to_path_buf();
    exit::before(move || {
        let _ = std::fs::remove_dir_all(dir);
    });
    if attach {
        console(&mut vm)
    } else {
        let status = commands(&mut vm, &options.exec)?;
        if options.disk.is_some() {
            // A disk that is kept is not cut off in the middle of a write.
            vm.shutdown(SHUTDOWN).context("powering the guest off")?;
        }
        Ok(status)
    }
}

/// The tools tree with the directories of these files.
fn tools(files: &[Option<&PathBuf>]) -> Result<Tools> {
    let mut tools = Tools::ensure()?;
    for file in files.iter().flatten() {
        let file = std::path::absolute(file)?;
        let dir = file.parent().unwrap_or(&file);
        anyhow::ensure!(
            dir.is_dir(),
            "{}: there is no such directory",
            dir.display()
        );
        tools = tools.bind(dir);
    }
    Ok(tools)
}

fn setup(options: &Options, image: &Path, config: &Path) -> Setup {
    let mut setup = Setup::new(image)
        .ignition(config)
        .cpus(options.cpus)
        .memory_mib(options.memory)
        .accel(options.accel.into());
    if let Some(disk) = &options.disk {
        setup = setup.storage(Storage::Kept(disk.clone()));
    }
    for forward in &options.forward {
        setup = setup.forward(*forward);
    }
    if let Some(group) = &options.net {
        setup = setup.group(group);
    }
    setup
}

/// Shows the console, or else the stages that it tells of.
fn tee() -> Tee {
    let mut progress = Progress::new();
    Box::new(move |bytes| {
        let said = progress.take(bytes, Instant::now());
        if CONSOLE_SHOWN.load(Ordering::Relaxed) {
            let mut stdout = std::io::stdout();
            let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            return;
        }
        for line in said {
            eprintln!("vm: {line}");
        }
    })
}

/// Runs the commands; the first failure's status is the result.
fn commands(vm: &mut Vm, commands: &[String]) -> Result<i32> {
    if let Err(error) = vm.wait_boot_complete(BOOT) {
        // The lines that follow the first one of a failure.
        let _ = vm.expect_despite_failure("ballast: ", Duration::from_millis(200));
        eprintln!("vm: the guest's console ends with\n{}", vm.console().tail());
        return Err(error.into());
    }
    for command in commands {
        let status = vm
            .exec_attached(command)
            .with_context(|| format!("running `{command}` in the guest"))?;
        if status != 0 {
            eprintln!("vm: `{command}` ended with status {status}");
            return Ok(status);
        }
    }
    Ok(0)
}

/// Shows the console until the guest powers off or the user has enough.
fn console(vm: &mut Vm) -> Result<i32> {
    let sudo = std::env::var_os("SUDO_USER").map_or("", |_| "sudo ");
    let login = format!("{sudo}{}", vm.login_command()?.join(" "));
    if !attach::is_possible() {
        eprintln!("vm: once it has booted, log in with\n\n    {login}\n");
    } else {
        match vm.wait_boot_complete(BOOT) {
            Ok(_) => eprintln!("vm: log in with\n\n    {login}\n"),
            Err(error) => eprintln!("vm: {error}"),
        }
        eprintln!("vm: this is the guest's console; Ctrl-] or Ctrl-a x ends the machine");
        println!("{}", vm.console().tail());
        CONSOLE_SHOWN.store(true, Ordering::Relaxed);
        if let Some(keyboard) = vm.take_keyboard() {
            attach::keyboard(keyboard).context("preparing the terminal")?;
        }
    }
    vm.wait_off(Duration::MAX)?;
    Ok(0)
}
