//! `with_mount_unit`: a mount or swap unit for a file system.

use serde_json::{Value, json};

use crate::tools::yaml::{Content, Node};

use super::value::{Path, truth};
use super::{Translator, entry, list_in};

/// Adds the units that `storage.filesystems` asks for to `json`.
pub fn add(translator: &mut Translator<'_>, root: &Node, json: &mut Value) {
    let storage = root.get("storage");
    let Some(Content::List(nodes)) = storage
        .and_then(|s| s.get("filesystems"))
        .map(|n| &n.content)
    else {
        return;
    };
    let list = Path::default().key("storage").key("filesystems");
    for (number, node) in nodes.iter().enumerate() {
        let wanted = node.get("with_mount_unit");
        let Some(asked) = wanted.filter(|n| n.text().and_then(truth) == Some(true)) else {
            continue;
        };
        let path = list.entry(number).key("with_mount_unit");
        match Mount::read(node, storage) {
            Ok(mount) => put(translator, json, asked, &path, &mount),
            Err(message) => translator.error(asked, &path, message),
        }
    }
}

/// Puts the unit among the others; what the config says of a unit of this
/// name goes before.
fn put(
    translator: &mut Translator<'_>,
    json: &mut Value,
    asked: &Node,
    path: &Path,
    mount: &Mount<'_>,
) {
    let name = mount.unit_name();
    let Some(units) = list_in(json, "systemd", "units") else {
        return;
    };
    if let Some((_, unit)) = entry(units, "name", &name) {
        unit.entry("enabled").or_insert(json!(true));
        unit.entry("contents").or_insert(mount.unit().into());
        return;
    }
    units.push(json!({ "name": name, "enabled": true, "contents": mount.unit() }));
    let key = format!("systemd.units.{}", units.len() - 1);
    translator.due_to(key, asked, path);
}

/// A file system or swap area that the host mounts.
struct Mount<'a> {
    device: &'a str,
    /// None for swap.
    path: Option<&'a str>,
    format: &'a str,
    options: Vec<&'a str>,
    /// Whether it takes the network to open the device.
    remote: bool,
}

impl<'a> Mount<'a> {
    fn read(node: &'a Node, storage: Option<&'a Node>) -> Result<Self, String> {
        let text = |key| {
            node.get(key)
                .and_then(Node::text)
                .filter(|text| !text.is_empty())
        };
        let device = text("device").ok_or("a mount unit needs the key device")?;
        let format = text("format")
            .filter(|format| *format != "none")
            .ok_or("a mount unit needs the key format, such as \"format: ext4\"")?;
        let path = match (format, text("path")) {
            ("swap", _) => None,
            (_, Some(path)) => Some(path),
            (_, None) => return Err("a mount unit needs the key path: where to mount".to_owned()),
        };
        let options = match node.get("mount_options").map(|node| &node.content) {
            Some(Content::List(nodes)) => nodes.iter().filter_map(Node::text).collect(),
            _ => Vec::new(),
        };
        let mount = Self {
            device,
            path,
            format,
            options,
            remote: needs_network(device, storage),
        };
        let texts = [device, format]
            .into_iter()
            .chain(path)
            .chain(mount.options.iter().copied());
        if texts
            .into_iter()
            .any(|text| text.contains(char::is_control))
        {
            return Err("a mount unit's values cannot have control characters".to_owned());
        }
        Ok(mount)
    }

    fn unit_name(&self) -> String {
        match self.path {
            Some(path) => format!("{}.mount", escape_path(path)),
            None => format!("{}.swap", escape_path(self.device)),
        }
    }

    fn unit(&self) -> String {
        let options: Vec<String> = self
            .options
            .iter()
            .copied()
            .chain(self.remote.then_some("_netdev"))
            .map(literal)
            .collect();
        let options = match options.is_empty() {
            true => String::new(),
            false => format!("Options={}\n", options.join(",")),
        };
        let device = literal(self.device);
        let Some(path) = self.path else {
            return format!(
                "[Swap]\nWhat={device}\n{options}\n[Install]\nRequiredBy=swap.target\n"
            );
        };
        let (path, format, escaped) = (
            literal(path),
            literal(self.format),
            escape_path(self.device),
        );
        let target = if self.remote { "remote-fs" } else { "local-fs" };
        format!(
            "[Unit]\nRequires=systemd-fsck@{escaped}.service\nAfter=systemd-fsck@{escaped}.service\n\n\
             [Mount]\nWhere={path}\nWhat={device}\nType={format}\n{options}\n\
             [Install]\nRequiredBy={target}.target\n"
        )
    }
}

/// Whether `device` is a LUKS volume whose key comes from a tang server.
fn needs_network(device: &str, storage: Option<&Node>) -> bool {
    let name = ["/dev/mapper/", "/dev/disk/by-id/dm-name-"]
        .into_iter()
        .find_map(|prefix| device.strip_prefix(prefix));
    let volumes = match storage
        .and_then(|s| s.get("luks"))
        .map(|node| &node.content)
    {
        Some(Content::List(volumes)) => volumes.as_slice(),
        _ => &[],
    };
    let tang = |volume: &Node| {
        let tang = volume.get("clevis").and_then(|clevis| clevis.get("tang"));
        matches!(tang.map(|node| &node.content), Some(Content::List(servers)) if !servers.is_empty())
    };
    name.is_some()
        && volumes
            .iter()
            .any(|volume| volume.get("name").and_then(Node::text) == name && tang(volume))
}

/// A text in which systemd is to find no specifier.
fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// A path as a unit's name (systemd.unit(5), "String escaping for inclusion
/// in unit names").
fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut escaped = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at == 0 => escaped.push_str("\\x2e"),
            b':' | b'_' | b'.' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_systemd_escape_does() {
        for (path, name) in [
            ("/", "-"),
            ("/var/lib/data", "var-lib-data"),
            ("/var//lib/", "var-lib"),
            (
                "/dev/disk/by-label/my disk",
                "dev-disk-by\\x2dlabel-my\\x20disk",
            ),
            ("/.hidden/.x", "\\x2ehidden-.x"),
            ("/é", "\\xc3\\xa9"),
        ] {
            assert_eq!(escape_path(path), name, "{path}");
        }
    }
}
