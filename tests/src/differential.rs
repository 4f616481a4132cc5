//! Our ignition against Debian's `ignition`, which is Go Ignition 2.14 (specs 3.0 to 3.3).
//!
//! Both carry the same configs out on equal root directories, stage by stage, as an
//! initrd does. Then names, kinds, modes, owners, contents, links and the account files
//! must be equal byte for byte, but for what [`normal`] names with its reason; and what
//! one of them refuses, the other must refuse, before anything is written or later.
//! What differs on purpose is in [`explained`]. Configs about disks are compared on equal
//! disks, see [`disks`].

mod beforehand;
mod cases;
mod command_line;
mod disks;
mod explained;
mod generate;
mod normal;
mod programs;
mod random;
mod root;
mod systemd;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use cases::Case;
use programs::{Outcome, Programs, Side};

/// What the quick part's generated configs come from: the same in every run, so that a
/// change is judged by what it changed.
pub const QUICK_SEED: u64 = 1;

/// Generated configs of the whole suite, unless another number is given.
pub const GENERATED: &str = "200";
/// One about disks, which takes longer, comes with this number of others.
const OTHERS: u64 = 4;
/// Lines of one difference that are shown.
const LINES: usize = 12;
/// In memory: two programs that flush every file they write would wait for the disk.
const MEMORY: &str = "/dev/shm";

/// Configs of the short suite that are written by hand.
const QUICK: [&str; 24] = [
    "contents/gzip",
    "contents/hash_wrong",
    "contents/url_base64",
    "merge/children_of_children",
    "merge/file_contents_of_the_child",
    "merge/replaced",
    "merge/unit_enabled_by_the_child",
    "passwd/file_of_a_new_user",
    "passwd/group_everything",
    "passwd/old_deleted",
    "passwd/old_home_and_keys",
    "passwd/user_everything",
    "refused/rule_path_twice",
    "refused/text_not_json",
    "refused/version_2_0",
    "storage/append_to_a_present_file",
    "storage/directory_there_overwrite",
    "storage/file_mode_4755",
    "storage/file_there",
    "storage/hard_link_there_overwrite",
    "storage/link_there_other_overwrite",
    "units/dropins",
    "units/instances_enabled_and_disabled",
    "units/unit_unmasked_and_enabled",
];
/// And generated ones beside them.
const QUICK_GENERATED: u64 = 8;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Suite {
    cases: Vec<Case>,
    disks: Vec<disks::Case>,
    command_lines: bool,
}

/// How a suite ended.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    explained: usize,
    differ: usize,
}

impl Tally {
    /// Counts what came of one config, and shows and keeps it if the programs differ.
    fn count(
        &mut self,
        name: &str,
        config: &[u8],
        verdict: Verdict,
        outcomes: [&Outcome; 2],
        kept: &Path,
    ) -> Result<()> {
        match verdict {
            Verdict::Same => self.same += 1,
            Verdict::Explained => self.explained += 1,
            Verdict::Differ(lines) => {
                self.differ += 1;
                show(name, &lines);
                keep(name, config, &lines, outcomes, kept)?;
            }
        }
        Ok(())
    }
}

impl Suite {
    /// A few configs of every kind.
    pub fn quick(seed: u64) -> Self {
        let mut cases = cases::all();
        cases.retain(|case| QUICK.contains(&case.name.as_str()));
        cases.extend((0..QUICK_GENERATED).map(|number| generate::case(seed, number)));
        let mut disks = disks::all();
        disks.retain(|case| disks::QUICK.contains(&case.name.as_str()));
        Self {
            cases,
            disks,
            command_lines: false,
        }
    }

    /// Every config that is written by hand, `generated` more and a quarter of that about
    /// disks, and command lines; or of the configs, what has `filter` in its name.
    pub fn whole(seed: u64, generated: u64, filter: Option<&str>) -> Self {
        let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
        let mut cases = cases::all();
        cases.extend((0..generated).map(|number| generate::case(seed, number)));
        cases.retain(|case| wanted(&case.name));
        let mut disks = disks::all();
        let generated = generated.div_ceil(OTHERS);
        disks.extend((0..generated).map(|number| disks::case(seed, number)));
        disks.retain(|case| wanted(&case.name));
        Self {
            cases,
            disks,
            command_lines: filter.is_none(),
        }
    }

    /// With what other systems document that has `filter` in its name.
    pub fn with_documented(mut self, filter: Option<&str>) -> Result<Self> {
        let mut cases = cases::documented()?;
        cases.retain(|case| filter.is_none_or(|filter| case.name.contains(filter)));
        self.cases.extend(cases);
        Ok(self)
    }

    /// Compares the programs; `ours` is the one of this repository, compiled first if it
    /// is not given. Configs for which they differ are kept in `kept`, with what was said.
    ///
    /// Needs root. Fails if they differ in anything that is not explained.
    pub fn run(&self, ours: Option<&Path>, kept: &Path) -> Result<()> {
        ensure!(image::host::is_root(), "files of other owners need root");
        let count = self.cases.len() + self.disks.len();
        ensure!(count > 0, "no config has this in its name");
        image::tools::remove_tree(kept)?;
        let work = work_directory()?;
        let service_manager = work.path().join("systemd");
        fs::create_dir(&service_manager)?;
        systemd::imitate(&service_manager)?;
        let programs = Programs::ensure(ours, &service_manager)?;
        let mut tally = self.compare_all(&programs, work.path(), kept)?;
        disks::compare_all(&self.disks, &programs, work.path(), kept, &mut tally)?;
        let lines = match self.command_lines {
            true => command_line::differences(&programs)?,
            false => Vec::new(),
        };
        for line in &lines {
            println!("e2e: differ  {line}");
        }
        println!(
            "e2e: {count} configs: {} agree, {} differ as explained, {} differ; \
             command lines: {} differ",
            tally.same,
            tally.explained,
            tally.differ,
            lines.len()
        );
        if tally.differ > 0 {
            bail!(
                "the programs differ; configs and logs are in {}",
                kept.display()
            );
        }
        ensure!(lines.is_empty(), "command lines end differently");
        Ok(())
    }

    fn compare_all(&self, programs: &Programs, work: &Path, kept: &Path) -> Result<Tally> {
        let next = AtomicUsize::new(0);
        let tally = Mutex::new(Tally::default());
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let run = || -> Result<()> {
                while let Some(case) = self.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (theirs, ours) = run_both(case, programs, work)
                        .with_context(|| format!("comparing {}", case.name))?;
                    let verdict = judge(case, &theirs, &ours, &mut |case| {
                        run_one(case, programs, work, Side::Theirs)
                    })?;
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    let outcomes = [&theirs, &ours];
                    tally.count(&case.name, &case.config, verdict, outcomes, kept)?;
                }
                Ok(())
            };
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a comparison panicked"))??;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn work_directory() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ballast-differential-");
    let memory = Path::new(MEMORY);
    match memory.is_dir() {
        true => builder.tempdir_in(memory),
        false => builder.tempdir(),
    }
    .context("making a directory for the comparison")
}

fn run_both(case: &Case, programs: &Programs, work: &Path) -> Result<(Outcome, Outcome)> {
    let theirs = run_one(case, programs, work, Side::Theirs)?;
    let ours = run_one(case, programs, work, Side::Ours)?;
    Ok((theirs, ours))
}

fn run_one(case: &Case, programs: &Programs, work: &Path, side: Side) -> Result<Outcome> {
    let work = work.join(side.word()).join(case.name.replace('/', "-"));
    fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
    let mut outcome = programs.run(side, case, &work)?;
    normal::normalise(&mut outcome.tree);
    image::tools::remove_tree(&work)?;
    Ok(outcome)
}

/// What two outcomes mean.
enum Verdict {
    Same,
    Explained,
    /// One line for each difference.
    Differ(Vec<String>),
}

fn judge(
    case: &Case,
    theirs: &Outcome,
    ours: &Outcome,
    run_theirs: &mut dyn FnMut(&Case) -> Result<Outcome>,
) -> Result<Verdict> {
    let mut found = differences(theirs, ours);
    if case.carried_out && End::of(ours) != End::Done {
        found.push(format!("ours was to carry it out: {:?}", ours.failed));
        return Ok(Verdict::Differ(found));
    }
    Ok(match case.explained {
        None if found.is_empty() => Verdict::Same,
        None if explained::seen(&found, &theirs.log) => Verdict::Explained,
        None if is_late_refusal(&found, theirs, ours) => Verdict::Explained,
        None if is_beforehand(case, theirs, ours, run_theirs)? => Verdict::Explained,
        None => Verdict::Differ(found),
        Some(difference) if found.is_empty() => Verdict::Differ(vec![format!(
            "explained by {:?}, but the programs agree",
            difference.when
        )]),
        Some(_) => Verdict::Explained,
    })
}

/// Whether all that differs is that theirs refuses only in the run what ours refuses in the
/// check, too.
fn is_late_refusal(found: &[String], theirs: &Outcome, ours: &Outcome) -> bool {
    let ends = [End::of(theirs), End::of(ours)];
    let checks = (theirs.valid, ours.valid);
    let reasons = beforehand::reasons(&ours.log);
    found.len() == 1
        && ends == [End::Refused; 2]
        && checks == (true, false)
        && !reasons.is_empty()
        && reasons.iter().all(|r| r.is_what_was_refused(&theirs.log))
}

/// Whether ours refuses beforehand what theirs fails at in the middle.
fn is_beforehand(
    case: &Case,
    theirs: &Outcome,
    ours: &Outcome,
    run_theirs: &mut dyn FnMut(&Case) -> Result<Outcome>,
) -> Result<bool> {
    let failed = |outcome: &Outcome| End::of(outcome) == End::Failed;
    // Theirs may have refused a config that this one refers to, and ours this one.
    let end = End::of(theirs) == End::Refused && theirs.valid && !ours.valid;
    if End::of(ours) != End::Refused || !(failed(theirs) || end) {
        return Ok(false);
    }
    let reasons = beforehand::reasons(&ours.log);
    for reason in &reasons {
        if failed(theirs) && reason.is_what_failed(&case.config, &theirs.log) {
            continue;
        }
        let Some(alone) = reason.alone(case) else {
            return Ok(false);
        };
        let theirs = run_theirs(&alone)?;
        if !failed(&theirs) || !reason.is_what_failed(&alone.config, &theirs.log) {
            return Ok(false);
        }
    }
    Ok(!reasons.is_empty())
}

fn differences(theirs: &Outcome, ours: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if theirs.valid != ours.valid {
        let word = |valid| if valid { "valid" } else { "invalid" };
        let (theirs, ours) = (word(theirs.valid), word(ours.valid));
        lines.push(format!("the config alone: theirs {theirs}, ours {ours}"));
    }
    let (end, our_end) = (End::of(theirs), End::of(ours));
    if end != our_end {
        lines.push(format!("the run: theirs {end:?}, ours {our_end:?}"));
    } else if end == End::Done {
        lines.extend(theirs.tree.differences(&ours.tree));
    }
    // A stage that fails leaves what it had done by then; neither program promises more.
    lines
}

/// How all stages ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// Before anything was written.
    Refused,
    /// While it was carried out.
    Failed,
}

impl End {
    fn of(outcome: &Outcome) -> Self {
        match outcome.failed.as_deref() {
            None => Self::Done,
            Some("fetch-offline" | "fetch") => Self::Refused,
            Some(_) => Self::Failed,
        }
    }
}

fn show(name: &str, lines: &[String]) {
    println!("e2e: differ  {name}");
    for line in lines.iter().take(LINES) {
        println!("     {}", line.replace('\n', "\n     "));
    }
    if lines.len() > LINES {
        println!("     and {} more", lines.len() - LINES);
    }
}

fn keep(
    name: &str,
    config: &[u8],
    lines: &[String],
    outcomes: [&Outcome; 2],
    kept: &Path,
) -> Result<()> {
    let directory: PathBuf = kept.join(name.replace('/', "-"));
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    write("config.ign", config)?;
    write("differences", lines.join("\n").as_bytes())?;
    write("theirs.log", outcomes[0].log.as_bytes())?;
    write("ours.log", outcomes[1].log.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_suite_is_part_of_the_whole_one_and_of_every_kind() {
        let quick = Suite::quick(1);
        let generated = usize::try_from(QUICK_GENERATED).unwrap();
        assert_eq!(quick.cases.len(), QUICK.len() + generated);
        let whole = Suite::whole(1, GENERATED.parse().unwrap(), None);
        assert!(whole.cases.len() >= 300);
        for kind in ["contents", "merge", "passwd", "refused", "storage", "units"] {
            assert!(quick.cases.iter().any(|case| case.name.starts_with(kind)));
        }
        let generated = Suite::whole(1, 10, Some("generated/"));
        assert_eq!((generated.cases.len(), generated.disks.len()), (10, 3));
        assert_eq!(quick.disks.len(), disks::QUICK.len());
    }
}
