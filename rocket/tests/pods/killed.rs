//! A rocket that is killed, whatever it does, leaves nothing that the next collection does not
//! remove, and disturbs nobody.

use crate::host::{Companion, Host, Traces, below, on_a_host};
use crate::image;
use crate::steps::{Follow, Traced};

const COLLECT: [&str; 2] = ["gc", "--grace-period=0s"];

/// A command that is killed at each of its steps, one after the other.
struct Killing<'a> {
    traced: Traced<'a>,
    before: Traces,
    companion: Companion,
}

impl<'a> Killing<'a> {
    /// The host has another pod, and nothing else.
    fn new(host: &'a Host, words: Vec<&'a str>) -> Self {
        let companion = host.companion();
        host.does(&COLLECT);
        Self {
            traced: Traced {
                host,
                words,
                follow: Follow::Program,
            },
            before: host.settled(),
            companion,
        }
    }

    /// `ready` makes what the command works on. Returns how often the command was killed.
    fn at_each_step(mut self, least: usize, ready: impl Fn()) {
        ready();
        let steps = self.traced.steps();
        self.collect("at its end");
        let mut killed = 0;
        for step in &steps {
            ready();
            killed += usize::from(self.traced.until(step));
            self.collect(&format!("{step:?}"));
        }
        assert!(killed >= least, "only {killed} of {} steps", steps.len());
        self.companion.end();
    }

    fn collect(&mut self, what: &str) {
        self.companion.assert_runs();
        self.traced.host.until_apps_ended(&self.before);
        self.traced.host.does(&COLLECT);
        self.traced.host.assert_like(&self.before, what);
    }
}

#[test]
fn a_run_that_is_killed_at_any_step_leaves_nothing_behind() {
    on_a_host(|host| {
        let words = host.run(&["--port", "127.0.0.1:8080:80"], &["--", "true"]);
        Killing::new(host, words).at_each_step(60, || ());
    });
}

#[test]
fn a_run_of_two_apps_with_users_of_its_own_that_is_killed_leaves_nothing_behind() {
    on_a_host(|host| {
        let image = host.image();
        let second = ["--", "true", "---", image, "--name", "second", "--", "true"];
        let words = host.run(&["--net=none", "--userns=auto"], &second);
        Killing::new(host, words).at_each_step(60, || ());
    });
}

/// The host's end of the bridge refuses what nobody listens for, if it can be reached.
#[test]
fn a_network_that_was_made_in_part_is_finished_for_the_next_pod() {
    on_a_host(|host| {
        let ask = "nc -w 9 $(ip route | awk '/default/ { print $3 }') 9 2>&1 || true";
        let traced = Traced {
            host,
            words: host.run(&[], &["--", "true"]),
            follow: Follow::Program,
        };
        let steps = traced.steps();
        let changes = steps.iter().filter(|step| step.is("sendto"));
        let mut killed = 0;
        for step in changes {
            host.forget_bridge();
            killed += usize::from(traced.until(step));
            let said = host.does(&host.run(&[], &["--", "sh", "-c", ask]));
            assert!(said.contains("refused"), "{step:?}: {said}");
        }
        assert!(killed >= 10, "only {killed} of {} steps", steps.len());
    });
}

/// Whether it comes to running depends on the controllers that the host has.
#[test]
fn a_run_with_limits_that_is_killed_leaves_no_control_group() {
    on_a_host(|host| {
        let words = host.run(&["--net=none"], &["--pids", "64", "--", "true"]);
        Killing::new(host, words).at_each_step(30, || ());
    });
}

#[test]
fn a_removal_that_is_killed_at_any_step_is_finished_by_a_collection() {
    on_a_host(|host| {
        let saved = host.path("uuid");
        let file = saved.to_str().unwrap();
        let words = vec!["rm", "--uuid-file", file];
        Killing::new(host, words).at_each_step(10, || {
            let options = ["--uuid-file-save", file, "--userns=auto"];
            host.does(&host.run(&options, &["--", "touch", "/tmp/a", "/tmp/b"]));
        });
    });
}

#[test]
fn a_collection_that_is_killed_at_any_step_is_finished_by_the_next() {
    on_a_host(|host| {
        let words = host.run(&["--port", "127.0.0.1:8080:80"], &["--", "true"]);
        // Its app has begun, and nobody will see it end.
        let aborted = Traced {
            host,
            words,
            follow: Follow::Program,
        };
        let steps = aborted.steps();
        let waiting = steps.iter().rfind(|step| step.is("poll")).unwrap();
        Killing::new(host, COLLECT.to_vec()).at_each_step(20, || {
            assert!(aborted.until(waiting));
            host.does(&host.run(&["--userns=auto", "--net=none"], &["--", "true"]));
            let given_up = "rocket/data/pods/preparing/7d3a0a52-8c1e-4a55-b5a5-0f8f8d8f0c11";
            std::fs::create_dir(host.path(given_up)).unwrap();
        });
    });
}

#[test]
fn a_fetch_that_is_killed_at_any_step_leaves_the_store_as_it_was() {
    on_a_host(|host| {
        let archive = host.path("small.tar");
        image::write_small(&archive, 3);
        let source = format!("docker-archive:{}", archive.display());
        let traced = Traced {
            host,
            words: vec!["fetch", "--insecure-options=image", &source],
            follow: Follow::Threads,
        };
        let store = host.path("rocket/data/store");
        let before = below(&store);
        let steps = traced.steps();
        host.does(&["image", "rm", &source]);
        let mut killed = 0;
        for step in &steps {
            killed += usize::from(traced.until(step));
            host.does(&["image", "list"]);
            host.does(&traced.words);
            host.does(&["image", "verify", &source]);
            host.does(&["image", "rm", &source]);
            assert_eq!(below(&store), before, "{step:?}");
        }
        assert!(killed >= 40, "only {killed} of {} steps", steps.len());
    });
}

#[test]
fn a_removal_of_an_image_that_is_killed_at_any_step_can_be_done_again() {
    on_a_host(|host| {
        let archive = host.path("small.tar");
        image::write_small(&archive, 2);
        let source = format!("docker-archive:{}", archive.display());
        let fetch = ["fetch", "--insecure-options=image", &source];
        let store = host.path("rocket/data/store");
        let before = below(&store);
        let traced = Traced {
            host,
            words: vec!["image", "rm", &source],
            follow: Follow::Program,
        };
        host.does(&fetch);
        let steps = traced.steps();
        assert_eq!(below(&store), before);
        let mut killed = 0;
        for step in &steps {
            host.does(&fetch);
            killed += usize::from(traced.until(step));
            // Its name is gone, or it is not.
            host.rocket(&["image", "rm", &source]);
            host.does(&["image", "gc"]);
            assert_eq!(below(&store), before, "{step:?}");
        }
        assert!(killed >= 10, "only {killed} of {} steps", steps.len());
    });
}
