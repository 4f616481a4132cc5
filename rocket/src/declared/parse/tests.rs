use super::*;
use crate::declared::model::{Check, Field, Pull, Restart, Role, Source, Value};
use proptest::prelude::*;

const WHOLE: &str = include_str!("whole.yaml");

fn text(name: &str, text: &str) -> Text {
    Text {
        name: name.into(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// What is said of one file.
fn said(raw: &str) -> Vec<String> {
    let parsed = parse(&[text("web.yaml", raw)]).remove(0);
    assert!(parsed.problems.is_empty() || parsed.pods.is_empty());
    parsed.problems.iter().map(ToString::to_string).collect()
}

/// A pod of one container, with lines below the container and below the spec.
fn pod(container: &str, spec: &str) -> String {
    let indented = |text: &str, by: usize| -> String {
        let line = |line: &str| format!("{}{line}\n", " ".repeat(by));
        text.lines().map(line).collect()
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{}  containers:\n  - name: c\n    \
         image: example.com/a:1\n{}",
        indented(spec, 2),
        indented(container, 4)
    )
}

fn good(container: &str, spec: &str) -> Declaration {
    let raw = pod(container, spec);
    let mut parsed = parse(&[text("web.yaml", &raw)]).remove(0);
    assert_eq!(parsed.problems, [], "{raw}");
    parsed.pods.remove(0)
}

#[test]
fn a_pod_with_all_fields_is_read() {
    let mut parsed = parse(&[text("web.yaml", WHOLE)]).remove(0);
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.notes.len(), 1, "{:?}", parsed.notes);
    let pod = parsed.pods.remove(0);
    assert_eq!((pod.name.as_str(), pod.namespace.as_str()), ("web", "shop"));
    assert_eq!((pod.grace, pod.restart), (20, Restart::OnFailure));
    let roles: Vec<Role> = pod.all().map(|container| container.role).collect();
    assert_eq!(roles, [Role::Init, Role::Sidecar, Role::Main]);
    let web = &pod.containers[0];
    assert_eq!((web.memory, web.cpus), (Some(64 << 20), Some(250)));
    assert_eq!(
        (web.user, web.group, web.is_not_root),
        (Some(33), Some(44), true)
    );
    assert_eq!(web.pull, Pull::Never);
    let value = |name: &str| {
        let found = web.variables.iter().rev().find(|(other, _)| other == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(value("C_color"), Some(Value::Fixed("blue".into())));
    assert_eq!(value("PASSWORD"), Some(Value::Fixed("swordfish".into())));
    assert_eq!(value("TIER"), Some(Value::Fixed("front".into())));
    assert_eq!(value("URL"), Some(Value::Text("http://$(IP)/".into())));
    assert_eq!(value("IP"), Some(Value::Field(Field::Address)));
    assert_eq!(value("ABSENT"), None);
    let Some(Check::Http { port, path, .. }) = web.probes.readiness.as_ref().map(|p| &p.check)
    else {
        panic!("no readiness probe");
    };
    assert_eq!((*port, path.as_str()), (8080, "/ready"));
    assert_eq!(pod.ports[0].to_string(), "127.0.0.1:80:8080/tcp");
    let sources: Vec<&Source> = pod.volumes.iter().map(|volume| &volume.source).collect();
    let Source::Files {
        files,
        is_secret: true,
    } = sources[3]
    else {
        panic!("{sources:?}");
    };
    assert_eq!(format!("{files:?}"), "[db/pass (400, 9 bytes)]");
    assert_eq!(sources[1], &Source::Memory(Some(8 << 20)));
    assert_eq!(pod.hosts[0].1, "db.local");
    assert!(pod.dns.only_own);
}

#[test]
fn what_is_not_supported_is_refused_by_line_and_path() {
    let raw = pod(
        "lifecycle:\n  postStart: {exec: {command: [a]}}\ntty: true",
        "nodeSelector: {a: b}",
    );
    let said = said(&raw);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with("web.yaml:5: spec.nodeSelector: not supported; "),
        "{}",
        said[0]
    );
    let begin = "web.yaml:10: spec.containers[0].lifecycle.postStart: not supported; ";
    assert!(said[1].starts_with(begin), "{}", said[1]);
    assert!(
        said[2].starts_with("web.yaml:11: spec.containers[0].tty"),
        "{}",
        said[2]
    );
}

#[test]
fn each_wrong_value_is_said() {
    for (container, spec, expected) in [
        (
            "imagePullPolicy: Sometimes",
            "",
            "imagePullPolicy: \"Sometimes\" is not supported",
        ),
        ("workingDir: a", "", "absolute path"),
        ("workingDir: /a/../b", "", "without .."),
        ("env: [{name: A, value: 5}]", "", "put quotes around it"),
        ("env: [{name: A, value: yes}]", "", "put quotes around it"),
        (
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: y}}}]",
            "",
            "ConfigMap \"x\" is in none",
        ),
        (
            "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.phase}}}]",
            "",
            "status.phase",
        ),
        (
            "envFrom: [{secretRef: {name: x}}]",
            "",
            "Secret \"x\" is in none",
        ),
        (
            "envFrom: [{prefix: x}]",
            "",
            "expected configMapRef or secretRef",
        ),
        (
            "volumeMounts: [{name: x, mountPath: /a}]",
            "",
            "no volume \"x\"",
        ),
        (
            "volumeMounts: [{name: v, mountPath: /a, subPath: b}]",
            "volumes: [{name: v, emptyDir: {}}]",
            "subPath: not supported",
        ),
        (
            "volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /a}]",
            "volumes: [{name: v, emptyDir: {}}]",
            "mounted at /a already",
        ),
        (
            "livenessProbe: {}",
            "",
            "expected one of exec, httpGet, tcpSocket, found 0",
        ),
        (
            "livenessProbe: {tcpSocket: {port: http}}",
            "",
            "neither a port",
        ),
        (
            "livenessProbe: {tcpSocket: {port: 80, host: a.b}}",
            "",
            "no IP address",
        ),
        (
            "livenessProbe: {tcpSocket: {port: 80}, successThreshold: 2}",
            "",
            "successThreshold is 1",
        ),
        (
            "readinessProbe: {httpGet: {port: 80, scheme: HTTPS}}",
            "",
            "only HTTP is",
        ),
        (
            "readinessProbe: {httpGet: {port: 80}, periodSeconds: 0}",
            "",
            "between 1 and",
        ),
        (
            "readinessProbe: {grpc: {port: 80}}",
            "",
            "grpc: not supported",
        ),
        ("resources: {limits: {memory: lots}}", "", "128Mi"),
        (
            "resources: {limits: {nvidia.com/gpu: 1}}",
            "",
            "not supported; keys here are cpu, memory",
        ),
        (
            "securityContext: {privileged: true}",
            "",
            "privileged: not supported",
        ),
        (
            "securityContext: {allowPrivilegeEscalation: true}",
            "",
            "never gain privileges",
        ),
        (
            "securityContext: {capabilities: {add: [FLY]}}",
            "",
            "no capability \"FLY\"",
        ),
        ("securityContext: {runAsUser: -1}", "", "between 0 and"),
        (
            "securityContext: {seccompProfile: {type: Localhost, localhostProfile: a}}",
            "",
            "\"Localhost\" is not supported",
        ),
        ("ports: [{hostPort: 80}]", "", "containerPort is missing"),
        (
            "ports: [{containerPort: 80, hostPort: 80, protocol: SCTP}]",
            "",
            "\"SCTP\" is not supported",
        ),
        (
            "ports: [{containerPort: 80, hostPort: 81}]",
            "hostNetwork: true",
            "are the same",
        ),
        ("restartPolicy: Always", "", "restartPolicy: not supported"),
        (
            "",
            "restartPolicy: Sometimes",
            "expected Always, OnFailure, Never",
        ),
        ("", "dnsPolicy: None", "needs nameservers"),
        (
            "",
            "volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]",
            "medium: Memory",
        ),
        (
            "",
            "volumes: [{name: v, nfs: {server: a}}]",
            "nfs: not supported",
        ),
        (
            "",
            "volumes: [{name: v, hostPath: {path: /a, type: BlockDevice}}]",
            "\"BlockDevice\" is not supported",
        ),
        ("", "volumes: [{name: v}]", "found 0"),
        ("", "hostPID: true", "hostPID: not supported"),
        (
            "",
            "hostAliases: [{ip: x, hostnames: [a]}]",
            "no IP address",
        ),
        (
            "",
            "unheardOf: 1",
            "unheardOf: not supported; keys here are",
        ),
        (
            "",
            "terminationGracePeriodSeconds: soon",
            "expected a number",
        ),
        (
            "",
            "initContainers: [{name: c, image: example.com/a:1}]",
            "two containers are called \"c\"",
        ),
        (
            "",
            "initContainers: [{name: i, image: example.com/a:1, livenessProbe: {tcpSocket: {port: 1}}}]",
            "an init container ends",
        ),
    ] {
        let raw = pod(container, spec);
        let said = said(&raw);
        assert!(
            said.iter().any(|line| line.contains(expected)),
            "{raw}\n{said:#?}"
        );
        assert!(
            said.iter().all(|line| line.starts_with("web.yaml:")),
            "{said:#?}"
        );
    }
}

#[test]
fn a_document_says_what_it_is() {
    for (raw, expected) in [
        ("a: 1", "kind is missing"),
        ("- a", "expected keys and values"),
        (
            "kind: Deployment\napiVersion: apps/v1",
            "\"Deployment\" is not supported; expected Pod, ConfigMap, Secret",
        ),
        (
            "kind: Pod\napiVersion: v2\nmetadata: {name: a}\nspec: {containers: []}",
            "apiVersion: \"v2\"",
        ),
        (
            "kind: Pod\napiVersion: v1\nmetadata: {name: A_B}\nspec: {containers: []}",
            "metadata.name: expected a name",
        ),
        (
            "kind: Pod\napiVersion: v1\nmetadata: {name: a}",
            "spec is missing",
        ),
        (
            "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: []}",
            "containers are missing",
        ),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {../a: b}",
            "expected a key of letters",
        ),
        (
            "kind: Secret\napiVersion: v1\nmetadata: {name: a}\ndata: {a: '%'}",
            "not base64",
        ),
        ("a: [", "not valid YAML"),
        ("a:\n\tb: 1", "tab"),
    ] {
        let said = said(raw);
        assert!(
            said.iter().any(|line| line.contains(expected)),
            "{raw}: {said:#?}"
        );
    }
}

#[test]
fn bounds_are_kept() {
    let long = "a".repeat(MOST + 1);
    assert_eq!(said(&long), ["web.yaml: larger than 1 MiB"]);
    let many = format!("command: [{}]", "a, ".repeat(2000));
    assert!(said(&pod(&many, ""))[0].contains("more than 1024 entries"));
    let bytes = Text {
        name: "web.yaml".into(),
        bytes: b"a: 1\nb: \xff".to_vec(),
    };
    let problem = &parse(&[bytes])[0].problems[0];
    assert_eq!(
        problem.to_string(),
        "web.yaml:2: the text is not UTF-8 from here on"
    );
}

#[test]
fn maps_may_be_in_other_files_and_pods_have_one_name() {
    let map = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: m}\ndata: {a: '1'}";
    let pod = pod("envFrom: [{configMapRef: {name: m}}]", "");
    let parsed = parse(&[
        text("a.yaml", &pod),
        text("b.yaml", map),
        text("c.yaml", &pod),
    ]);
    assert_eq!(parsed[0].problems, []);
    assert_eq!(parsed[0].pods[0].containers[0].variables[0].0, "a");
    let problem = parsed[2].problems[0].to_string();
    assert!(
        problem.contains("pod \"web\" is declared in a.yaml already"),
        "{problem}"
    );
    assert_eq!(parsed[2].names, ["web"]);
    let parsed = parse(&[text("b.yaml", map), text("c.yaml", map)]);
    assert!(
        parsed[1].problems[0]
            .to_string()
            .contains("is declared already")
    );
}

#[test]
fn images_that_may_change_are_always_asked_for() {
    for (image, expected) in [
        ("example.com/a:1", Pull::IfNotPresent),
        ("example.com/a:latest", Pull::Always),
        ("example.com/a", Pull::Always),
        ("docker-archive:/a.tar", Pull::IfNotPresent),
    ] {
        let raw = pod("", "").replace("example.com/a:1", image);
        let parsed = parse(&[text("a", &raw)]);
        assert_eq!(parsed[0].problems, []);
        assert_eq!(parsed[0].pods[0].containers[0].pull, expected, "{image}");
    }
    let raw = pod("", "").replace("example.com/a:1", "docker-archive:a.tar");
    assert!(said(&raw)[0].contains("absolute path"));
}

#[test]
fn nothing_said_is_what_kubernetes_takes() {
    let pod = good("", "");
    assert_eq!(
        (pod.restart, pod.grace, pod.host_network),
        (Restart::Always, 30, false)
    );
    assert_eq!(
        (pod.hostname.as_str(), pod.namespace.as_str()),
        ("web", "default")
    );
    let probe = good("livenessProbe: {tcpSocket: {port: 80}}", "").containers[0]
        .probes
        .liveness
        .clone();
    let probe = probe.unwrap();
    assert_eq!((probe.delay, probe.period, probe.timeout), (0, 10, 1));
    assert_eq!((probe.successes, probe.failures), (1, 3));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(raw in "[-:#&*!|>?@\\[\\]{},\"'~<a-b0-1é\t\n ]{0,120}") {
        let _ = said(&raw);
    }

    /// A declaration with a part cut out or doubled is read, or refused with a line of the file.
    #[test]
    fn a_damaged_declaration_is_read_or_refused(at in 0..WHOLE.len(), length in 0_usize..80, doubled: bool) {
        let end = (at + length).min(WHOLE.len());
        prop_assume!(WHOLE.is_char_boundary(at) && WHOLE.is_char_boundary(end));
        let middle = if doubled { WHOLE[at..end].repeat(2) } else { String::new() };
        let raw = format!("{}{middle}{}", &WHOLE[..at], &WHOLE[end..]);
        let lines = raw.lines().count() + 1;
        for problem in &parse(&[text("web.yaml", &raw)])[0].problems {
            prop_assert!((1..=lines).contains(&problem.line), "{}", problem);
        }
    }
}
