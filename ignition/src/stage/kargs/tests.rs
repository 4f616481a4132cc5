use bootloader::choose::Reason;
use bootloader::kargs::{self, TRIES, taken, untried};

use super::*;

/// Most boots that anything here may take.
const BOOTS: usize = 20;

/// A machine with its firmware, the selector, and the ESP.
struct Machine {
    file: Option<Vec<u8>>,
    trial: SlotBits,
    /// The command line of the release.
    release: &'static str,
    /// What the hypervisor adds to it.
    extra: &'static str,
    secure: bool,
    /// The selector is older than kernel arguments.
    old: bool,
    /// The kernel does not come up with this on its command line.
    hangs: &'static str,
    /// Changes of the disk until the power is lost.
    left: Option<usize>,
    /// Changes of the disk so far.
    changes: usize,
}

fn machine(release: &'static str) -> Machine {
    Machine {
        file: None,
        trial: SlotBits::default(),
        release,
        extra: "",
        secure: false,
        old: false,
        hangs: "nothing",
        left: None,
        changes: 0,
    }
}

impl Machine {
    /// What the selector does: the command line, and what it says.
    fn select(&mut self) -> (String, Option<Outcome>) {
        let with = |line: &str, extra: &str| format!("{line} {extra}").trim_end().to_owned();
        let plain = with(self.release, self.extra);
        let (Some(file), false) = (&self.file, self.old) else {
            return (plain, None);
        };
        let line = Kargs::parse(file).and_then(|change| change.apply(self.release));
        let Ok(line) = line else {
            return (plain, Some(Outcome::Wrong));
        };
        let outcome = kargs::decide(&kargs::Boot {
            reason: Reason::Normal,
            secure: self.secure,
            refused: false,
            trial: self.trial,
        });
        if outcome != Outcome::Used {
            return (plain, Some(outcome));
        }
        self.trial = taken(self.trial).unwrap_or(self.trial);
        (with(&line, self.extra), Some(outcome))
    }

    /// Boots until provisioning goes on or is refused: the last command line, and how
    /// many boots it took.
    fn provision(&mut self, wanted: &Kargs) -> Result<(String, usize), String> {
        for boots in 1..=BOOTS {
            let (line, outcome) = self.select();
            if kargs::words(&line).any(|word| word == self.hangs) {
                continue;
            }
            let secure = self.secure;
            let boot = Boot {
                line: &line,
                outcome,
                secure,
            };
            match settle(self, wanted, &boot) {
                Ok(Then::GoOn) => return Ok((line, boots)),
                Ok(Then::Reboot) => {}
                Err(Stopped::Refused(refusal)) => return Err(refusal.to_string()),
                // The power was lost.
                Err(Stopped::Failed(_)) => self.left = None,
            }
        }
        panic!("it boots for ever");
    }

    /// Counts a change, or loses power before it.
    fn change(&mut self) -> Result<(), KargsError> {
        if self.left == Some(0) {
            return Err(KargsError::Reboot { seconds: 0 });
        }
        self.left = self.left.map(|left| left - 1);
        self.changes += 1;
        Ok(())
    }
}

impl Store for Machine {
    fn read(&self) -> Result<Option<Vec<u8>>, KargsError> {
        Ok(self.file.clone())
    }

    fn trial(&self) -> Result<SlotBits, KargsError> {
        Ok(self.trial)
    }

    fn set_trial(&mut self, trial: SlotBits) -> Result<(), KargsError> {
        self.change()?;
        self.trial = trial;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), KargsError> {
        self.change()?;
        self.file = Some(text.into());
        Ok(())
    }

    fn remove(&mut self) -> Result<(), KargsError> {
        self.change()?;
        self.file = None;
        Ok(())
    }
}

const RELEASE: &str = "console=ttyS0 quiet usrhash=01 rw";

fn kargs(add: &[&str], remove: &[&str]) -> Kargs {
    Kargs::new(add.iter().copied(), remove.iter().copied()).unwrap()
}

#[test]
fn arguments_hold_after_one_reboot_and_in_later_releases() {
    let mut machine = machine(RELEASE);
    let wanted = kargs(&["a=1"], &["quiet"]);
    let (line, boots) = machine.provision(&wanted).unwrap();
    assert_eq!(
        (line.as_str(), boots),
        ("console=ttyS0 usrhash=01 rw a=1", 2)
    );
    assert_eq!(machine.trial, confirmed());
    // A first boot that is cut off later starts again, and changes nothing here.
    machine.changes = 0;
    assert_eq!(machine.provision(&wanted).unwrap(), (line, 1));
    assert_eq!(machine.changes, 0);
    machine.release = "quiet usrhash=02 splash";
    let later = "usrhash=02 splash a=1".to_owned();
    assert_eq!(machine.select(), (later, Some(Outcome::Used)));
}

#[test]
fn what_the_release_has_anyway_takes_no_reboot_and_stays() {
    let mut machine = machine(RELEASE);
    let (line, boots) = machine.provision(&kargs(&["quiet"], &["splash"])).unwrap();
    assert_eq!((line.as_str(), boots), (RELEASE, 1));
    machine.release = "usrhash=02 splash";
    for _ in 0..2 * TRIES {
        let later = "usrhash=02 quiet".to_owned();
        assert_eq!(machine.select(), (later, Some(Outcome::Used)));
    }
}

#[test]
fn a_machine_without_arguments_is_left_alone() {
    let mut machine = machine(RELEASE);
    let nothing = Kargs::default();
    assert_eq!(machine.provision(&nothing).unwrap().1, 1);
    assert_eq!((machine.changes, machine.trial), (0, SlotBits::default()));
}

#[test]
fn after_a_power_cut_at_any_point_it_ends_the_same() {
    for cut in 0..6 {
        let mut machine = machine(RELEASE);
        machine.left = Some(cut);
        let (line, boots) = machine.provision(&kargs(&["a"], &["quiet"])).unwrap();
        assert_eq!(line, "console=ttyS0 usrhash=01 rw a");
        assert!(boots <= 3, "{boots} boots, cut {cut}");
        assert_eq!(machine.trial, confirmed());
        machine.left = Some(cut);
        let (line, _) = machine.provision(&kargs(&["b"], &[])).unwrap();
        assert_eq!(line, "console=ttyS0 quiet usrhash=01 rw b");
        machine.left = Some(cut);
        let (line, _) = machine.provision(&Kargs::default()).unwrap();
        assert_eq!((line.as_str(), machine.file), (RELEASE, None));
    }
}

#[test]
fn an_argument_with_which_nothing_comes_up_is_given_up() {
    let mut machine = machine(RELEASE);
    machine.hangs = "maxcpus=none";
    let wanted = kargs(&["maxcpus=none"], &[]);
    let refused = machine.provision(&wanted).unwrap_err();
    assert!(
        refused.contains("the machine did not come up with them"),
        "{refused}"
    );
    assert_eq!(machine.trial.tries, 0);
    // It says so on every start, and does not try again.
    machine.changes = 0;
    assert_eq!(machine.provision(&wanted).unwrap_err(), refused);
    assert_eq!(machine.changes, 0);
    let (line, boots) = machine.provision(&kargs(&["maxcpus=1"], &[])).unwrap();
    assert_eq!((line, boots), (format!("{RELEASE} maxcpus=1"), 2));
    assert_eq!(machine.trial, confirmed());
}

#[test]
fn losing_power_on_two_trial_boots_is_no_reason_to_give_up() {
    let mut machine = machine(RELEASE);
    let wanted = kargs(&["a"], &[]);
    machine.file = Some(wanted.render().into());
    machine.trial = untried();
    for _ in 1..TRIES {
        assert_eq!(machine.select().1, Some(Outcome::Used));
    }
    assert_eq!(machine.provision(&wanted).unwrap().1, 1);
}

#[test]
fn under_secure_boot_only_what_the_release_has_is_accepted() {
    let mut machine = machine(RELEASE);
    machine.secure = true;
    let refused = machine.provision(&kargs(&["a"], &["quiet"])).unwrap_err();
    let said = "a is missing, quiet is still there, and Secure Boot is on";
    assert!(refused.starts_with(said), "{refused}");
    assert_eq!(machine.provision(&kargs(&["rw"], &["a"])).unwrap().1, 1);
    assert_eq!((machine.changes, machine.file), (0, None));
}

#[test]
fn what_does_not_help_is_an_error_and_no_loop() {
    let mut old = machine(RELEASE);
    old.old = true;
    let refused = old.provision(&kargs(&["a"], &[])).unwrap_err();
    assert!(refused.contains("it is older than"), "{refused}");
    let mut extra = machine(RELEASE);
    extra.extra = "splash";
    let refused = extra.provision(&kargs(&[], &["splash"])).unwrap_err();
    assert!(
        refused.starts_with("splash is still there, also after"),
        "{refused}"
    );
    let mut long = machine(RELEASE);
    long.release = Box::leak(format!("usrhash=01 {}", "a".repeat(2030)).into_boxed_str());
    let refused = long.provision(&kargs(&["bcdefgh"], &[])).unwrap_err();
    assert!(refused.contains("the file is wrong; shorten"), "{refused}");
}

#[test]
fn a_file_that_is_wrong_or_of_another_config_is_replaced() {
    for file in [&b"\0\0\0"[..], b"+b\n-quiet\n", &[b'#'; 5000]] {
        let mut machine = machine(RELEASE);
        machine.file = Some(file.to_owned());
        machine.trial = confirmed();
        let (line, boots) = machine.provision(&kargs(&["a"], &[])).unwrap();
        assert_eq!((line, boots), (format!("{RELEASE} a"), 2));
        let written = machine.file.unwrap();
        assert_eq!(Kargs::parse(&written), Ok(kargs(&["a"], &[])));
    }
}

#[test]
fn a_config_is_read_and_located() {
    let config = |arguments| -> Config {
        let text = serde_json::json!({"ignition": {"version": "3.6.0"},
            "kernelArguments": arguments});
        serde_json::from_value(text).unwrap()
    };
    let both = config(serde_json::json!({"shouldExist": ["a b=\"c d\""], "shouldNotExist": ["e"]}));
    assert_eq!(wanted(&both).unwrap(), kargs(&["a", "b=\"c d\""], &["e"]));
    assert!(asked(&both));
    assert!(!asked(&config(serde_json::json!({"shouldExist": []}))));
    assert!(!asked(&config(serde_json::json!(null))));
    let mut state = State::default();
    assert_eq!(place(&state), "key kernelArguments");
    state
        .origins
        .insert(KEY.to_owned(), "config from x, line 3".to_owned());
    assert_eq!(place(&state), "config from x, line 3");
}
