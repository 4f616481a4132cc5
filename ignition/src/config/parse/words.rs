//! Words about text that is not what it should be.

use serde_json::Value;

/// Text that is clearly something else than JSON, named.
pub(super) fn not_json(text: &str) -> Option<&'static str> {
    let start = text.trim_start();
    if start.starts_with('\u{feff}') {
        Some("the text starts with a byte order mark; save it as UTF-8 without one")
    } else if start.starts_with('<') {
        Some(
            "this is a web page or XML, not an Ignition config; give the address of the config itself",
        )
    } else if start.starts_with("#cloud-config") {
        Some("this is a cloud-config, not an Ignition config")
    } else if start.starts_with("#!") {
        Some("this is a script, not an Ignition config")
    } else if start.starts_with("variant:") || start.starts_with("version:") {
        Some("this is YAML (a Butane config?); translate it to an Ignition config first")
    } else {
        None
    }
}

/// What to do about serde_json's complaint, where people often meet it.
pub(super) fn syntax_hint(message: &str) -> &'static str {
    match message {
        "invalid number" => "; JSON has no octal numbers: 0644 is 420, 0755 is 493",
        "key must be a string" => "; keys stand in double quotes, and JSON has no comments",
        "trailing comma" => "; remove the comma before the closing bracket",
        _ => "",
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// serde's words for types, in the words of JSON.
pub(super) fn friendly(message: &str, key: &str) -> String {
    let mut text = message.replace("invalid type: ", "wrong type: found ");
    for (word, better) in [
        ("expected i64", "expected a whole number"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected an object"),
        ("found sequence", "found a list"),
        ("found map", "found an object"),
    ] {
        text = text.replace(word, better);
    }
    if let Some((head, _)) = text.split_once("expected struct ") {
        text = format!("{head}expected an object");
    }
    if key.ends_with(".mode") {
        text.push_str(" (JSON has no octal numbers: 0644 is 420, 0755 is 493)");
    }
    text
}
