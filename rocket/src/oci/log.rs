//! Failures, for engines and people.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::args::LogFormat;

/// Writes a failure to standard error and, if there is one, to the log.
pub fn failure(log: Option<&Path>, format: LogFormat, message: &str) {
    eprintln!("{}: {message}", super::NAME);
    let Some(log) = log else {
        return;
    };
    let line = line(format, message, &jiff::Timestamp::now().to_string());
    let written = File::options()
        .append(true)
        .create(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        eprintln!("{}: writing {}: {error}", super::NAME, log.display());
    }
}

fn line(format: LogFormat, message: &str, time: &str) -> String {
    match format {
        LogFormat::Json => {
            let entry = serde_json::json!({"level": "error", "msg": message, "time": time});
            format!("{entry}\n")
        }
        LogFormat::Text => format!("time={time:?} level=error msg={message:?}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_read_lines_of_json() {
        let json = line(LogFormat::Json, "no \"x\"", "now");
        assert_eq!(
            json,
            "{\"level\":\"error\",\"msg\":\"no \\\"x\\\"\",\"time\":\"now\"}\n"
        );
        let text = line(LogFormat::Text, "no", "now");
        assert_eq!(text, "time=\"now\" level=error msg=\"no\"\n");
    }
}
