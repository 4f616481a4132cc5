//! `rocket image list`.

use std::process::ExitCode;

use jiff::Timestamp;

use super::super::table::{Form, ago, table};
use crate::dirs::Dirs;
use crate::image::progress::bytes;
use crate::image::store::{Listed, Store};

/// What to list
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    form: Form,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let list = Store::open(dirs)?.list()?;
    if args.form.json {
        super::super::print_json(&list.images)?;
    } else {
        print!("{}", render(&list.images, &args.form, Timestamp::now()));
    }
    for error in list.damaged {
        eprintln!("rocket: {:#}", anyhow::Error::from(error));
    }
    Ok(ExitCode::SUCCESS)
}

/// One line per name.
fn render(list: &[Listed], form: &Form, now: Timestamp) -> String {
    let mut rows: Vec<[String; 6]> = Vec::new();
    if !form.no_legend {
        let headings = ["ID", "NAME", "TRUST", "FETCHED", "SIZE", "UNPACKED"];
        rows.push(headings.map(str::to_owned));
    }
    for image in list {
        let names = image.names.iter();
        let mut names: Vec<_> = names
            .map(|name| (name.name.clone(), name.verified.short()))
            .collect();
        if names.is_empty() {
            names.push(("-".to_owned(), "-"));
        }
        for (name, trust) in names {
            let id = image.id.hex();
            let digits = if form.full { id.len() } else { 12 };
            rows.push([
                format!("sha256:{}", &id[..digits]),
                name,
                trust.to_owned(),
                ago(image.fetched, now),
                bytes(image.size),
                bytes(image.unpacked),
            ]);
        }
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::image::store::ListedName;
    use crate::image::trust::Verified;

    #[test]
    fn every_name_has_a_line_and_what_has_none_too() {
        let now = Timestamp::from_second(100_000).unwrap();
        let image = |names: &[&str]| Listed {
            id: Digest::of(b""),
            names: names
                .iter()
                .map(|name| ListedName {
                    name: (*name).to_owned(),
                    verified: Verified::Pinned,
                })
                .collect(),
            size: 1000,
            unpacked: 2000,
            layers: 1,
            fetched: Timestamp::from_second(100_000 - 7200).unwrap(),
        };
        let list = [image(&["example.com/a:1", "example.com/b:1"]), image(&[])];
        let text = render(&list, &Form::default(), now);
        let expected = "\
ID                   NAME             TRUST   FETCHED      SIZE    UNPACKED
sha256:e3b0c44298fc  example.com/a:1  pinned  2 hours ago  1.0 kB  2.0 kB
sha256:e3b0c44298fc  example.com/b:1  pinned  2 hours ago  1.0 kB  2.0 kB
sha256:e3b0c44298fc  -                -       2 hours ago  1.0 kB  2.0 kB
";
        assert_eq!(text, expected);
    }
}
