//! Programs that people talk to daemons with: clients of D-Bus.

mod failure;
mod generate;
mod screen;

use std::fmt;
use std::io::Write;

use serde_json::json;

pub use failure::{ClientError, Service};
pub use generate::generate;
pub use screen::{Screen, ago, ahead, one_line, seconds};

/// Where output goes: data to one, talk to the other.
pub struct Output<'a> {
    /// Standard output.
    pub data: &'a mut dyn Write,
    /// Standard error.
    pub talk: &'a mut dyn Write,
    /// `talk` is a terminal: progress is drawn on one line, questions are answered.
    pub is_terminal: bool,
    /// Data is JSON.
    pub json: bool,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("json", &self.json).finish()
    }
}

impl Output<'_> {
    /// Prints a value as JSON, or what `text` makes of it.
    pub fn print<S: Service>(
        &mut self,
        value: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), ClientError<S>> {
        let text = if self.json {
            let json = serde_json::to_string_pretty(value);
            json.map_err(|error| ClientError::Failed(error.to_string()))? + "\n"
        } else {
            text()
        };
        self.data
            .write_all(text.as_bytes())
            .map_err(ClientError::Output)
    }

    /// Says that a verb was carried out.
    pub fn done<S: Service>(&mut self, message: &str) -> Result<(), ClientError<S>> {
        let value = json!({ "result": "done", "message": message });
        self.print(&value, || format!("{message}\n"))
    }
}
