//! `$(NAME)` in commands, arguments and values of variables.

/// Puts values in the place of `$(NAME)`. What has no value stays as it is, and `$$` is one `$`
/// that begins nothing, as in Kubernetes.
pub fn expand<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(more) = after.strip_prefix('$') {
            done.push('$');
            more
        } else if let Some((name, more)) = after.strip_prefix('(').and_then(|it| it.split_once(')'))
        {
            match value(name) {
                Some(value) => done.push_str(value),
                None => done.extend(["$(", name, ")"]),
            }
            more
        } else {
            done.push('$');
            after
        };
    }
    done.push_str(rest);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expanded(text: &str) -> String {
        expand(text, |name| (name == "A").then_some("1"))
    }

    #[test]
    fn names_with_a_value_are_replaced() {
        for (text, expected) in [
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$($(A))", "$($(A))"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_dollars_stays(text in "[^$]{0,60}") {
            prop_assert_eq!(expanded(&text), text);
        }

        #[test]
        fn doubled_dollars_are_always_halved(text in "[$()A é]{0,60}") {
            prop_assert_eq!(expanded(&text.replace('$', "$$")), text);
        }
    }
}
