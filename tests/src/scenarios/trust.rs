//! Whose images a host runs.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use benchmarks::containers::{Image, descriptor, digest};
use benchmarks::registry::Registry;
use pem::Pem;
use qemu::Vm;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::json;

use crate::context::{Context, contains, same};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    images_run_that_a_trusted_key_has_signed_and_no_others,
    8,
    "Of a registry's images the signed one runs; unsigned and tampered ones are refused, before a layer is asked for."
)];

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn images_run_that_a_trusted_key_has_signed_and_no_others(context: &Context) -> Result<()> {
    let team = Team {
        registry: Registry::start()?,
        key: KeyPair::generate().context("making a key")?,
    };
    let program = context.engines()?.busybox()?;
    let image = |what: &str| {
        let environment = ["PATH=/bin".to_owned(), format!("WHAT={what}")];
        // A layer of its own: one that is in the store already would not be asked for.
        let program = [&program, what.as_bytes()].concat();
        Image::of_program(&program, &json!({"Env": environment}))
    };
    let disk = Disk::at(context.file("disk.img"));
    context.warm(&context.setup_lived(&disk), |vm| {
        team.introduce(vm)?;
        without_a_policy_nothing_is_asked_for(vm, &team, &image("early")?)?;
        team.is_trusted(vm)?;
        a_signed_image_runs(vm, &team, &image("signed")?)?;
        an_unsigned_image_is_refused(vm, &team, &image("unsigned")?)?;
        a_signature_by_another_key_is_none(vm, &team, &image("foreign")?)?;
        another_manifest_is_refused(vm, &team, &image("good")?, &image("bad")?)?;
        another_byte_in_a_layer_is_found(vm, &team, &image("damaged")?)?;
        only_the_signed_image_is_kept(vm, &team)?;
        what_is_not_trusted_any_more_does_not_run(vm, &team)
    })
}

/// Who publishes images, and where.
struct Team {
    registry: Registry,
    key: KeyPair,
}

impl Team {
    /// Below it are its images.
    fn prefix(&self) -> String {
        format!("{}/team", self.registry.name())
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix())
    }

    fn push(&self, name: &str, image: &Image) {
        self.registry.push(&format!("team/{name}"), "1", image);
    }

    /// As cosign does it: a manifest, found by a tag made of the digest, whose layer is what
    /// was signed.
    fn sign(&self, key: &KeyPair, name: &str, image: &Image) -> Result<Vec<u8>> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": self.image(name)},
                "image": {"docker-manifest-digest": image.digest()},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let signature = key.sign(&payload).context("signing")?;
        let repository = format!("team/{name}");
        let mut layer = descriptor(PAYLOAD, &payload);
        layer["annotations"] =
            json!({"dev.cosignproject.cosign/signature": STANDARD.encode(signature)});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(CONFIG, b"{}"),
            "layers": [layer],
        });
        let manifest = manifest.to_string().into_bytes();
        self.registry
            .put_blob(&repository, &digest(&payload), &payload);
        self.publish_signature(name, &image.digest(), &manifest);
        Ok(manifest)
    }

    fn publish_signature(&self, name: &str, of: &str, manifest: &[u8]) {
        let tag = format!("{}.sig", of.replace(':', "-"));
        self.registry
            .put_manifest(&format!("team/{name}"), &tag, manifest);
    }

    /// How the guest reaches the registry.
    fn introduce(&self, vm: &mut Vm) -> Result<()> {
        vm.exec_ok("mkdir -p /etc/rocket/registries.d")?;
        let registry = format!(
            "[[registry]]\nprefix = \"{}\"\nplain-http = true\n",
            self.registry.name()
        );
        vm.write_file("/etc/rocket/registries.d/e2e.toml", registry.as_bytes())?;
        Ok(())
    }

    fn is_trusted(&self, vm: &mut Vm) -> Result<()> {
        let key = Pem::new("PUBLIC KEY", self.key.subject_public_key_info());
        vm.write_file("/var/tmp/team.pub", pem::encode(&key).as_bytes())?;
        let added = format!("rocket trust --yes --prefix {} ", self.prefix());
        vm.exec_ok(&(added + "/var/tmp/team.pub"))?;
        Ok(())
    }

    fn fingerprint(&self) -> String {
        digest(&self.key.subject_public_key_info())
    }

    /// Fails unless an image of the team is refused with all of these words, and without
    /// asking for its layers or its configuration.
    fn refuses(&self, vm: &mut Vm, name: &str, image: &Image, words: &[&str]) -> Result<()> {
        let (status, said) = self.run(vm, name)?;
        ensure!(status == 254, "{name} had status {status}: {said}");
        let (fingerprint, digest) = (self.fingerprint(), image.digest());
        let prefix = format!("{:?}", self.prefix());
        for word in words
            .iter()
            .copied()
            .chain([&*fingerprint, &prefix, &digest])
        {
            contains(&format!("the refusal of {name}"), &said, word)?;
        }
        let asked = self.registry.take_requests();
        ensure!(
            asked.iter().any(|path| path.ends_with("/manifests/1")),
            "the manifest of {name} was not asked for: {asked:?}"
        );
        for content in image.layers().iter().map(|layer| layer.digest()) {
            ensure!(
                !asked.iter().any(|path| path.ends_with(&content)),
                "a layer of {name} was asked for: {asked:?}"
            );
        }
        Ok(())
    }

    fn run(&self, vm: &mut Vm, name: &str) -> Result<(i32, String)> {
        self.registry.take_requests();
        let image = self.image(name);
        let output = vm.exec(&format!(
            "rocket run --net=none {image}:1 -- sh -c 'echo $WHAT'"
        ))?;
        Ok((output.status, output.stdout + &output.stderr))
    }
}

fn without_a_policy_nothing_is_asked_for(vm: &mut Vm, team: &Team, image: &Image) -> Result<()> {
    team.push("early", image);
    let (status, said) = team.run(vm, "early")?;
    ensure!(status == 254, "status {status}: {said}");
    contains("the refusal", &said, &team.image("early"))?;
    contains("the refusal", &said, "rocket trust --prefix")?;
    let asked = team.registry.take_requests();
    ensure!(
        asked.is_empty(),
        "the registry was asked for {asked:?} though nobody is trusted"
    );
    Ok(())
}

fn a_signed_image_runs(vm: &mut Vm, team: &Team, image: &Image) -> Result<()> {
    team.push("signed", image);
    team.sign(&team.key, "signed", image)?;
    let (status, said) = team.run(vm, "signed")?;
    ensure!(status == 0, "status {status}: {said}");
    contains("the app", &said, "signed")?;
    let listed = vm.exec_ok("rocket image list --json")?;
    contains("the list", &listed, &team.fingerprint())
}

fn an_unsigned_image_is_refused(vm: &mut Vm, team: &Team, image: &Image) -> Result<()> {
    team.push("unsigned", image);
    team.refuses(vm, "unsigned", image, &["there is no signature"])
}

fn a_signature_by_another_key_is_none(vm: &mut Vm, team: &Team, image: &Image) -> Result<()> {
    team.push("foreign", image);
    let foreign = KeyPair::generate().context("making a key")?;
    team.sign(&foreign, "foreign", image)?;
    team.refuses(vm, "foreign", image, &["another key"])
}

/// Whoever has the registry serves another image, and the signature of the good one with it.
fn another_manifest_is_refused(vm: &mut Vm, team: &Team, good: &Image, bad: &Image) -> Result<()> {
    team.push("replaced", bad);
    let signature = team.sign(&team.key, "replaced", good)?;
    team.publish_signature("replaced", &bad.digest(), &signature);
    let another = format!("a signature of another image, {}", good.digest());
    team.refuses(vm, "replaced", bad, &[&another])?;
    // Asked for by its digest, it must be that.
    let repository = "team/replaced";
    let wanted = good.digest();
    team.registry
        .put_manifest(repository, &wanted, bad.manifest());
    let pinned = format!("{}@{wanted}", team.image("replaced"));
    let output = vm.exec(&format!("rocket run --net=none {pinned} -- true"))?;
    ensure!(
        output.status == 254,
        "{pinned} had status {}",
        output.status
    );
    contains("the failure", &output.stderr, &wanted)
}

/// The signature is good, and the layer is not what was signed.
fn another_byte_in_a_layer_is_found(vm: &mut Vm, team: &Team, image: &Image) -> Result<()> {
    team.push("damaged", image);
    team.sign(&team.key, "damaged", image)?;
    let layer = &image.layers()[0];
    let mut bytes = layer.bytes().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    team.registry
        .put_blob("team/damaged", &layer.digest(), &bytes);
    let (status, said) = team.run(vm, "damaged")?;
    ensure!(status == 254, "status {status}: {said}");
    contains("the failure", &said, &layer.digest())
}

fn only_the_signed_image_is_kept(vm: &mut Vm, team: &Team) -> Result<()> {
    let listed = vm.exec_ok("rocket image list --json")?;
    contains("the list", &listed, &team.image("signed"))?;
    for name in ["early", "unsigned", "foreign", "replaced", "damaged"] {
        ensure!(
            !listed.contains(&team.image(name)),
            "{name} is in the store: {listed}"
        );
    }
    Ok(())
}

fn what_is_not_trusted_any_more_does_not_run(vm: &mut Vm, team: &Team) -> Result<()> {
    let (status, said) = team.run(vm, "signed")?;
    ensure!(status == 0, "status {status}: {said}");
    same(
        "what the registry was asked for what is in the store",
        &team.registry.take_requests().join("\n"),
        "",
    )?;
    vm.exec_ok(&format!("rocket trust rm {}", team.prefix()))?;
    let (status, said) = team.run(vm, "signed")?;
    ensure!(status == 254, "status {status}: {said}");
    contains("the refusal", &said, "is not trusted")
}
