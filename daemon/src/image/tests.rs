//! The service on a real database and real directories. Needs root: layers have owners, devices and attributes.

use std::io::Cursor;
use std::os::unix::fs::MetadataExt as _;
use std::slice::from_ref;

use serde_json::json;
use tokio::sync::mpsc;

use super::testing::TarBytes;
use super::*;
use crate::error::{Classify as _, ErrorKind};

struct Daemon {
    top: tempfile::TempDir,
    images: Images,
    events: Events,
    store: Store,
}

impl Daemon {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(top: tempfile::TempDir) -> Self {
        let layout = Arc::new(Layout::create(&top.path().join("data"), &top.path().join("run")).unwrap());
        let store = Store::open(&layout.database()).await.unwrap();
        let events = Events::open(store.clone()).await.unwrap();
        let trash = Trash::start(layout.trash());
        let images = Images::open(store.clone(), events.clone(), layout, trash).await.unwrap();
        Self { top, images, events, store }
    }

    /// As after a kill: nothing is told to stop.
    async fn restart(self) -> Self {
        self.events.flush().await;
        self.store.close().await;
        Self::start_in(self.top).await
    }

    async fn load(&self, archive: Vec<u8>) -> (Result<(), Error>, Vec<Report>) {
        let (sender, mut receiver) = mpsc::channel(100);
        let result = self.images.load(Cursor::new(archive), sender).await;
        let mut reports = Vec::new();
        while let Some(report) = receiver.recv().await {
            if !matches!(report, Report::Layer { .. }) {
                reports.push(report);
            }
        }
        (result, reports)
    }

    fn files(&self, directory: &str) -> Vec<String> {
        let path = self.top.path().join("data").join(directory);
        let mut names: Vec<String> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn actions(&self) -> Vec<String> {
        self.events.after(0).iter().map(|event| event.action.clone()).collect()
    }

    /// Waits until the trash was emptied, and says what is left.
    async fn left_behind(&self) -> Vec<String> {
        for _ in 0..500 {
            if self.files("trash").is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        ["trash", "tmp", "layers", "blobs/sha256"].into_iter().flat_map(|directory| self.files(directory)).collect()
    }
}

fn layer(name: &str) -> Vec<u8> {
    TarBytes::new().directory("etc", 0o755).file(&format!("etc/{name}"), name.as_bytes()).finish()
}

fn config(layers: &[Vec<u8>], label: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    serde_json::to_vec(&json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": {"label": label}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "step"}],
    }))
    .unwrap()
}

fn docker_archive(layers: &[Vec<u8>], config: &[u8], tags: &[&str]) -> Vec<u8> {
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": names}]);
    let mut tar = TarBytes::new().file("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    for (name, layer) in names.iter().zip(layers) {
        tar = tar.file(name, layer);
    }
    tar.file("config.json", config).finish()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout under construction.
#[derive(Default)]
struct Oci {
    blobs: Vec<Vec<u8>>,
}

impl Oci {
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> serde_json::Value {
        let descriptor =
            json!({"mediaType": media_type, "digest": Digest::of(&bytes).to_string(), "size": bytes.len()});
        self.blobs.push(bytes);
        descriptor
    }

    fn image(&mut self, layers: &[Vec<u8>], config: Vec<u8>) -> serde_json::Value {
        let config = self.blob("application/vnd.oci.image.config.v1+json", config);
        let layers: Vec<_> =
            layers.iter().map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer))).collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        self.blob(media_type, serde_json::to_vec(&manifest).unwrap())
    }

    fn finish(&self, manifests: &serde_json::Value) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        let tar = TarBytes::new()
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", &serde_json::to_vec(&index).unwrap());
        let blobs = self.blobs.iter();
        blobs.fold(tar, |tar, blob| tar.file(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob)).finish()
    }
}

fn named(text: &str) -> Tagged {
    Tagged::from_parameters(text, "").unwrap().unwrap()
}

fn request(name: &str, force: bool) -> RemoveRequest {
    RemoveRequest { name: name.to_owned(), force }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_archive_is_loaded_once_shared_and_removed_to_the_last_byte() {
    let daemon = Daemon::start().await;
    let (base, one, two) = (layer("base"), layer("one"), layer("two"));
    let first = config(&[base.clone(), one.clone()], "first");
    let second = config(&[base.clone(), two.clone()], "second");
    let archive = docker_archive(&[base.clone(), one], &first, &["app:1", "app:2"]);
    for archive in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 1).unwrap()] {
        let (result, reports) = daemon.load(archive).await;
        result.unwrap();
        assert_eq!(reports, [Report::Loaded(named("app:1")), Report::Loaded(named("app:2"))]);
    }
    let (result, _) = daemon.load(docker_archive(&[base.clone(), two], &second, &["other:latest"])).await;
    result.unwrap();
    assert_eq!(daemon.files("layers").len(), 3, "the base is shared");
    assert!(daemon.files("tmp").is_empty());

    let image = daemon.images.resolve("app:1").unwrap();
    assert_eq!(image.digest, Digest::of(&first));
    assert_eq!(image.config.env, ["PATH=/bin"]);
    assert_eq!(image.size_bytes, 7);
    let paths = daemon.images.layer_paths(&image.top_layer).unwrap();
    assert_eq!(std::fs::read_to_string(paths[0].join("etc/one")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(paths[1].join("etc/base")).unwrap(), "base");
    assert_eq!(std::fs::metadata(&paths[0]).unwrap().mode() & 0o7777, 0o755);

    let daemon = daemon.restart().await;
    let image = daemon.images.resolve(&image.id).unwrap();
    assert_eq!(image.tags, [named("app:1"), named("app:2")]);

    let nobody = |_: &Digest| Vec::new();
    let done = daemon.images.remove(request("app:1", false), nobody).await.unwrap();
    assert_eq!(done, [Removal::Untagged(named("app:1"))]);
    let done = daemon.images.remove(request(&image.id, false), nobody).await.unwrap();
    let top = image.layers[1].chain_id;
    assert_eq!(
        done,
        [Removal::Untagged(named("app:2")), Removal::DeletedImage(image.digest), Removal::DeletedLayer(top)]
    );
    assert_eq!(daemon.images.resolve("app:2").unwrap_err().to_string(), "No such image: app:2");
    assert_eq!(daemon.images.remove(request("other", false), nobody).await.unwrap().len(), 4);
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
    assert_eq!(daemon.actions()[..4], ["load", "load", "load", "load"]);
    assert_eq!(daemon.actions()[4..], ["untag", "untag", "delete", "untag", "delete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oci_layout_is_loaded_for_this_platform_under_its_name() {
    let daemon = Daemon::start().await;
    let (ours, theirs) = (layer("ours"), layer("theirs"));
    let mut oci = Oci::default();
    let mut right = oci.image(from_ref(&ours), config(from_ref(&ours), "right"));
    let mut wrong = oci.image(from_ref(&theirs), config(from_ref(&theirs), "wrong"));
    right["platform"] = json!({"os": "linux", "architecture": crate::host::architecture()});
    wrong["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let attestation = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
        "digest": Digest::of(b"").to_string(), "platform": {"os": "unknown", "architecture": "unknown"}});
    let nested = json!({"schemaVersion": 2, "manifests": [wrong, right, attestation]});
    let mut index = oci.blob("application/vnd.oci.image.index.v1+json", serde_json::to_vec(&nested).unwrap());
    index["annotations"] =
        json!({"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"});
    let (result, reports) = daemon.load(oci.finish(&json!([index]))).await;
    result.unwrap();
    assert_eq!(reports, [Report::Loaded(named("app:1"))]);
    let image = daemon.images.resolve("app:1").unwrap();
    assert_eq!(image.config.labels["label"], "right");
    let manifest = image.manifest.unwrap();
    assert_eq!(manifest.to_string(), right["digest"].as_str().unwrap());
    assert_eq!(daemon.images.resolve(&format!("app@{manifest}")).unwrap().digest, image.digest);
    assert_eq!(daemon.files("blobs/sha256").len(), 2);

    let mut oci = Oci::default();
    let mut bare = oci.image(from_ref(&ours), config(from_ref(&ours), "bare"));
    bare["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let (result, reports) = daemon.load(oci.finish(&json!([bare]))).await;
    result.unwrap();
    assert!(matches!(reports[..], [Report::LoadedId(_)]), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_lie_are_refused_and_leave_nothing() {
    let daemon = Daemon::start().await;
    let good = layer("good");
    let good_config = config(from_ref(&good), "x");
    let hostile = TarBytes::new().file("../../escape", b"x").finish();
    let loops = TarBytes::new().symlink("manifest.json", "a").symlink("a", "manifest.json").finish();
    let huge = TarBytes::new().file("manifest.json", &vec![b' '; 5 << 20]).finish();
    let ambiguous = |extra: &str| {
        let mut oci = Oci::default();
        let mut manifest: serde_json::Value = {
            oci.image(from_ref(&good), good_config.clone());
            serde_json::from_slice(oci.blobs.last().unwrap()).unwrap()
        };
        manifest[extra] = json!([]);
        let descriptor = oci.blob("application/vnd.oci.image.manifest.v1+json", serde_json::to_vec(&manifest).unwrap());
        oci.finish(&json!([descriptor]))
    };
    let digest = |text: &str| {
        let descriptor = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": text, "size": 3});
        Oci::default().finish(&json!([descriptor]))
    };
    let swapped = {
        let mut oci = Oci::default();
        let descriptor = oci.image(from_ref(&good), good_config.clone());
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        let tar = TarBytes::new().file("oci-layout", b"{}").file("index.json", &serde_json::to_vec(&index).unwrap());
        // The name of the layer, the second blob, promises other content.
        let blobs =
            oci.blobs.iter().enumerate().map(|(n, blob)| (blob, if n == 1 { gzip(b"other") } else { blob.clone() }));
        blobs
            .fold(tar, |tar, (named, content)| tar.file(&format!("blobs/sha256/{}", Digest::of(named).hex()), &content))
            .finish()
    };
    let chain = (0..8).fold((Oci::default(), json!({})), |(mut oci, inner), _| {
        let index = json!({"schemaVersion": 2, "manifests": [inner]});
        let outer = oci.blob("application/vnd.oci.image.index.v1+json", serde_json::to_vec(&index).unwrap());
        (oci, outer)
    });
    for (name, archive, part) in [
        ("nothing", Vec::new(), "unexpected EOF"),
        ("noise", b"garbage".repeat(1000), "invalid tar header"),
        ("no manifest", TarBytes::new().file("a", b"x").finish(), "does not contain a manifest"),
        ("broken manifest", TarBytes::new().file("manifest.json", b"{").finish(), "manifest.json"),
        ("huge manifest", huge, "larger than the limit"),
        ("links in a circle", loops, "does not contain a manifest"),
        (
            "missing layer",
            {
                let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": ["../../etc/passwd"]}]);
                TarBytes::new()
                    .file("manifest.json", &serde_json::to_vec(&manifest).unwrap())
                    .file("config.json", &good_config)
                    .finish()
            },
            "is missing",
        ),
        ("another layer than promised", docker_archive(&[layer("bad")], &good_config, &["a:1"]), "invalid diffID"),
        ("too many layers", docker_archive(&[good.clone(), good.clone()], &good_config, &["a:1"]), "length mismatch"),
        (
            "a good layer under a bad one",
            { docker_archive(&[good.clone(), layer("bad")], &config(&[good.clone(), layer("y")], "x"), &["a:1"]) },
            "invalid diffID",
        ),
        (
            "a layer that leaves its directory",
            { docker_archive(from_ref(&hostile), &config(from_ref(&hostile), "x"), &["a:1"]) },
            "it leaves the layer",
        ),
        ("a tag that is none", docker_archive(from_ref(&good), &good_config, &["a:b:c"]), "invalid tag"),
        ("a member outside", TarBytes::new().file("../x", b"x").finish(), "invalid name"),
        ("windows", docker_archive(&[], br#"{"os":"windows","rootfs":{"type":"layers"}}"#, &["a:1"]), "windows"),
        ("manifest and index in one", ambiguous("manifests"), "neither a manifest nor an index"),
        ("short digest", digest("sha256:"), "invalid checksum digest length"),
        ("digest that is a path", digest("sha256:../../../../etc/passwd"), "invalid checksum digest length"),
        ("other algorithm", digest("md5:d41d8cd98f00b204e9800998ecf8427e"), "unsupported digest algorithm"),
        ("absent blob", digest(&Digest::of(b"absent").to_string()), "is missing"),
        ("swapped layer", swapped, "has digest"),
        ("indexes in indexes", chain.0.finish(&json!([chain.1])), "nested too deeply"),
    ] {
        let (result, reports) = daemon.load(archive).await;
        let error = result.expect_err(name);
        assert!(error.to_string().contains(part), "{name}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert_eq!(reports, [], "{name}");
        assert_eq!(daemon.images.count(), 0, "{name}");
    }
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
    assert!(!daemon.top.path().join("escape").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_cut_off_anywhere_leaves_nothing() {
    let daemon = Daemon::start().await;
    let layers = [TarBytes::new().file("a", &[7; 20_000]).finish(), layer("b")];
    let plain = docker_archive(&layers, &config(&layers, "x"), &["app:latest"]);
    for archive in [plain.clone(), gzip(&plain)] {
        for tenth in 1..10 {
            let (result, _) = daemon.load(archive[..archive.len() * tenth / 10].to_vec()).await;
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), "unexpected EOF", "{tenth}/10");
        }
    }
    let rootfs = TarBytes::new().file("a", &[7; 20_000]).file("b", b"x").finish();
    for tenth in 0..10 {
        let cut = Cursor::new(rootfs[..rootfs.len() * tenth / 10].to_vec());
        let error = daemon.images.import(cut, ImportRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{tenth}/10: {error}");
    }
    // Between two members nothing but the missing end marker tells.
    let between = TarBytes::new().file("a", b"x").unfinished();
    assert!(daemon.images.import(Cursor::new(between), ImportRequest::default()).await.is_err());
    assert_eq!(daemon.images.count(), 0);
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_archives_never_panic_and_leave_nothing_but_images() {
    let daemon = Daemon::start().await;
    let layers = [layer("a"), layer("b")];
    let mut oci = Oci::default();
    let image = oci.image(&layers, config(&layers, "x"));
    let archives = [docker_archive(&layers, &config(&layers, "x"), &["app:1"]), oci.finish(&json!([image]))];
    // A linear congruential generator (Knuth's MMIX constants): the same damage in every run.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    const DAMAGE: &[u8] = b"0{[\",:}]9a/.\0\xff";
    let mut refused = 0;
    for round in 0..400 {
        let mut archive = archives[round % 2].clone();
        // Text is where parsers are: an even choice of bytes would hit padding most of the time.
        let text: Vec<usize> = (0..archive.len()).filter(|&at| archive[at].is_ascii_graphic()).collect();
        for _ in 0..=random(3) {
            archive[text[random(text.len())]] = DAMAGE[random(DAMAGE.len())];
        }
        if let (Err(error), _) = daemon.load(archive).await {
            assert!(!matches!(error, Error::Panicked(_)), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 200, "{refused}");
    for image in daemon.images.index().all() {
        daemon.images.remove(request(&image.id, true), |_: &Digest| Vec::new()).await.unwrap();
    }
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_loads_of_shared_layers_agree() {
    let daemon = Arc::new(Daemon::start().await);
    let big = TarBytes::new().file("big", &[1; 3_000_000]).finish();
    let loads: Vec<_> = (0..12)
        .map(|n| {
            let daemon = Arc::clone(&daemon);
            let layers = vec![big.clone(), layer("middle"), layer(&format!("top{}", n % 3))];
            let mut wanted = layers.clone();
            if n == 5 {
                // Fails at its last layer; whoever waits for the ones below makes them.
                wanted[2] = layer("broken");
            }
            let archive = docker_archive(&layers, &config(&wanted, &(n % 3).to_string()), &[&format!("app:{n}")]);
            tokio::spawn(async move { daemon.load(archive).await.0.is_ok() })
        })
        .collect();
    let mut loaded = 0;
    for load in loads {
        loaded += usize::from(load.await.unwrap());
    }
    assert_eq!((loaded, daemon.images.count()), (11, 3));
    assert_eq!(daemon.files("layers").len(), 5);
    let nobody = |_: &Digest| Vec::new();
    let removals: Vec<_> =
        (0..12).filter(|n| *n != 5).map(|n| daemon.images.remove(request(&format!("app:{n}"), true), nobody)).collect();
    for removal in removals {
        removal.await.unwrap();
    }
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_and_removals_at_the_same_time_never_lose_a_layer_that_is_named() {
    let daemon = Arc::new(Daemon::start().await);
    let layers = [layer("shared"), layer("top")];
    let archive = docker_archive(&layers, &config(&layers, "x"), &["app:latest"]);
    for _ in 0..20 {
        let loads: Vec<_> = (0..3)
            .map(|_| {
                let (daemon, archive) = (Arc::clone(&daemon), archive.clone());
                tokio::spawn(async move { daemon.load(archive).await.0.unwrap() })
            })
            .collect();
        // Not found is as good as removed.
        drop(daemon.images.remove(request("app", true), |_: &Digest| Vec::new()).await);
        for load in loads {
            load.await.unwrap();
        }
        let image = daemon.images.resolve("app").unwrap();
        for path in daemon.images.layer_paths(&image.top_layer).unwrap() {
            assert!(path.join("etc").is_dir());
        }
        drop(daemon.images.remove(request("app", true), |_: &Digest| Vec::new()).await);
    }
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn import_makes_an_image_of_one_layer() {
    let daemon = Daemon::start().await;
    let rootfs = TarBytes::new().file("bin/true", b"x").finish();
    let import = ImportRequest {
        tagged: Some(named("new:1")),
        message: "Imported from -".to_owned(),
        changes: vec!["CMD [\"/bin/true\"]".to_owned(), "ENV A=b".to_owned()],
        ..ImportRequest::default()
    };
    let image = daemon.images.import(Cursor::new(gzip(&rootfs)), import.clone()).await.unwrap();
    assert_eq!(image.config.cmd.as_deref(), Some(&["/bin/true".to_owned()][..]));
    assert_eq!(image.tags, [named("new:1")]);
    assert_eq!(image.layers[0].diff_id, Digest::of(&rootfs));
    let bytes = std::fs::read(daemon.top.path().join("data/blobs/sha256").join(image.digest.hex())).unwrap();
    assert_eq!(Digest::of(&bytes), image.digest);
    let again = daemon.images.import(Cursor::new(rootfs), import).await.unwrap();
    assert_ne!(again.digest, image.digest, "the time of the import is part of the image");
    assert_eq!(daemon.files("layers").len(), 1);
    assert_eq!(daemon.images.resolve(&image.id).unwrap().tags, [], "the name went to the later one");
    assert_eq!(daemon.actions(), ["tag", "import", "tag", "import"]);

    let bad = ImportRequest { changes: vec!["RUN x".to_owned()], ..ImportRequest::default() };
    let error = daemon.images.import(Cursor::new(Vec::new()), bad).await.unwrap_err();
    assert_eq!(error.to_string(), "RUN is not a valid change command");
    let error = daemon.images.import(Cursor::new(Vec::new()), ImportRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "the archive is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_in_use_are_removed_only_as_dockerd_would() {
    let daemon = Daemon::start().await;
    let layers = [layer("a")];
    let archive = docker_archive(&layers, &config(&layers, "x"), &["app:1"]);
    daemon.load(archive.clone()).await.0.unwrap();
    let image = daemon.images.resolve("app:1").unwrap();
    let short = image.digest.short();
    let container = "c".repeat(64);
    let user = |running| {
        let container_id = container.clone();
        move |_: &Digest| vec![ImageUser { container_id: container_id.clone(), running }]
    };
    let refused = async |name: &str, force, running| {
        let error = daemon.images.remove(request(name, force), user(running)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        error.to_string()
    };
    assert_eq!(
        refused("app:1", false, false).await,
        format!(
            "conflict: unable to remove repository reference \"app:1\" (must force) - container cccccccccccc is using its referenced image {short}"
        )
    );
    assert_eq!(
        refused(&short, false, false).await,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
        )
    );
    assert_eq!(
        refused(&image.id, true, true).await,
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
        )
    );
    daemon.images.tag("app:1", named("app:2")).await.unwrap();
    assert_eq!(
        refused(&short, false, false).await,
        format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")
    );
    // With another name left, a name goes whoever uses the image.
    let done = daemon.images.remove(request("app:2", false), user(true)).await.unwrap();
    assert_eq!(done, [Removal::Untagged(named("app:2"))]);
    // The last name by force: a running container keeps the image, without a name.
    let done = daemon.images.remove(request("app:1", true), user(true)).await.unwrap();
    assert_eq!(done, [Removal::Untagged(named("app:1"))]);
    assert!(daemon.images.resolve(&image.id).unwrap().tags.is_empty());
    daemon.load(archive).await.0.unwrap();
    assert_eq!(daemon.images.resolve("app:1").unwrap().digest, image.digest);

    // A stopped container loses its image by force, but never its layers.
    let (top, id) = (image.top_layer.clone(), container.clone());
    daemon
        .store
        .write(Durability::Relaxed, move |connection| {
            Box::pin(crate::store::images::tests::insert_container(connection, id, top))
        })
        .await
        .unwrap();
    let done = daemon.images.remove(request("app:1", true), user(false)).await.unwrap();
    assert_eq!(done, [Removal::Untagged(named("app:1")), Removal::DeletedImage(image.digest)]);
    assert_eq!(daemon.images.layer_paths(&image.top_layer).unwrap().len(), 1);
    let daemon = daemon.restart().await;
    assert_eq!(daemon.images.layer_paths(&image.top_layer).unwrap().len(), 1);
    daemon.images.release_layers(&image.top_layer).await.unwrap();
    assert_eq!(daemon.files("layers").len(), 1, "the container still needs it");
    daemon
        .store
        .write(Durability::Relaxed, |connection| Box::pin(crate::store::images::tests::delete_containers(connection)))
        .await
        .unwrap();
    daemon.images.release_layers(&image.top_layer).await.unwrap();
    assert_eq!(daemon.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_throws_away_what_no_row_names_and_survives_a_broken_image() {
    let daemon = Daemon::start().await;
    for name in ["good", "broken", "lost"] {
        let layers = [layer(name)];
        daemon.load(docker_archive(&layers, &config(&layers, name), &[&format!("{name}:latest")])).await.0.unwrap();
    }
    let data = daemon.top.path().join("data");
    let broken = daemon.images.resolve("broken").unwrap();
    std::fs::write(data.join("blobs/sha256").join(broken.digest.hex()), "{}").unwrap();
    let lost = daemon.images.resolve("lost").unwrap();
    std::fs::remove_dir_all(data.join("layers").join(&lost.top_layer)).unwrap();
    std::fs::create_dir_all(data.join("tmp/left/layer/deep")).unwrap();
    std::fs::create_dir_all(data.join("layers").join("0".repeat(64)).join("x")).unwrap();
    std::fs::write(data.join("blobs/sha256/stray"), "x").unwrap();
    std::fs::create_dir(data.join("trash/old")).unwrap();

    let daemon = daemon.restart().await;
    assert_eq!(daemon.images.count(), 1);
    assert!(daemon.images.resolve("good").is_ok());
    assert_eq!(daemon.images.resolve("broken").unwrap_err().to_string(), "No such image: broken:latest");
    assert!(daemon.files("tmp").is_empty());
    assert_eq!(daemon.files("layers").len(), 2);
    assert_eq!(daemon.files("blobs/sha256").len(), 3);
    daemon.left_behind().await;
    assert!(daemon.files("trash").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_newest_first() {
    let daemon = Daemon::start().await;
    for (n, name) in ["a/one:1", "a/two:2", "three:latest"].into_iter().enumerate() {
        let layers = [layer("same")];
        let mut document: serde_json::Value = serde_json::from_slice(&config(&layers, name)).unwrap();
        document["created"] = json!(format!("202{n}-01-01T00:00:00Z"));
        let document = serde_json::to_vec(&document).unwrap();
        daemon.load(docker_archive(&layers, &document, &[name])).await.0.unwrap();
    }
    daemon
        .images
        .remove(request("three", true), |_: &Digest| vec![ImageUser { container_id: String::new(), running: true }])
        .await
        .unwrap();
    let list = |request: ListRequest| -> Vec<String> {
        let selection = daemon.images.selection(request).unwrap();
        let listed = daemon.images.list(&selection);
        listed.iter().map(|listed| listed.tags.first().map_or("<none>".to_owned(), ToString::to_string)).collect()
    };
    let request = ListRequest::default;
    assert_eq!(list(request()), ["<none>", "a/two:2", "a/one:1"]);
    assert_eq!(list(ListRequest { dangling: Some(true), ..request() }), ["<none>"]);
    assert_eq!(list(ListRequest { dangling: Some(false), ..request() }), ["a/two:2", "a/one:1"]);
    assert_eq!(list(ListRequest { references: vec!["a/t*".to_owned()], ..request() }), ["a/two:2"]);
    assert_eq!(list(ListRequest { references: vec!["*/*:1".to_owned()], ..request() }), ["a/one:1"]);
    assert_eq!(list(ListRequest { labels: vec!["label=three:latest".to_owned()], ..request() }), ["<none>"]);
    assert_eq!(
        list(ListRequest { without_labels: vec!["label=three:latest".to_owned()], ..request() }),
        ["a/two:2", "a/one:1"]
    );
    assert_eq!(list(ListRequest { before: Some("a/two:2".to_owned()), ..request() }), ["a/one:1"]);
    assert_eq!(list(ListRequest { since: Some("a/two:2".to_owned()), ..request() }), ["<none>"]);
    assert_eq!(list(ListRequest { until: Some("2021-06-01".to_owned()), ..request() }), ["a/two:2", "a/one:1"]);
    let selection = daemon.images.selection(request()).unwrap();
    assert_eq!(daemon.images.list(&selection)[0].shared_bytes, 4);
    let unknown = daemon.images.selection(ListRequest { before: Some("nothing".to_owned()), ..request() });
    assert_eq!(unknown.unwrap_err().to_string(), "No such image: nothing:latest");

    let (done, freed) = daemon.images.prune(|image| image.tags.is_empty(), |_: &Digest| Vec::new()).await.unwrap();
    assert_eq!((done.len(), freed), (1, 0), "its layer is shared");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_gets_an_empty_one() {
    let daemon = Daemon::start().await;
    let empty = br#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    daemon.load(docker_archive(&[], empty, &["scratch:latest"])).await.0.unwrap();
    let image = daemon.images.resolve("scratch").unwrap();
    assert_eq!(daemon.images.layer_paths(&image.top_layer).unwrap().len(), 1);
    assert_eq!(
        view::inspect(&daemon.images, &image, api_schema::version::CURRENT).root_fs.layers,
        Vec::<String>::new()
    );
}
