use super::*;

const SERVER: &str = "http://127.0.0.1:9";

#[test]
fn every_config_is_in_the_table_and_all_that_is_in_the_table_is_there() {
    let corpus = Corpus::read().unwrap();
    let mut found = BTreeSet::new();
    for group in ["fedora-coreos", "butane", "ignition", "flatcar"] {
        for entry in fs::read_dir(corpus.directory.join(group)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.insert(format!("{group}/{name}"));
        }
    }
    let named: BTreeSet<String> = corpus.configs().into_iter().map(str::to_owned).collect();
    assert_eq!(named, found);
    for config in corpus.outcomes.keys() {
        assert!(found.contains(config), "{config}");
    }
    assert!(page::examples(&corpus).len() > 200);
}

#[test]
fn every_outcome_is_one_and_says_why() {
    let corpus = Corpus::read().unwrap();
    for (config, outcome) in &corpus.outcomes {
        assert_eq!(outcome.refused.is_some(), outcome.why.is_some(), "{config}");
        let unseen = outcome.machine.as_deref() == Some("none");
        assert_eq!(unseen, outcome.shown.is_some(), "{config}");
        assert!(!unseen || outcome.provisions(), "{config}");
        let seen = outcome.provisions() && !unseen;
        assert!(seen || outcome.effect.is_empty(), "{config}");
    }
}

#[test]
fn every_example_translates_and_is_valid_with_the_warnings_it_is_to_have() {
    let corpus = Corpus::read().unwrap();
    let mut translated = 0;
    for config in corpus.configs() {
        let outcome = corpus.outcome(config);
        match (corpus.translated(config, SERVER), &outcome.refused) {
            (Ok((_, warnings)), None) => {
                assert_eq!(warnings, outcome.warns, "{config}");
                translated += 1;
            }
            (Err(error), Some(key)) => {
                let error = format!("{error:#}");
                assert!(error.starts_with(&format!("{key}: ")), "{config}: {error}");
                assert_eq!(error.lines().count(), 1, "{config}: {error}");
            }
            (Ok(_), Some(key)) => panic!("{config} was to be refused at {key}"),
            (Err(error), None) => panic!("{config}: {error:#}"),
        }
    }
    assert!(translated > 140);
}

#[test]
fn what_a_config_fetches_is_served_and_has_the_hash_that_it_says() {
    let corpus = Corpus::read().unwrap();
    let served = corpus.served().unwrap();
    for machine in ["hosts", "disks"] {
        let configs: Vec<_> = corpus
            .provisioned(machine)
            .into_iter()
            .map(|config| corpus.translated(config, SERVER).unwrap().0)
            .collect();
        assert!(configs.len() > 10);
        assert!(!of_configs(&configs, SERVER, &served).unwrap().is_empty());
    }
}

#[test]
fn the_page_about_compatibility_shows_the_table() {
    let corpus = Corpus::read().unwrap();
    let path = image::build::source_dir().join("docs/compatibility.md");
    let found = fs::read_to_string(&path).unwrap();
    let expected = format!("{}{}", page::summary(&corpus), page::render(&corpus));
    if !found.contains(&expected) {
        let wanted = std::env::temp_dir().join("ballast-documented-examples.md");
        fs::write(&wanted, expected).unwrap();
        panic!(
            "{} is to have what is in {}",
            path.display(),
            wanted.display()
        );
    }
}
