//! The image that every contender runs: made in code, loaded as a docker-archive, and unpacked for those without images.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::Result;

/// The image's name; every daemon understands a name with a host part in the same way.
pub(crate) const NAME: &str = "localhost/pinnace-bench:latest";

/// The image on disk.
#[derive(Debug)]
pub(crate) struct Image {
    /// A docker-archive.
    pub(crate) archive: Vec<u8>,
    /// The unpacked layers, topmost first.
    pub(crate) layers: Vec<PathBuf>,
}

/// Compiles the payload and makes the image in `directory`: a layer with busybox and the directories that are mounted
/// over, and a layer with the payload.
pub(crate) fn build(directory: &Path) -> Result<Image> {
    let base = directory.join("base");
    let top = directory.join("top");
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(base.join(name))?;
    }
    for name in ["hostname", "hosts", "resolv.conf"] {
        fs::write(base.join("etc").join(name), "")?;
    }
    fs::write(base.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(base.join("etc/group"), "root:x:0:\n")?;
    fs::copy("/bin/busybox", base.join("bin/busybox"))
        .map_err(|error| format!("/bin/busybox (static) is needed: {error}"))?;
    fs::create_dir_all(&top)?;
    let source = directory.join("payload.c");
    fs::write(&source, include_str!("payload.c"))?;
    let compiled = Command::new("cc").args(["-O2", "-static", "-o"]).arg(top.join("true")).arg(&source).output()?;
    if !compiled.status.success() {
        return Err(format!("cc: {}", String::from_utf8_lossy(&compiled.stderr)).into());
    }
    fs::copy(top.join("true"), top.join("lines"))?;

    let layers = [base, top];
    let archive = archive(directory, &layers)?;
    Ok(Image { archive, layers: layers.into_iter().rev().collect() })
}

fn archive(directory: &Path, layers: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut diff_ids = Vec::new();
    let mut names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let mut layer_tar = tar::Builder::new(Vec::new());
        layer_tar.mode(tar::HeaderMode::Deterministic);
        layer_tar.append_dir_all(".", layer)?;
        let layer_tar = layer_tar.into_inner()?;
        let name = format!("{number}/layer.tar");
        append(&mut archive, &name, &layer_tar)?;
        diff_ids.push(format!("sha256:{}", sha256(directory, &layer_tar)?));
        names.push(name);
    }
    let config = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": { "Cmd": ["/true"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": diff_ids.iter().map(|_| json!({ "created": "2026-01-01T00:00:00Z", "created_by": "pinnace-bench" })).collect::<Vec<_>>(),
    }))?;
    let config_name = format!("{}.json", sha256(directory, &config)?);
    append(&mut archive, &config_name, &config)?;
    append(
        &mut archive,
        "manifest.json",
        &serde_json::to_vec(&json!([{ "Config": config_name, "RepoTags": [NAME], "Layers": names }]))?,
    )?;
    Ok(archive.into_inner()?)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, name, content)?)
}

/// The digest in hexadecimal, by coreutils: not worth a dependency for three calls.
fn sha256(directory: &Path, content: &[u8]) -> Result<String> {
    let path = directory.join("digested");
    fs::File::create(&path)?.write_all(content)?;
    let output = Command::new("sha256sum").arg(&path).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().filter(|digest| digest.len() == 64).ok_or("sha256sum gave no digest")?.to_owned())
}
