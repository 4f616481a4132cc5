//! Verbs that take long: beginning them, and waiting for their end.

use std::collections::HashMap;
use std::time::Duration;

use daemon::client::seconds;
use futures_util::StreamExt as _;
use serde_json::json;
use zbus::Variant;

use super::args::Apply;
use super::proxy::{CompletedStream, Update1Proxy};
use super::status::bytes;
use super::{ClientError, Engine, Output, describe};
use crate::view::{Finished, View};

/// How often progress is asked for.
const TICK: Duration = Duration::from_millis(500);

/// `updatectl check`.
pub async fn check(daemon: &Update1Proxy<'_>, output: &mut Output<'_>) -> Result<(), ClientError> {
    let ends = daemon.receive_completed().await?;
    let job = daemon.check().await?;
    wait(daemon, job, ends, output).await
}

/// `updatectl apply`.
pub async fn apply(
    daemon: &Update1Proxy<'_>,
    apply: &Apply,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let version = apply.version.as_ref().map(ToString::to_string);
    let mut options = HashMap::new();
    if apply.allow_downgrade {
        options.insert("allow-downgrade", Variant::from(true));
    }
    let ends = daemon.receive_completed().await?;
    let job = daemon.apply(&version.unwrap_or_default(), options).await?;
    if !apply.no_wait {
        return wait(daemon, job, ends, output).await;
    }
    let value = json!({ "job": job, "result": "begun", "message": "begun" });
    output.print(&value, || "begun; see updatectl status\n".into())
}

async fn wait(
    daemon: &Update1Proxy<'_>,
    job: u32,
    mut ends: CompletedStream,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut line = ProgressLine::default();
    let finished = loop {
        tokio::select! {
            signal = ends.next() => {
                let Some(signal) = signal else {
                    return Err(ClientError::no_daemon("the connection is gone"));
                };
                let end = signal.args()?;
                if *end.job() == job {
                    break Finished {
                        job,
                        result: end.result().to_string(),
                        message: end.message().to_string(),
                    };
                }
            }
            () = tokio::time::sleep(TICK) => {
                let view = describe(daemon).await?;
                line.draw(&view, output);
                if let Some(end) = missed(&view, job) {
                    break end;
                }
            }
        }
    };
    line.clear(output);
    report(&finished, output)
}

/// How the job ended, if the signal was missed: the daemon was started again meanwhile,
/// and goes on by itself.
fn missed(view: &View, job: u32) -> Option<Finished> {
    match &view.last_job {
        Some(finished) if finished.job == job => Some(finished.clone()),
        _ if view.activity != "resting" => None,
        _ if view.update.state == "fetching" || view.update.state == "written" => None,
        _ => Some(Finished {
            job,
            result: if view.update.state == "armed" {
                "done".into()
            } else {
                "failed".into()
            },
            message: format!(
                "the daemon was started again meanwhile; the update is {}",
                view.update.state
            ),
        }),
    }
}

fn report(finished: &Finished, output: &mut Output<'_>) -> Result<(), ClientError> {
    let message = finished.message.clone();
    match finished.result.as_str() {
        "done" | "nothing" => output.print(finished, || format!("{message}\n")),
        result => {
            if output.json {
                output.print::<Engine>(finished, String::new)?;
            }
            match result {
                "refused" => Err(ClientError::Refused(message)),
                _ => Err(ClientError::Failed(message)),
            }
        }
    }
}

/// One line that is drawn over and over.
#[derive(Default)]
struct ProgressLine {
    drawn: bool,
}

impl ProgressLine {
    fn draw(&mut self, view: &View, output: &mut Output<'_>) {
        if !output.is_terminal {
            return;
        }
        self.drawn = true;
        // A terminal that is gone stops nothing.
        let _ = write!(output.talk, "\r\x1b[K{}", progress_text(view));
        let _ = output.talk.flush();
    }

    fn clear(&mut self, output: &mut Output<'_>) {
        if self.drawn {
            let _ = write!(output.talk, "\r\x1b[K");
        }
    }
}

/// `0.3.0  42 %  100.0 of 236.0 MB, 61 % reused, 1.2 MB/s, 3min left`.
pub fn progress_text(view: &View) -> String {
    let Some(progress) = &view.progress else {
        return "asking the server".into();
    };
    let version = view.update.version.as_deref().unwrap_or_default();
    if progress.checking {
        return format!("{version}  reading everything back");
    }
    let mut text = format!(
        "{version}  {} %  {} of {}, {} % reused, {}/s",
        progress.percent(),
        bytes(progress.done),
        bytes(progress.total),
        progress.reuse(),
        bytes(progress.rate),
    );
    if let Some(left) = progress.remaining {
        text.push_str(&format!(", {} left", seconds(left)));
    }
    text
}
