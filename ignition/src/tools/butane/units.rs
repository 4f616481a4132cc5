//! Units and drop-ins whose text is in a local file.

use crate::tools::yaml::Node;

use super::Translator;
use super::value::{Object, Path};

/// Reads `contents_local`.
pub fn contents(translator: &mut Translator<'_>, node: &Node, object: &mut Object, path: &Path) {
    const KEY: &str = "contents_local";
    let Some(file) = node.get(KEY).filter(|file| file.text().is_some()) else {
        return;
    };
    let below = path.key(KEY);
    if object.contains_key("contents") {
        let message = "contents and contents_local are both given; keep one of them";
        return translator.error(file, &below, message);
    }
    let Some(bytes) = translator.local(file, &below) else {
        return;
    };
    match String::from_utf8(bytes) {
        Ok(text) => {
            object.insert("contents".to_owned(), text.into());
            let place = (file.spot, below.yaml);
            translator
                .places
                .insert(format!("{}.contents", path.json), place);
        }
        Err(_) => translator.error(file, &below, "the file is not text, so it is no unit"),
    }
}
