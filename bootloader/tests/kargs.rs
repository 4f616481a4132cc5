//! Kernel arguments of a host: words, merging, the file, the trial.

#![allow(clippy::unwrap_used)]

use bootloader::choose::Reason;
use bootloader::kargs::{
    ARGUMENT_BYTES, Boot, FILE_BYTES, Kargs, LINE_BYTES, Outcome, Problem, TRIES, confirmed,
    decide, protects, same, taken, untried, words,
};
use proptest::prelude::*;

fn kargs(add: &[&str], remove: &[&str]) -> Kargs {
    Kargs::new(add.iter().copied(), remove.iter().copied()).unwrap()
}

fn problem(add: &[&str], remove: &[&str]) -> Problem {
    Kargs::new(add.iter().copied(), remove.iter().copied()).unwrap_err()
}

#[test]
fn words_are_the_kernels() {
    let found = |line| words(line).collect::<Vec<_>>();
    assert_eq!(found(" a  b=c\td\n"), ["a", "b=c", "d"]);
    assert_eq!(
        found("a=\"b c\" \"d e\"=f g\"h i\"j"),
        ["a=\"b c\"", "\"d e\"=f", "g\"h i\"j"]
    );
    assert_eq!(found("a \"b c"), ["a", "\"b c"]);
    assert_eq!(found(r#"a=\" b" c"#), [r#"a=\" b""#, "c"]);
    assert!(same("a=\"b c\"", "\"a=b c\"") && !same("a=b", "a=bc") && !same("a", "b"));
}

#[test]
fn arguments_are_added_and_removed_once() {
    let line = "console=tty0 quiet panic=10 quiet usrhash=0123 rw";
    let change = kargs(&["panic=10", "a=\"b c\" net.ifnames=0", "rw"], &["quiet"]);
    assert_eq!(change.unmet(line).count(), 3);
    let changed = change.apply(line).unwrap();
    assert_eq!(
        changed,
        "console=tty0 panic=10 usrhash=0123 rw a=\"b c\" net.ifnames=0"
    );
    assert_eq!(change.unmet(&changed).count(), 0);
    // An argument is all of it: another value is another argument.
    let other = kargs(&["panic=30"], &["console=tty1"]);
    assert_eq!(
        other.apply("panic=10 console=tty0").unwrap(),
        "panic=10 console=tty0 panic=30"
    );
    let said: Vec<_> = other.unmet("console=tty1").map(|u| u.to_string()).collect();
    assert_eq!(said, ["panic=30 is missing", "console=tty1 is still there"]);
    assert_eq!(
        change.to_string(),
        "+panic=10 +a=\"b c\" +net.ifnames=0 +rw -quiet"
    );
    assert!(kargs(&[" ", ""], &[]).is_empty());
}

#[test]
fn what_runs_is_not_for_a_host_to_say() {
    for word in [
        "usrhash=0123",
        "usrhash",
        "roothashsig=x",
        "systemd.verity=0",
        "systemd.verity_usr_data=/dev/vdb",
        "systemd.verity-usr-options=x",
        "systemd.image_policy=*",
        "mount.usr=/dev/vdb",
        "mount.usrflags=rw",
        "root=/dev/vdb",
        "\"root\"=/dev/vdb",
        "\"root=/dev/vdb\"",
        "rootflags=x",
        "systemd.gpt_auto=no",
        "systemd.gpt-auto=no",
        "systemd.volatile=yes",
        "resume=/dev/vdb",
        "init=/bin/sh",
        "rdinit=/bin/sh",
        "initrd=x",
        "rd.break",
        "ignition.config.url=http://example.com",
        "--",
    ] {
        assert!(protects(word).is_some(), "{word}");
        for (add, remove) in [([word].as_slice(), [].as_slice()), (&[], &[word])] {
            assert!(matches!(problem(add, remove), Problem::Protected { .. }));
        }
    }
    for word in [
        "rootwait",
        "rootdelay=5",
        "initcall_debug",
        "rdt=cmt",
        "quiet",
        "rw",
    ] {
        assert_eq!(protects(word), None, "{word}");
    }
    // Where nobody looks at first sight.
    let hidden = problem(&["quiet  init=/bin/sh"], &[]);
    assert!(
        hidden.to_string().starts_with("\"init=/bin/sh\" is not"),
        "{hidden}"
    );
}

#[test]
fn what_cannot_be_an_argument_is_refused() {
    for text in ["a\nb", "a\tb", "a\0", "\u{e4}", "a=\u{1f600}"] {
        assert!(matches!(problem(&[text], &[]), Problem::Character { .. }));
    }
    assert!(matches!(problem(&["a=\"b"], &[]), Problem::Quote { .. }));
    // The kernel sees one word here, and systemd three.
    let hidden = "a'\"' root=b '\"'";
    assert!(matches!(
        problem(&[hidden], &[]),
        Problem::SingleQuote { .. }
    ));
    assert!(matches!(
        problem(&["a", "b=\"c\""], &["b=c"]),
        Problem::Both { .. }
    ));
    let long = "a".repeat(ARGUMENT_BYTES);
    assert!(matches!(problem(&[&long], &[]), Problem::Long { .. }));
    assert!(kargs(&[&long[1..]], &[]).apply("b").is_ok());
}

#[test]
fn a_line_that_the_kernel_would_cut_is_refused() {
    let line = "a".repeat(LINE_BYTES - 2);
    assert_eq!(kargs(&["b"], &[]).apply(&line).unwrap().len(), LINE_BYTES);
    let problem = kargs(&["bc"], &[]).apply(&line).unwrap_err();
    assert_eq!(
        problem,
        Problem::Long {
            length: LINE_BYTES + 1,
            limit: LINE_BYTES
        }
    );
}

#[test]
fn the_file_is_what_it_shows() {
    let file = b"# by hand\r\n\r\n+a\r\n + b=\"c d\"\n-e\n\n";
    assert_eq!(
        Kargs::parse(file).unwrap(),
        kargs(&["a", "b=\"c d\""], &["e"])
    );
    assert!(Kargs::parse(b"").unwrap().is_empty());
    for (file, expected) in [
        (&b"a\n"[..], Problem::Line { number: 1 }),
        (b"+a\n+b c\n", Problem::Line { number: 2 }),
        (b"+a\n-\n", Problem::Line { number: 2 }),
        (b"\0\0\0\0", Problem::Line { number: 1 }),
        (b"+a\xff", Problem::NotText),
    ] {
        assert_eq!(Kargs::parse(file).unwrap_err(), expected);
    }
    for (file, words) in [
        (&b"+a\0b"[..], "printable"),
        (b"+init=/bin/sh", "starts first"),
        (b"+a\n-a", "shall not exist"),
        (&[b'#'; FILE_BYTES + 1][..], "more than the 4096"),
    ] {
        let problem = Kargs::parse(file).unwrap_err().to_string();
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn arguments_are_tried_before_they_are_kept() {
    let boot = |trial| Boot {
        reason: Reason::Normal,
        secure: false,
        refused: false,
        trial,
    };
    let mut trial = untried();
    for _ in 0..TRIES {
        assert_eq!(decide(&boot(trial)), Outcome::Used);
        let after = taken(trial).unwrap();
        assert_eq!(after.tries, trial.tries - 1);
        trial = after;
    }
    assert_eq!(decide(&boot(trial)), Outcome::GivenUp);
    let proven = boot(confirmed());
    assert_eq!(taken(proven.trial), None);
    assert_eq!(decide(&proven), Outcome::Used);
    let fallback = Reason::Fallback;
    assert_eq!(
        decide(&Boot {
            reason: fallback,
            ..proven
        }),
        Outcome::Used
    );
    for (boot, outcome) in [
        (
            Boot {
                secure: true,
                ..proven
            },
            Outcome::SecureBoot,
        ),
        (
            Boot {
                refused: true,
                ..proven
            },
            Outcome::Key,
        ),
        (
            Boot {
                reason: Reason::LastResort,
                ..proven
            },
            Outcome::LastResort,
        ),
    ] {
        assert_eq!(decide(&boot), outcome);
    }
}

#[test]
fn outcomes_are_found_by_their_names() {
    for outcome in Outcome::ALL {
        assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
    }
    assert_eq!(Outcome::from_name("else"), None);
}

/// Words as people write them, also such as are refused.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-c]{1,2}(=[0-9\"]{0,3})?",
        2 => "[a-c]=\"[a-c ]{0,4}\"",
        1 => "root=[a-c]|rd\\.[a-c]",
    ]
}

fn change() -> impl Strategy<Value = Kargs> {
    let list = || prop::collection::vec(word(), 0..5);
    (list(), list()).prop_filter_map("refused", |(add, remove)| {
        let add = add.iter().map(String::as_str);
        Kargs::new(add, remove.iter().map(String::as_str)).ok()
    })
}

proptest! {
    #[test]
    fn after_a_change_all_holds_and_nothing_more_changes(
        change in change(), line in prop::collection::vec(word(), 0..8),
    ) {
        let line = line.join(" ");
        // A word with an open quote takes what follows along.
        prop_assume!(line.bytes().filter(|b| *b == b'"').count() % 2 == 0);
        let changed = change.apply(&line).unwrap();
        prop_assert_eq!(change.unmet(&changed).count(), 0);
        prop_assert_eq!(&change.apply(&changed).unwrap(), &changed);
        if change.unmet(&line).count() == 0 {
            prop_assert!(words(&line).eq(words(&changed)));
        }
        let protected = |line: &str| -> Vec<String> {
            words(line).filter(|w| protects(w).is_some()).map(String::from).collect()
        };
        prop_assert_eq!(protected(&line), protected(&changed));
    }

    #[test]
    fn a_file_says_what_it_was_made_of(change in change()) {
        let file = change.render();
        prop_assert!(file.len() <= FILE_BYTES && file.is_ascii());
        prop_assert_eq!(Kargs::parse(file.as_bytes()).unwrap(), change);
    }

    #[test]
    fn any_file_is_read_or_refused(file in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(change) = Kargs::parse(&file) {
            let again = Kargs::parse(change.render().as_bytes()).unwrap();
            prop_assert_eq!(again, change);
        }
    }

    #[test]
    fn the_longest_arguments_fit_into_the_file(length in 1_usize..40) {
        let count = ARGUMENT_BYTES / (length + 8);
        let many: Vec<String> = (0..count).map(|n| format!("{n:06}{}", "x".repeat(length))).collect();
        let change = Kargs::new(many.iter().map(String::as_str), []).unwrap();
        prop_assert!(change.render().len() <= FILE_BYTES);
    }
}
