//! Images made in code: root file systems as tars, and the archives that hold them. Nothing comes from a network.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::sha256;

/// Programs of busybox that the image has, in `/bin`.
const APPLETS: &str = "ash awk base64 basename cat chmod chown cp cut date dd df diff dirname du echo env expr false find \
    grep gzip head hexdump hostname id ifconfig ip kill killall ln ls md5sum mkdir mkfifo mknod mount mv nc od pidof \
    printenv printf ps pwd readlink rm rmdir sed seq setsid sh sha256sum sleep sort stat stty sync tail tar tee test \
    touch tr true truncate tty umount uname uniq unshare usleep vi wc wget which who whoami xargs yes";

/// A layer, or any other tar, entry by entry.
pub struct Tar {
    builder: tar::Builder<Vec<u8>>,
    owner: (u64, u64),
}

impl Default for Tar {
    fn default() -> Tar {
        Tar::new()
    }
}

impl Tar {
    pub fn new() -> Tar {
        Tar { builder: tar::Builder::new(Vec::new()), owner: (0, 0) }
    }

    /// Says to whom the entries that follow belong.
    pub fn owner(self, user: u64, group: u64) -> Tar {
        Tar { owner: (user, group), ..self }
    }

    pub fn directory(self, name: &str, mode: u32) -> Tar {
        self.entry(tar::EntryType::Directory, &format!("{name}/"), mode, "", b"")
    }

    pub fn file(self, name: &str, mode: u32, content: &[u8]) -> Tar {
        self.entry(tar::EntryType::Regular, name, mode, "", content)
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.entry(tar::EntryType::Symlink, name, 0o777, target, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.entry(tar::EntryType::Link, name, 0o644, target, b"")
    }

    /// Says that a file of a lower layer is gone.
    pub fn whiteout(self, directory: &str, name: &str) -> Tar {
        self.file(&format!("{directory}/.wh.{name}"), 0o644, b"")
    }

    /// Says that nothing of lower layers is in this directory.
    pub fn opaque(self, directory: &str) -> Tar {
        self.file(&format!("{directory}/.wh..wh..opq"), 0o644, b"")
    }

    /// Appends an entry whose name and link target are written as they are, however evil.
    pub fn entry(mut self, kind: tar::EntryType, name: &str, mode: u32, target: &str, content: &[u8]) -> Tar {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_old_mut();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
            header.set_device_major(1).expect("a GNU header");
            header.set_device_minor(3).expect("a GNU header");
        }
        header.set_cksum();
        self.builder.append(&header, content).expect("memory");
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.builder.into_inner().expect("memory")
    }
}

/// A root file system with busybox, a few users, and nothing else.
pub fn busybox_rootfs() -> &'static [u8] {
    static ROOTFS: OnceLock<Vec<u8>> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed (.ci/install-deps)");
        let mut tar = Tar::new();
        for name in ["bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var"] {
            tar = tar.directory(name, 0o755);
        }
        tar = tar.directory("tmp", 0o1777).file("bin/busybox", 0o755, &busybox);
        for applet in APPLETS.split_whitespace() {
            tar = tar.symlink(&format!("bin/{applet}"), "busybox");
        }
        tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n")
            .file("etc/group", 0o644, b"root:x:0:\nworker:x:1000:\nstaff:x:50:worker\n")
            .directory("home/worker", 0o755)
            .finish()
    })
}

/// The configuration of the busybox image.
pub fn busybox_config() -> Value {
    json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]})
}

/// `busybox:latest` as `docker save` would write it.
pub fn busybox_archive() -> Vec<u8> {
    docker_archive(&["busybox:latest"], &busybox_config(), &[busybox_rootfs().to_vec()])
}

/// An image's configuration file.
pub fn configuration(config: &Value, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let history: Vec<Value> = (0..layers.len())
        .map(|number| json!({"created": "2023-11-14T22:13:20Z", "created_by": format!("layer {number}")}))
        .collect();
    let configuration = json!({
        "architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    configuration.to_string().into_bytes()
}

/// Returns the id that an image with these layers has.
pub fn image_id(config: &Value, layers: &[Vec<u8>]) -> String {
    format!("sha256:{}", sha256(&configuration(config, layers)))
}

/// An archive with a `manifest.json`.
pub fn docker_archive(tags: &[&str], config: &Value, layers: &[Vec<u8>]) -> Vec<u8> {
    let configuration = configuration(config, layers);
    let name = format!("{}.json", sha256(&configuration));
    let mut tar = Tar::new().file(&name, 0o644, &configuration);
    let mut names = Vec::new();
    for layer in layers {
        let folder = sha256(layer);
        if !names.contains(&format!("{folder}/layer.tar")) {
            tar = tar.directory(&folder, 0o755).file(&format!("{folder}/layer.tar"), 0o644, layer);
        }
        names.push(format!("{folder}/layer.tar"));
    }
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": names}]);
    tar.file("manifest.json", 0o644, manifest.to_string().as_bytes()).finish()
}

/// How the layers of an OCI layout are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// An OCI image layout with one image in it.
pub fn oci_layout(tag: &str, config: &Value, layers: &[Vec<u8>], compression: Compression) -> Vec<u8> {
    let mut tar = Tar::new()
        .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)
        .directory("blobs", 0o755)
        .directory("blobs/sha256", 0o755);
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        let with = std::mem::take(&mut tar).file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
        tar = with;
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let suffix = match compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    let layer_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
    let descriptors: Vec<Value> = layers.iter().map(|layer| blob(&layer_type, &compress(layer, compression))).collect();
    let config = blob("application/vnd.oci.image.config.v1+json", &configuration(config, layers));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors});
    let mut manifest = blob(media_type, manifest.to_string().as_bytes());
    // Both names that are in use: the whole one of containerd, and the tag of the specification.
    manifest["annotations"] = json!({
        "io.containerd.image.name": format!("docker.io/library/{tag}"),
        "org.opencontainers.image.ref.name": tag.split(':').next_back(),
    });
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]});
    tar.file("index.json", 0o644, index.to_string().as_bytes()).finish()
}

/// Compresses with the program of that name.
pub fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let program = match compression {
        Compression::None => return bytes.to_vec(),
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    let mut child = Command::new(program)
        .args(["-q", "-1", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error} (.ci/install-deps)"));
    let mut stdin = child.stdin.take().expect("piped");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("wait");
    writer.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "{program}");
    output.stdout
}
