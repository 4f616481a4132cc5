//! An environment: variables in the order in which they were first set.

/// Variables by name.
#[derive(Debug, Default)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// Sets one; a later value takes the place of an earlier one.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// `NAME=VALUE`.
    pub fn into_lines(self) -> Vec<String> {
        let line = |(name, value)| format!("{name}={value}");
        self.0.into_iter().map(line).collect()
    }
}
