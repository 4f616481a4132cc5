//! The words after a pod's options: images, each with its options and arguments.

use clap::Parser as _;
use clap::error::ErrorKind;

use super::AppOptions;

/// Words between images.
const NEXT_IMAGE: &str = "---";

/// One image with what follows it.
#[derive(Debug)]
pub struct AppArguments {
    /// As it was written.
    pub image: String,
    /// Its options.
    pub options: AppOptions,
    /// What followed `--`: the program's arguments. Without `--`, the image's own.
    pub arguments: Option<Vec<String>>,
}

/// Words that make no apps.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// An image is missing.
    #[error(
        "no image given; expected: [POD OPTIONS] IMAGE [APP OPTIONS] [-- ARGUMENTS] [--- IMAGE …]"
    )]
    NoImage,
    /// It was asked what options an app has.
    #[error("{0}")]
    Help(clap::builder::StyledStr),
    /// Options of an app are wrong.
    #[error("options of {image}: {message}")]
    Options {
        /// The image.
        image: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads `IMAGE [APP OPTIONS] [-- ARGUMENTS] [--- IMAGE …]`.
pub fn split(words: &[String]) -> Result<Vec<AppArguments>, SplitError> {
    words.split(|word| word == NEXT_IMAGE).map(one).collect()
}

fn one(words: &[String]) -> Result<AppArguments, SplitError> {
    let (image, rest) = words.split_first().ok_or(SplitError::NoImage)?;
    if image.is_empty() || image.starts_with('-') {
        return Err(SplitError::NoImage);
    }
    let end = rest.iter().position(|word| word == "--");
    let (options, arguments) = match end {
        Some(end) => (&rest[..end], Some(rest[end + 1..].to_vec())),
        None => (rest, None),
    };
    let options = AppOptions::try_parse_from(options).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => SplitError::Help(error.render()),
        _ => SplitError::Options {
            image: image.clone(),
            message: message(&error),
        },
    })?;
    Ok(AppArguments {
        image: image.clone(),
        options,
        arguments,
    })
}

/// What clap says, without its usage, and with a hint for who forgot the dashes.
fn message(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let plain = first.strip_prefix("error: ").unwrap_or(first);
    if error.kind() == ErrorKind::UnknownArgument {
        return format!("{plain} (the program's own arguments follow --)");
    }
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn each_image_has_its_options_and_arguments() {
        let line = "a --env X=1 --read-only -- sh -c --help --- b --name second --- c --";
        let apps = split(&words(line)).unwrap();
        assert_eq!(apps.len(), 3);
        assert_eq!(apps[0].image, "a");
        assert!(apps[0].options.read_only);
        let arguments = ["sh", "-c", "--help"].map(String::from);
        assert_eq!(apps[0].arguments.as_deref(), Some(&arguments[..]));
        assert_eq!(apps[1].options.name.as_deref(), Some("second"));
        assert_eq!(apps[1].arguments, None);
        assert_eq!(apps[2].arguments.as_deref(), Some(&[][..]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_image() {
        let said = |line: &str| split(&words(line)).unwrap_err().to_string();
        assert!(said("a sh").contains("follow --"), "{}", said("a sh"));
        assert!(said("a --memory x").starts_with("options of a: invalid value 'x'"));
        assert!(said("a --- --name x").starts_with("no image given"));
        assert!(said("a ---").starts_with("no image given"));
    }

    #[test]
    fn an_image_tells_what_options_its_app_has() {
        for line in [
            "a --help",
            "a -h",
            "a --read-only --help -- sh",
            "b --- a --help",
        ] {
            let Err(SplitError::Help(text)) = split(&words(line)) else {
                panic!("{line}: no help");
            };
            let text = text.to_string();
            assert!(
                text.contains("--cap-drop") && text.contains("IMAGE [OPTIONS]"),
                "{text}"
            );
        }
        assert!(split(&words("a -- --help")).is_ok());
    }
}
