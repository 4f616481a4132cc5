//! QEMU's control protocol: JSON lines over a socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// How long QEMU may take to answer one command.
const ANSWER: Duration = Duration::from_secs(30);

/// Something that happened in QEMU, such as `RESET` or `SHUTDOWN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name in the QMP reference.
    pub name: String,
    /// Its data, `Null` if it has none.
    pub data: Value,
}

#[derive(Default)]
struct Events {
    seen: Vec<Event>,
    closed: bool,
}

#[derive(Default)]
struct Feed {
    events: Mutex<Events>,
    changed: Condvar,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A control connection.
pub struct Qmp {
    line: Mutex<(UnixStream, Receiver<Value>)>,
    feed: Arc<Feed>,
}

impl Qmp {
    /// Takes over a fresh connection from QEMU and negotiates.
    ///
    /// Fails if the peer does not greet as QEMU does, or breaks off.
    pub fn open(stream: UnixStream) -> Result<Self> {
        let broken = |source| Error::QmpConnection {
            action: "opening".to_string(),
            source,
        };
        let reader = BufReader::new(stream.try_clone().map_err(broken)?);
        let feed = Arc::new(Feed::default());
        let (answers, inbox) = channel();
        let theirs = Arc::clone(&feed);
        thread::spawn(move || read_all(reader, &answers, &theirs));
        let qmp = Self {
            line: Mutex::new((stream, inbox)),
            feed,
        };
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Runs one command and returns what QEMU answered.
    ///
    /// `arguments` is an object or `Null`. Fails with QEMU's description when
    /// QEMU refuses, and when the connection breaks.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let broken = |source| Error::QmpConnection {
            action: format!("running {command}"),
            source,
        };
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.0
            .write_all(format!("{request}\n").as_bytes())
            .map_err(broken)?;
        let limit = Deadline::after(ANSWER).limit();
        let mut answer = line.1.recv_timeout(limit).map_err(|e| {
            broken(match e {
                RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
                RecvTimeoutError::Disconnected => io::ErrorKind::UnexpectedEof.into(),
            })
        })?;
        match answer.get("error") {
            None => Ok(answer["return"].take()),
            Some(error) => Err(Error::Qmp {
                command: command.to_string(),
                reason: error["desc"].as_str().unwrap_or_default().to_string(),
            }),
        }
    }

    /// Runs a command of QEMU's human monitor and returns its text.
    pub fn human(&self, command: &str) -> Result<String> {
        let arguments = json!({ "command-line": command });
        let answer = self.execute("human-monitor-command", arguments)?;
        Ok(answer.as_str().unwrap_or_default().to_string())
    }

    /// The events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.feed.lock().seen.clone()
    }

    /// How often an event came so far.
    pub fn count(&self, name: &str) -> usize {
        let events = self.feed.lock();
        events.seen.iter().filter(|e| e.name == name).count()
    }

    /// Waits until `name` has come at least `count` times in all.
    ///
    /// False if the deadline passes or QEMU ends first.
    pub fn wait_count(&self, name: &str, count: usize, deadline: Deadline) -> bool {
        let mut events = self.feed.lock();
        loop {
            if events.seen.iter().filter(|e| e.name == name).count() >= count {
                return true;
            }
            let Some(left) = deadline.left().filter(|_| !events.closed) else {
                return false;
            };
            let waited = self.feed.changed.wait_timeout(events, left);
            events = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What one line from QEMU is.
#[derive(Debug, PartialEq)]
enum Message {
    Answer(Value),
    Event(Event),
    Greeting,
}

fn parse(line: &str) -> Option<Message> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    if let Some(name) = value.get("event").and_then(Value::as_str) {
        let name = name.to_string();
        let data = value["data"].take();
        return Some(Message::Event(Event { name, data }));
    }
    if value.get("QMP").is_some() {
        return Some(Message::Greeting);
    }
    let answer = value.get("return").is_some() || value.get("error").is_some();
    answer.then_some(Message::Answer(value))
}

fn read_all(reader: impl BufRead, answers: &Sender<Value>, feed: &Feed) {
    for line in reader.lines().map_while(io::Result::ok) {
        match parse(&line) {
            Some(Message::Event(event)) => {
                feed.lock().seen.push(event);
                feed.changed.notify_all();
            }
            Some(Message::Answer(value)) => {
                if answers.send(value).is_err() {
                    break;
                }
            }
            Some(Message::Greeting) | None => {}
        }
    }
    feed.lock().closed = true;
    feed.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines captured from QEMU 10.0.
    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "Debian"}, "capabilities": ["oob"]}}"#;
    const RESET: &str = r#"{"timestamp": {"seconds": 1795245900, "microseconds": 5}, "event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}"#;

    fn serve(theirs: UnixStream, replies: Vec<&'static str>) -> thread::JoinHandle<Vec<Value>> {
        thread::spawn(move || {
            let mut out = theirs.try_clone().unwrap();
            writeln!(out, "{GREETING}").unwrap();
            let mut lines = BufReader::new(theirs).lines();
            let mut asked = Vec::new();
            for reply in replies {
                asked.push(serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
                writeln!(out, "{reply}").unwrap();
            }
            asked
        })
    }

    #[test]
    fn commands_answers_errors_and_events_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let event_then_answer = concat!(
            r#"{"event": "RESET", "data": {"guest": true}}"#,
            "\n",
            r#"{"return": {"running": true}}"#
        );
        let refused = r#"{"error": {"class": "CommandNotFound", "desc": "no such command"}}"#;
        let server = serve(
            theirs,
            vec![r#"{"return": {}}"#, event_then_answer, refused],
        );
        let qmp = Qmp::open(ours).unwrap();
        let status = qmp.execute("query-status", Value::Null).unwrap();
        assert_eq!(status["running"], true);
        assert_eq!(qmp.count("RESET"), 1);
        let error = qmp.execute("x", json!({"a": 1})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused x: no such command");
        let asked = server.join().unwrap();
        assert_eq!(asked[0], json!({"execute": "qmp_capabilities"}));
        assert_eq!(asked[2], json!({"execute": "x", "arguments": {"a": 1}}));
        assert!(qmp.execute("gone", Value::Null).is_err());
        assert!(!qmp.wait_count("RESET", 2, Deadline::after(Duration::from_secs(60))));
    }

    #[test]
    fn lines_are_what_they_say() {
        assert_eq!(parse(GREETING), Some(Message::Greeting));
        let Some(Message::Event(event)) = parse(RESET) else {
            panic!("not an event");
        };
        assert_eq!(event.name, "RESET");
        assert_eq!(event.data["reason"], "guest-reset");
        assert_eq!(parse("not json"), None);
        assert_eq!(parse("{}"), None);
    }
}
