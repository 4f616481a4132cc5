//! Units of systemd.

use serde_json::{Value, json};

use super::Case;

const UNIT: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
const TEMPLATE: &str = "[Service]\nExecStart=/bin/echo %i\n[Install]\nWantedBy=multi-user.target\n";
/// A template that stands for its instance `z`, if none is named.
const DEFAULT: &str =
    "[Service]\nExecStart=/bin/echo %i\n[Install]\nWantedBy=multi-user.target\nDefaultInstance=z\n";

pub fn cases() -> Vec<Case> {
    let case = |name: &str, units: Value| Case::new(name, json!({"systemd": {"units": units}}));
    let template = json!({"name": "t@.service", "contents": TEMPLATE});
    let mut cases = vec![
        case("unit", json!([{"name": "a.service", "contents": UNIT}])),
        case(
            "unit_without_newline",
            json!([{"name": "a.service", "contents": UNIT.trim_end()}]),
        ),
        case("unit_without_contents", json!([{"name": "a.service"}])),
        case(
            "unit_contents_empty",
            json!([{"name": "a.service", "contents": ""}]),
        ),
        case(
            "unit_contents_null",
            json!([{"name": "a.service", "contents": null}]),
        ),
        case(
            "unit_there",
            json!([{"name": "present.service", "contents": UNIT}]),
        ),
        case(
            "unit_there_empty",
            json!([{"name": "present.service", "contents": ""}]),
        ),
        case(
            "unit_enabled",
            json!([{"name": "a.service", "contents": UNIT, "enabled": true}]),
        ),
        case(
            "unit_disabled",
            json!([{"name": "a.service", "contents": UNIT, "enabled": false}]),
        ),
        case(
            "unit_enabled_there",
            json!([{"name": "present.service", "enabled": true}]),
        ),
        case(
            "unit_disabled_there",
            json!([{"name": "present.service", "enabled": false}]),
        ),
        case(
            "unit_enabled_of_usr",
            json!([{"name": "systemd-networkd.service", "enabled": true}]),
        ),
        case(
            "unit_disabled_of_usr",
            json!([{"name": "systemd-networkd.service", "enabled": false}]),
        ),
        case(
            "unit_enabled_not_there",
            json!([{"name": "none.service", "enabled": true}]),
        ),
        case(
            "unit_enabled_without_install",
            json!([{"name": "a.service", "contents": "[Unit]\nA=b\n", "enabled": true}]),
        ),
        case(
            "units_enabled_and_disabled",
            json!([
            {"name": "b.service", "contents": UNIT, "enabled": true}, {"name": "a.service", "contents": UNIT, "enabled": false},
            {"name": "c.timer", "contents": "[Timer]\nOnBootSec=1\n[Install]\nWantedBy=timers.target\n", "enabled": true}]),
        ),
        case("unit_masked", json!([{"name": "a.service", "mask": true}])),
        case(
            "unit_masked_there",
            json!([{"name": "present.service", "mask": true}]),
        ),
        case(
            "unit_masked_of_usr",
            json!([{"name": "systemd-networkd.service", "mask": true}]),
        ),
        case(
            "unit_masked_already_and_enabled",
            json!([{"name": "masked.service", "enabled": true}]),
        ),
        case(
            "unit_masked_already_and_disabled",
            json!([{"name": "masked.service", "enabled": false}]),
        ),
        case(
            "unit_masked_already",
            json!([{"name": "masked.service", "mask": true}]),
        ),
        case(
            "unit_masked_with_contents",
            json!([{"name": "a.service", "mask": true, "contents": UNIT}]),
        ),
        case(
            "unit_masked_and_enabled",
            json!([{"name": "a.service", "mask": true, "enabled": true, "contents": UNIT}]),
        ),
        case(
            "unit_masked_and_disabled",
            json!([{"name": "present.service", "mask": true, "enabled": false}]),
        ),
        case(
            "unit_unmasked",
            json!([{"name": "masked.service", "mask": false}]),
        ),
        case(
            "unit_unmasked_with_contents",
            json!([{"name": "masked.service", "mask": false, "contents": UNIT}]),
        ),
        case(
            "unit_unmasked_and_enabled",
            json!([{"name": "masked.service", "mask": false, "enabled": true, "contents": UNIT}]),
        ),
        case(
            "unit_unmasked_that_is_not",
            json!([{"name": "present.service", "mask": false}]),
        ),
        case(
            "unit_contents_of_a_masked_one",
            json!([{"name": "masked.service", "contents": UNIT}]),
        ),
        case(
            "dropin",
            json!([{"name": "a.service", "dropins": [{"name": "10-a.conf", "contents": "[Service]\nUser=a\n"}]}]),
        ),
        case(
            "dropin_without_contents",
            json!([{"name": "a.service", "dropins": [{"name": "10-a.conf"}]}]),
        ),
        case(
            "dropin_empty",
            json!([{"name": "a.service", "dropins": [{"name": "10-a.conf", "contents": ""}]}]),
        ),
        case(
            "dropins",
            json!([{"name": "a.service", "contents": UNIT, "enabled": true, "dropins": [
            {"name": "b.conf", "contents": "[Unit]\nA=b\n"}, {"name": "a.conf", "contents": "[Unit]\nA=c\n"}]}]),
        ),
        case(
            "dropin_of_a_masked_unit",
            json!([{"name": "a.service", "mask": true, "dropins": [
            {"name": "b.conf", "contents": "[Unit]\nA=b\n"}]}]),
        ),
        case(
            "dropin_of_a_template",
            json!([{"name": "t@.service", "dropins": [{"name": "b.conf", "contents": "[Unit]\nA=b\n"}]}]),
        ),
        case(
            "dropin_of_an_instance",
            json!([{"name": "t@x.service", "dropins": [{"name": "b.conf", "contents": "[Unit]\nA=b\n"}]}]),
        ),
        case("template", json!([template])),
        case(
            "template_enabled",
            json!([{"name": "t@.service", "contents": TEMPLATE, "enabled": true}]),
        ),
        case(
            "instance_enabled",
            json!([template, {"name": "t@x.service", "enabled": true}]),
        ),
        case(
            "instances_enabled",
            json!([template, {"name": "t@x.service", "enabled": true}, {"name": "t@y.service", "enabled": true}]),
        ),
        case(
            "instances_enabled_and_disabled",
            json!([
            template, {"name": "t@x.service", "enabled": true}, {"name": "t@y.service", "enabled": false}, {"name": "t@z.service", "enabled": true}]),
        ),
        case(
            "instance_enabled_and_template_disabled",
            json!([
            {"name": "t@.service", "contents": TEMPLATE, "enabled": false}, {"name": "t@x.service", "enabled": true}]),
        ),
        case(
            "instances_enabled_and_template_disabled",
            json!([
            {"name": "t@x.service", "enabled": true}, {"name": "t@.service", "contents": TEMPLATE, "enabled": false},
            {"name": "t@y.service", "enabled": true}]),
        ),
        case(
            "instance_disabled_and_template_enabled",
            json!([
            {"name": "t@x.service", "enabled": false}, {"name": "t@.service", "contents": DEFAULT, "enabled": true}]),
        ),
        case(
            "instance_and_template_enabled",
            json!([
            {"name": "t@x.service", "enabled": true}, {"name": "t@.service", "contents": TEMPLATE, "enabled": true}]),
        ),
        case(
            "instance_and_default_enabled",
            json!([
            {"name": "t@x.service", "enabled": true}, {"name": "t@.service", "contents": DEFAULT, "enabled": true}]),
        ),
        case(
            "instance_masked_and_template_enabled",
            json!([
            {"name": "t@x.service", "enabled": true, "mask": true}, {"name": "t@.service", "contents": TEMPLATE, "enabled": true}]),
        ),
        case(
            "instances_masked_and_enabled",
            json!([
            template, {"name": "t@x.service", "enabled": true, "mask": true}, {"name": "t@y.service", "enabled": true}]),
        ),
        case(
            "template_masked_and_instance_enabled",
            json!([
            {"name": "t@.service", "mask": true}, {"name": "t@x.service", "enabled": true}]),
        ),
        case(
            "instance_with_contents",
            json!([{"name": "t@x.service", "contents": UNIT, "enabled": true}]),
        ),
        case(
            "instance_with_a_dash",
            json!([template, {"name": "t@a-b.service", "enabled": true}]),
        ),
        case(
            "instance_with_two_signs",
            json!([template, {"name": "t@a@b.service", "enabled": true}]),
        ),
        case(
            "instance_of_usr",
            json!([{"name": "getty@tty7.service", "enabled": true}]),
        ),
        case(
            "instance_masked",
            json!([{"name": "getty@tty7.service", "mask": true}]),
        ),
        case(
            "unit_comments",
            json!([{"name": "a.service", "contents": "# c\n; d\n\n[Unit]\nA=b \\\n  c\n"}]),
        ),
        case(
            "unit_crlf",
            json!([{"name": "a.service", "contents": "[Unit]\r\nA=b\r\n"}]),
        ),
        case(
            "unit_syntax_no_section",
            json!([{"name": "a.service", "contents": "A=b\n"}]),
        ),
        case(
            "unit_syntax_open_section",
            json!([{"name": "a.service", "contents": "[Unit\nA=b\n"}]),
        ),
        case(
            "unit_syntax_no_equals",
            json!([{"name": "a.service", "contents": "[Unit]\nnonsense\n"}]),
        ),
        case(
            "unit_syntax_after_the_section",
            json!([{"name": "a.service", "contents": "[Unit] x\nA=b\n"}]),
        ),
        case(
            "unit_syntax_empty_section",
            json!([{"name": "a.service", "contents": "[]\nA=b\n"}]),
        ),
        case(
            "unit_syntax_long_line",
            json!([{"name": "a.service", "contents": format!("[Unit]\nA={}\n", "b".repeat(3000))}]),
        ),
        case(
            "dropin_syntax",
            json!([{"name": "a.service", "dropins": [{"name": "a.conf", "contents": "[Unit"}]}]),
        ),
    ];
    cases.extend(files());
    cases
}

fn files() -> Vec<Case> {
    let preset = "/etc/systemd/system-preset/20-ignition.preset";
    let text = json!({"source": "data:,enable%20x.service%0A"});
    let case = |name: &str, body: Value| Case::new(name, body);
    let path = "/etc/systemd/system/a.service";
    vec![
        case(
            "preset_file_of_the_config",
            json!({
            "storage": {"files": [{"path": preset, "contents": text}]},
            "systemd": {"units": [{"name": "a.service", "contents": UNIT, "enabled": true}]}}),
        ),
        case(
            "unit_and_a_file_there",
            json!({
            "storage": {"files": [{"path": path, "contents": {"source": "data:,x"}}]},
            "systemd": {"units": [{"name": "a.service", "contents": UNIT}]}}),
        ),
        case(
            "unit_without_contents_and_a_file_there",
            json!({
            "storage": {"files": [{"path": path, "contents": {"source": "data:,%5BUnit%5D%0A"}}]},
            "systemd": {"units": [{"name": "a.service", "enabled": false}]}}),
        ),
        case(
            "unit_masked_and_a_file_there",
            json!({
            "storage": {"files": [{"path": path, "contents": {"source": "data:,x"}}]},
            "systemd": {"units": [{"name": "a.service", "mask": true}]}}),
        ),
        case(
            "unit_and_a_link_of_the_units_directory",
            json!({
            "storage": {"links": [{"path": "/etc/systemd/system/multi-user.target.wants/a.service", "target": path}]},
            "systemd": {"units": [{"name": "a.service", "contents": UNIT}]}}),
        ),
    ]
}
