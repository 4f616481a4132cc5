//! The OVF environment: XML with one element per property of an appliance
//! (DMTF DSP0243, chapter 11).

use roxmltree::{Document, Node, ParsingOptions};

/// Namespace of the elements and attributes.
const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/1";

/// Elements, texts and comments that a document may have.
const NODES: u32 = 100_000;

/// The values of the properties `keys`, of which the last one counts.
///
/// Declarations of entities are refused: they are no part of the format.
pub fn properties<const N: usize>(
    document: &[u8],
    keys: [&str; N],
) -> Result<[Option<String>; N], String> {
    // Hosts end the text like a string of C.
    let end = document.iter().position(|byte| *byte == 0);
    let document = &document[..end.unwrap_or(document.len())];
    let text = std::str::from_utf8(document).map_err(|error| error.to_string())?;
    let options = ParsingOptions {
        nodes_limit: NODES,
        ..ParsingOptions::default()
    };
    let tree = Document::parse_with_options(text.trim_ascii(), options)
        .map_err(|error| format!("not valid XML: {error}"))?;
    let sections = tree.root_element().children();
    let properties: Vec<Node<'_, '_>> = sections
        .filter(|node| node.has_tag_name((NAMESPACE, "PropertySection")))
        .flat_map(|section| section.children())
        .filter(|node| node.has_tag_name((NAMESPACE, "Property")))
        .collect();
    Ok(keys.map(|key| {
        let alike = properties
            .iter()
            .filter(|node| node.attribute((NAMESPACE, "key")) == Some(key));
        let value = alike
            .filter_map(|node| node.attribute((NAMESPACE, "value")))
            .next_back();
        value.map(str::to_owned)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Environment
     xmlns="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:ve="http://www.vmware.com/schema/ovfenv"
     oe:id="CoreOS-vmw" ve:vCenterId="vm-13">
   <PlatformSection>
      <Kind>VMware ESXi</Kind>
   </PlatformSection>
   <PropertySection>
         <Property oe:key="a" oe:value="first"/>
         <Property oe:key="b" oe:value="{&quot;x&quot;: &#10;1}"/>
         <Property oe:key="c" oe:value=""/>
         <Property key="a" value="of no namespace"/>
         <Property oe:key="a" oe:value="last"/>
   </PropertySection>
</Environment>"#;

    #[test]
    fn properties_are_found_by_key() {
        let found = properties(DOCUMENT.as_bytes(), ["a", "b", "c", "d"]).unwrap();
        let expected = [Some("last"), Some("{\"x\": \n1}"), Some(""), None];
        assert_eq!(found.each_ref().map(Option::as_deref), expected);
        let ended = format!("{DOCUMENT}\0garbage");
        assert_eq!(
            properties(ended.as_bytes(), ["c"]).unwrap()[0].as_deref(),
            Some("")
        );
    }

    #[test]
    fn what_is_no_environment_is_refused_or_empty() {
        for bad in [&b"<a>"[..], b"{}", b"\xff", b"", b"<a/><b/>"] {
            assert!(properties(bad, ["a"]).is_err());
        }
        let other = br#"<Environment><PropertySection><Property key="a" value="1"/>
            </PropertySection></Environment>"#;
        assert_eq!(properties(other, ["a"]).unwrap(), [None]);
    }

    #[test]
    fn entities_and_deep_nesting_do_no_harm() {
        let bomb = r#"<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>"#;
        assert!(properties(bomb.as_bytes(), ["a"]).is_err());
        let deep = "<a>".repeat(200_000);
        assert!(properties(deep.as_bytes(), ["a"]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[<>/a-c=\"' &;!\\[\\]:x-z-]{0,60}") {
            let _ = properties(text.as_bytes(), ["a"]);
        }
    }
}
