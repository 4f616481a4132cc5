//! Declared pods, run by their supervisor without systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Host, on_a_host};

/// Whatever takes longer never comes.
const NEVER: Duration = Duration::from_secs(60);

/// A container that is ready once it has said so in its own files.
const READY: &str = "readinessProbe: {exec: {command: [test, -e, /ready]}, periodSeconds: 1}\n";

/// A pod that runs, and what it tells its service manager.
struct Pod {
    child: Child,
    manager: UnixDatagram,
    told: Vec<String>,
    log: PathBuf,
}

/// Unsigned images pass, and the directory of declared pods is there. `/shared` of containers
/// is a directory of the host.
fn ready(host: &Host) {
    for name in ["trust.d", "pods"] {
        fs::create_dir_all(host.path("rocket/etc").join(name)).unwrap();
    }
    let policy = "[[policy]]\nprefix = \"\"\nrequired = false\n";
    fs::write(host.path("rocket/etc/trust.d/all.toml"), policy).unwrap();
    fs::create_dir_all(host.path("shared")).unwrap();
}

/// Writes a file: `IMAGE` and `FLOW` stand for the image, `SHARED` for the directory of the host.
fn declare(host: &Host, name: &str, text: &str) {
    let shared = host.path("shared").display().to_string();
    let text = text
        .replace("IMAGE", host.image())
        .replace("FLOW", host.image());
    let text = text.replace("SHARED", &shared);
    fs::write(host.path("rocket/etc/pods").join(name), text).unwrap();
}

/// A pod called `web`, with these lines below its spec. All containers see `/shared`.
fn pod(spec: &str) -> String {
    let volume = "volumes:\n- {name: shared, hostPath: {path: SHARED}}\n";
    let lines = format!("terminationGracePeriodSeconds: 5\n{volume}{spec}");
    let mounted = "image: IMAGE\n  volumeMounts: [{name: shared, mountPath: /shared}]";
    let lines = lines.replace("image: IMAGE", mounted);
    let indented: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{indented}")
}

fn shared(host: &Host, name: &str) -> String {
    fs::read_to_string(host.path("shared").join(name)).unwrap_or_default()
}

impl Pod {
    fn start(host: &Host) -> Self {
        let socket = host.path("notify");
        let _ = fs::remove_file(&socket);
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(NEVER)).unwrap();
        let log = host.path("log");
        let output = fs::File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        let mut command = host.command(&["pods", "run", "web"]);
        command
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("JOURNAL_STREAM");
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Self {
            child: command.spawn().unwrap(),
            manager,
            told: Vec::new(),
            log,
        }
    }

    /// Waits until the pod tells what contains `text`.
    #[track_caller]
    fn until(&mut self, text: &str) {
        loop {
            let mut bytes = [0; 4096];
            let Ok(count) = self.manager.recv(&mut bytes) else {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{text:?} never came: {:?}\n{log}", self.told);
            };
            let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
            let is_it = message.contains(text);
            self.told.push(message);
            if is_it {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.status(), 0);
    }

    fn status(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Of a test that failed; its containers go with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn containers_start_in_order_and_sidecars_stop_last() {
    on_a_host(|host| {
        ready(host);
        let before = host.traces();
        let sidecar = |name: &str| {
            format!(
                "- name: {name}\n  image: IMAGE\n  restartPolicy: Always\n  command: [sh, -c]\n  \
                 args:\n  - |\n    echo {name} >> /shared/order\n    trap 'echo {name} stops >> \
                 /shared/order; exit' TERM\n    touch /shared/{name}; while :; do sleep 0.1; done\n  \
                 startupProbe: {{exec: {{command: [test, -e, /shared/{name}]}}, periodSeconds: 1}}\n"
            )
        };
        let init = |name: &str| {
            format!(
                "- {{name: {name}, image: FLOW, volumeMounts: [{{name: shared, mountPath: /shared}}], \
                 command: [sh, -c, 'sleep 0.2; echo {name} >> /shared/order']}}\n"
            )
        };
        let main = "containers:\n- name: main\n  image: IMAGE\n  command: [sh, -c, 'sleep 0.5; echo main >> /shared/order']\n";
        let spec = format!(
            "restartPolicy: Never\ninitContainers:\n{}{}{}{}{main}",
            init("first"),
            sidecar("one"),
            init("second"),
            sidecar("two")
        );
        declare(host, "web.yaml", &pod(&spec));
        let mut pod = Pod::start(host);
        assert_eq!(pod.status(), 0, "{}", pod.said());
        let order = "first\none\nsecond\ntwo\nmain\ntwo stops\none stops\n";
        assert_eq!(shared(host, "order"), order, "{}", pod.said());
        pod.until("READY=1");
        host.does(&["gc", "--grace-period=0s"]);
        fs::remove_dir_all(host.path("rocket/run/declared")).unwrap();
        host.forget_bridge();
        host.settled().assert_no_more_than(&before);
    });
}

#[test]
fn a_container_is_restarted_in_the_same_pod_with_new_files() {
    on_a_host(|host| {
        ready(host);
        let script = "for kind in net ipc; do readlink /proc/self/ns/$kind >> /shared/namespaces; done; \
                      test -e /mark && echo old >> /shared/files; touch /mark; \
                      test -e /shared/again && touch /ready && exec sleep 1000; touch /shared/again; exit 3";
        let spec = format!(
            "containers:\n- name: a\n  image: IMAGE\n  command: [sh, -c]\n  args: [\"{script}\"]\n  {READY}\
             - name: b\n  image: IMAGE\n  command: [sleep, \"1000\"]\n"
        );
        declare(host, "web.yaml", &pod(&spec));
        let mut pod = Pod::start(host);
        pod.until("2/2 ready, 1 restart");
        let namespaces = shared(host, "namespaces");
        let lines: Vec<&str> = namespaces.lines().collect();
        assert_eq!(lines.len(), 4, "{namespaces}");
        assert_eq!(lines[..2], lines[2..]);
        assert_eq!(shared(host, "files"), "");
        let list = host.does(&["status", "--json", "web"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["name"], "web");
        assert_eq!(list["state"], "running");
        let entered = host.does(&["enter", "--app=b", "web", "hostname"]);
        assert_eq!(entered, "web\n");
        let status = host.does(&["pods", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status[0]["declared"], "yes");
        assert_eq!(status[0]["standing"], "ready");
        assert_eq!(status[0]["containers"][0]["restarts"], 1);
        assert_eq!(status[0]["containers"][0]["last_status"], 3);
        pod.stop();
    });
}

#[test]
fn probes_say_when_a_pod_is_ready_and_which_container_is_not_well() {
    on_a_host(|host| {
        ready(host);
        let spec = "containers:\n\
            - name: web\n  image: IMAGE\n  command: [sh, -c, 'mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www']\n  \
              ports: [{name: http, containerPort: 8080}]\n  \
              startupProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 20}\n  \
              readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}\n  \
              livenessProbe: {exec: {command: [test, '!', -e, /shared/sick]}, periodSeconds: 1, failureThreshold: 2}\n\
            - name: other\n  image: IMAGE\n  command: [sleep, '1000']\n  \
              readinessProbe: {exec: {command: [test, -e, /shared/ready]}, periodSeconds: 1}\n";
        declare(host, "web.yaml", &pod(spec));
        let mut pod = Pod::start(host);
        pod.until("1/2 ready");
        assert!(
            !pod.told.iter().any(|told| told.contains("READY=1")),
            "{:?}",
            pod.told
        );
        fs::write(host.path("shared/ready"), "").unwrap();
        pod.until("2/2 ready\nREADY=1");
        fs::write(host.path("shared/sick"), "").unwrap();
        pod.until("1/2 ready");
        fs::remove_file(host.path("shared/sick")).unwrap();
        pod.until("2/2 ready, 1 restart");
        let states = host.does(&["pods", "status", "--json"]);
        let states: serde_json::Value = serde_json::from_str(&states).unwrap();
        let restarts = |number: usize| states[0]["containers"][number]["restarts"].clone();
        assert_eq!(
            (restarts(0), restarts(1)),
            (1.into(), 0.into()),
            "{}",
            pod.said()
        );
        assert!(
            pod.said().contains("its liveness probe fails"),
            "{}",
            pod.said()
        );
        pod.stop();
    });
}

#[test]
fn containers_have_what_was_declared() {
    on_a_host(|host| {
        ready(host);
        let text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: m}\ndata: {color: blue, a.conf: 'x = 1'}\n---\n\
            kind: Secret\napiVersion: v1\nmetadata: {name: s}\nstringData: {key: swordfish}\n---\n";
        let look = "echo $COLOR $URL $KEY; hostname; cat /etc/a.conf; echo; cat /keys/key; echo; \
            stat -c %a /keys/key /mem /empty; id -u; id -g; id -G; grep -E '^CapBnd' /proc/self/status; \
            touch /x 2>&1 | grep -c Read-only; echo $1 $2; pwd; cat /etc/resolv.conf; \
            stat -f -c %T /mem; head -c 3000000 /dev/zero > /mem/full 2>/dev/null || echo full; \
            echo $IP; grep -c db.local /etc/hosts; touch /conf/y 2>&1 | grep -c Read-only; \
            readlink /proc/self/ns/net > /empty/ns";
        let spec = format!(
            "restartPolicy: Never\nsecurityContext: {{runAsUser: 7, runAsGroup: 8, supplementalGroups: [9], fsGroup: 10}}\n\
             dnsPolicy: None\ndnsConfig: {{nameservers: [192.0.2.53]}}\nhostAliases: [{{ip: 192.0.2.1, hostnames: [db.local]}}]\n\
             containers:\n- name: a\n  image: docker-archive:ARCHIVE\n  workingDir: /empty\n  \
             command: [sh, -c, \"{look}\"]\n  args: [zero, $(COLOR), $$(COLOR)]\n  env:\n  \
             - {{name: IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}\n  \
             - {{name: COLOR, valueFrom: {{configMapKeyRef: {{name: m, key: color}}}}}}\n  \
             - {{name: URL, value: 'http://$(COLOR)/'}}\n  \
             - {{name: KEY, valueFrom: {{secretKeyRef: {{name: s, key: key}}}}}}\n  \
             securityContext: {{readOnlyRootFilesystem: true, capabilities: {{drop: [ALL], add: [CHOWN]}}}}\n  \
             volumeMounts:\n  - {{name: conf, mountPath: /conf}}\n  - {{name: conf, mountPath: /etc/a.conf, subPath: a.conf}}\n  \
             - {{name: keys, mountPath: /keys}}\n  - {{name: mem, mountPath: /mem}}\n  - {{name: empty, mountPath: /empty}}\n\
             volumes:\n- {{name: conf, configMap: {{name: m}}}}\n- {{name: keys, secret: {{secretName: s, defaultMode: 0400}}}}\n\
             - {{name: mem, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}\n- {{name: empty, emptyDir: {{}}}}\n"
        );
        let archive = host
            .image()
            .trim_start_matches("docker-archive:")
            .to_owned();
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{spec}");
        declare(
            host,
            "web.yaml",
            &format!("{text}{}", pod.replace("ARCHIVE", &archive)),
        );
        let mut pod = Pod::start(host);
        assert_eq!(pod.status(), 0, "{}", pod.said());
        let said = pod.said();
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("rocket: "))
            .collect();
        let expected = [
            "blue http://blue/ swordfish",
            "web",
            "x = 1",
            "swordfish",
            "440",
            "2777",
            "2777",
            "7",
            "8",
            "8 9 10",
            "CapBnd:\t0000000000000001",
            "1",
            "blue $(COLOR)",
            "/empty",
            "nameserver 192.0.2.53",
            "tmpfs",
            "full",
        ];
        assert_eq!(lines[..expected.len()], expected, "{said}");
        assert!(lines[expected.len()].starts_with("10."), "{said}");
        assert_eq!(lines[expected.len() + 1..], ["1", "1"], "{said}");
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains("pods/running"), "{mounts}");
    });
}

#[test]
fn a_pod_fails_with_an_init_container_that_is_not_tried_again() {
    on_a_host(|host| {
        ready(host);
        let spec = "restartPolicy: Never\nhostNetwork: true\n\
            initContainers:\n- {name: init, image: FLOW, command: [sh, -c, 'exit 4']}\n\
            containers:\n- {name: main, image: FLOW, command: [touch, /shared/never]}\n";
        declare(host, "web.yaml", &pod(spec));
        let mut run = Pod::start(host);
        assert_eq!(run.status(), 1, "{}", run.said());
        assert!(
            run.said().contains("container init ended with status 4"),
            "{}",
            run.said()
        );
        let status = host.does(&["pods", "status"]);
        assert!(status.contains("failed"), "{status}");
    });
}

#[test]
fn a_supervisor_that_is_killed_leaves_nothing_that_is_not_collected() {
    on_a_host(|host| {
        ready(host);
        let spec = "containers:\n- name: a\n  image: IMAGE\n  command: [sh, -c, 'echo there >> /shared/there; touch /ready; exec sleep 1000']\n  \
            readinessProbe: {exec: {command: [test, -e, /ready]}, periodSeconds: 1}\n  \
            ports: [{containerPort: 80, hostPort: 7001}]\n";
        declare(host, "web.yaml", &pod(spec));
        let mut killed = Pod::start(host);
        killed.until("1/1 ready");
        killed.signal(Signal::SIGKILL);
        killed.child.wait().unwrap();
        // The next one needs the same port, and takes it back.
        let mut next = Pod::start(host);
        next.until("1/1 ready");
        assert_eq!(shared(host, "there").lines().count(), 2);
        let second = host.rocket(&["pods", "run", "web"]);
        assert!(
            said(&second).contains("under this name already"),
            "{}",
            said(&second)
        );
        next.signal(Signal::SIGKILL);
        next.child.wait().unwrap();
        // The kernel ends the container when its parent is gone, a moment later.
        let end = Instant::now() + Duration::from_secs(60);
        while host.does(&["list", "--no-legend"]).contains("running") {
            assert!(Instant::now() < end, "a container outlives its supervisor");
            std::thread::sleep(Duration::from_millis(20));
        }
        host.does(&["gc", "--grace-period=0s"]);
        assert_eq!(host.does(&["list", "--no-legend"]), "");
        let links = host.settled();
        drop(links);
        let leases = fs::read_dir(host.path("rocket/run/network")).unwrap();
        let lease = leases.filter(|file| {
            file.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|end| end == "lease")
        });
        assert_eq!(lease.count(), 0);
    });
}

#[test]
fn what_is_wrong_is_said_by_line_and_what_runs_is_compared() {
    on_a_host(|host| {
        ready(host);
        let good = pod("containers:\n- name: a\n  image: IMAGE\n  command: [sleep, '1000']\n");
        declare(host, "web.yaml", &good.replace("command:", "comand:"));
        let file = host.path("rocket/etc/pods/web.yaml").display().to_string();
        let run = host.rocket(&["pods", "run", "web"]);
        assert_eq!(run.status.code(), Some(2));
        let expected =
            format!("{file}:12: spec.containers[0].comand: not supported; keys here are");
        assert!(said(&run).contains(&expected), "{}", said(&run));
        let check = host.rocket(&["pods", "check", &file]);
        assert_eq!(check.status.code(), Some(1));
        assert!(said(&check).contains(&expected), "{}", said(&check));
        declare(host, "web.yaml", &good);
        assert_eq!(
            host.does(&["pods", "check", &file]),
            format!("{file}: pod web\n")
        );
        let diff = host.rocket(&["pods", "diff"]);
        assert_eq!(diff.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&diff.stdout),
            "web: would be started\n"
        );
        let mut pod = Pod::start(host);
        pod.until("1/1 ready");
        assert_eq!(host.does(&["pods", "diff"]), "web: unchanged\n");
        declare(host, "web.yaml", &good.replace("1000", "1001"));
        let said = host.does(&["pods", "apply", "--dry-run"]);
        assert_eq!(said, "web: would be restarted, it was changed\n");
        declare(host, "web.yaml", "kind: [");
        let diff = host.rocket(&["pods", "diff"]);
        let text = String::from_utf8_lossy(&diff.stdout);
        assert_eq!(text, "web: stays as it is, its file is broken\n");
        fs::remove_file(host.path("rocket/etc/pods/web.yaml")).unwrap();
        let said = host.does(&["pods", "apply", "--dry-run"]);
        assert_eq!(said, "web: would be stopped, no file declares it\n");
        pod.stop();
    });
}

#[test]
fn a_container_that_has_done_its_work_keeps_nobody_from_being_ready() {
    on_a_host(|host| {
        ready(host);
        let spec = "restartPolicy: OnFailure\nhostNetwork: true\ncontainers:\n\
            - {name: short, image: FLOW, command: ['true']}\n\
            - name: long\n  image: IMAGE\n  command: [sleep, '1000']\n  \
              readinessProbe: {exec: {command: [test, -e, /shared/ready]}, periodSeconds: 1}\n";
        declare(host, "web.yaml", &pod(spec));
        let mut pod = Pod::start(host);
        pod.until("0/2 ready; short ended with status 0");
        fs::write(host.path("shared/ready"), "").unwrap();
        pod.until("READY=1");
        pod.stop();
    });
}

#[test]
fn a_container_prepares_for_its_end_as_long_as_there_is_time() {
    on_a_host(|host| {
        ready(host);
        let run = |name: &str, hook: &str| {
            format!(
                "- name: {name}\n  image: IMAGE\n  command: [sh, -c]\n  args:\n  - |\n    \
                 trap 'echo {name} ends >> /shared/order; exit' TERM\n    touch /ready; \
                 while :; do sleep 0.1; done\n  {READY}  lifecycle: {{preStop: {{exec: {{command: \
                 [sh, -c, 'echo {name} prepares >> /shared/order; {hook}']}}}}}}\n"
            )
        };
        // The second one is killed while it still prepares.
        let spec = format!(
            "containers:\n{}{}",
            run("a", "true"),
            run("b", "sleep 1000")
        );
        let text = pod(&spec).replace("PeriodSeconds: 5", "PeriodSeconds: 3");
        declare(host, "web.yaml", &text);
        let mut pod = Pod::start(host);
        pod.until("2/2 ready");
        pod.stop();
        let order = shared(host, "order");
        let mut lines: Vec<&str> = order.lines().collect();
        assert_eq!(lines.pop(), Some("a ends"), "{order}");
        lines.sort_unstable();
        assert_eq!(lines, ["a prepares", "b prepares"], "{order}");
        let said = pod.said();
        assert!(
            said.contains("container b stopped with status 137"),
            "{said}"
        );
    });
}
