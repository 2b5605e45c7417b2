//! Images: how they come in, what is told of them, how they go; and archives that mean harm.

use integration_tests::containers::merged;
use integration_tests::image::{self, Compression, Tar};
use integration_tests::*;

/// Three layers: each changes what the ones below it left.
fn layered() -> Vec<Vec<u8>> {
    let lower = Tar::new()
        .directory("data", 0o755)
        .file("data/kept", 0o644, b"kept")
        .file("data/gone", 0o644, b"gone")
        .file("data/changed", 0o644, b"old")
        .directory("data/emptied", 0o755)
        .file("data/emptied/a", 0o644, b"a")
        .owner(1000, 50)
        .file("data/owned", 0o640, b"owned")
        .owner(0, 0)
        .hard_link("data/linked", "data/kept")
        .finish();
    let upper = Tar::new()
        .whiteout("data", "gone")
        .file("data/changed", 0o600, b"new")
        .directory("data/emptied", 0o755)
        .opaque("data/emptied")
        .file("data/emptied/b", 0o644, b"b")
        .finish();
    vec![image::busybox_rootfs().to_vec(), lower, upper]
}

const LOOK: &str = "cd /data; ls; cat kept changed; ls emptied; stat -c '%u %g %a' owned; stat -c %h kept; cat linked";
const SEEN: &str = "changed\nemptied\nkept\nlinked\nowned\nkeptnewb\n1000 50 640\n2\nkept";

fn look(daemon: &Daemon, image: &str) -> String {
    let output = daemon.sh(LOOK, json!({"Image": image}));
    assert_eq!(output.code, 0, "{output:?}");
    output.out()
}

#[test]
fn layers_are_merged_with_whiteouts_opaque_directories_owners_and_links() {
    let daemon = Daemon::start_empty(&[]);
    let archive = image::docker_archive(&["layered:1"], &image::busybox_config(), &layered());
    assert_eq!(daemon.load(&archive), "Loaded image: layered:1\n");
    assert_eq!(look(&daemon, "layered:1"), SEEN);
}

#[test]
fn an_archive_may_be_compressed_as_a_whole() {
    let daemon = Daemon::start_empty(&[]);
    for (compression, tag) in [(Compression::Gzip, "packed:gzip"), (Compression::Zstd, "packed:zstd")] {
        let archive = image::docker_archive(&[tag], &image::busybox_config(), &layered());
        if compression == Compression::Zstd && !daemon.is_own() {
            continue; // since 23.0
        }
        daemon.load(&image::compress(&archive, compression));
        assert_eq!(look(&daemon, tag), SEEN, "{compression:?}");
    }
}

#[test]
fn an_oci_layout_may_have_plain_gzip_and_zstd_layers() {
    let daemon = Daemon::start_empty(&[]);
    if !daemon.is_own() {
        return; // since 25.0
    }
    for (compression, tag) in
        [(Compression::None, "oci:plain"), (Compression::Gzip, "oci:gzip"), (Compression::Zstd, "oci:zstd")]
    {
        let said = daemon.load(&image::oci_layout(tag, &image::busybox_config(), &layered(), compression));
        assert_eq!(said, format!("Loaded image: {tag}\n"));
        assert_eq!(look(&daemon, tag), SEEN, "{compression:?}");
    }
    let ids = |tag: &str| daemon.api().get(&format!("/images/{tag}/json")).expect(200).json()["Id"].clone();
    assert_eq!(ids("oci:plain"), ids("oci:zstd"), "compression is not part of an image's identity");
}

#[test]
fn loading_twice_changes_nothing() {
    let daemon = Daemon::start_empty(&[]);
    let archive = image::busybox_archive();
    daemon.load(&archive);
    let listed = || {
        let list = daemon.api().get("/images/json").expect(200).json();
        let mut list: Vec<String> = list.as_array().expect("a list").iter().map(Value::to_string).collect();
        list.sort();
        list
    };
    let before = listed();
    daemon.load(&archive);
    assert_eq!(listed(), before);
}

#[test]
fn an_image_without_a_tag_is_loaded_by_its_id() {
    let daemon = Daemon::start_empty(&[]);
    let layers = [image::busybox_rootfs().to_vec(), Tar::new().file("untagged", 0o644, b"").finish()];
    let id = image::image_id(&image::busybox_config(), &layers);
    let said = daemon.load(&image::docker_archive(&[], &image::busybox_config(), &layers));
    assert_eq!(said, format!("Loaded image ID: {id}\n"));
    assert_eq!(daemon.sh("ls /untagged", json!({"Image": id})).out(), "/untagged\n");
    assert_eq!(daemon.sh("ls /untagged", json!({"Image": &id[7..19]})).out(), "/untagged\n", "a short id");
    daemon.api().delete(&format!("/images/{id}?force=1")).expect(200);
}

#[test]
fn inspect_tells_what_the_configuration_says() {
    let daemon = Daemon::start_empty(&[]);
    let config = merged(
        image::busybox_config(),
        &json!({
            "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}, "Entrypoint": ["/bin/sh"], "WorkingDir": "/home", "User": "worker",
            "StopSignal": "SIGQUIT",
        }),
    );
    let layers = layered();
    daemon.load(&image::docker_archive(&["inspected:1"], &config, &layers));
    let inspect = daemon.api().get("/images/inspected:1/json").expect(200).json();
    assert_eq!(inspect["Id"], image::image_id(&config, &layers));
    assert_eq!(inspect["RepoTags"], json!(["inspected:1"]));
    assert_eq!((&inspect["Os"], &inspect["Architecture"]), (&json!("linux"), &json!("amd64")));
    assert_eq!(inspect["Created"], "2023-11-14T22:13:20Z");
    assert_eq!(inspect["RootFS"]["Type"], "layers");
    assert_eq!(inspect["RootFS"]["Layers"][1], format!("sha256:{}", sha256(&layers[1])));
    for member in ["Labels", "ExposedPorts", "Entrypoint", "WorkingDir", "User", "StopSignal", "Cmd", "Env"] {
        assert_eq!(inspect["Config"][member], config[member], "{member}");
    }
    assert!(inspect["Size"].as_i64().is_some_and(|size| size > 500_000), "{}", inspect["Size"]);
    let message = daemon.api().get("/images/nothing/json").expect(404).message();
    assert!(message.ends_with("No such image: nothing:latest"), "{message}");
}

#[test]
fn history_is_newest_first() {
    let daemon = Daemon::start_empty(&[]);
    daemon.load(&image::docker_archive(&["old:1"], &image::busybox_config(), &layered()));
    let history = daemon.api().get("/images/old:1/history").expect(200).json();
    let by: Vec<&str> =
        history.as_array().expect("a list").iter().map(|h| h["CreatedBy"].as_str().expect("text")).collect();
    assert_eq!(by, ["layer 2", "layer 1", "layer 0"]);
    assert!(history[0]["Tags"].as_array().expect("a list").contains(&json!("old:1")), "{}", history[0]);
    assert!(history[0]["Id"].as_str().expect("an id").starts_with("sha256:"));
    assert_eq!(history[0]["Created"], 1_700_000_000);
}

#[test]
fn images_are_listed_tagged_and_removed() {
    let daemon = Daemon::start_empty(&[]);
    let api = daemon.api();
    let tag = |name: &str| daemon.load(&image::docker_archive(&[name], &image::busybox_config(), &layered()));
    tag("listed:1");
    let id = api.get("/images/listed:1/json").json()["Id"].as_str().expect("an id").to_owned();
    api.post("/images/listed:1/tag?repo=other/name&tag=two").expect(201);
    api.post("/images/listed:1/tag?repo=localhost:5000/third").expect(201);
    api.post("/images/nothing/tag?repo=x&tag=y").expect(404);
    let refused = api.post("/images/listed:1/tag?repo=UPPER&tag=y");
    assert!(refused.status == 400 || !daemon.is_own(), "{}", refused.status);
    assert!(refused.message().contains("must be lowercase"), "{}", refused.message());
    let listed = api.get("/images/json").expect(200).json();
    let entry =
        listed.as_array().expect("a list").iter().find(|entry| entry["Id"] == id.as_str()).expect("listed").clone();
    let mut tags: Vec<&str> =
        entry["RepoTags"].as_array().expect("a list").iter().map(|t| t.as_str().expect("text")).collect();
    tags.sort_unstable();
    // A daemon that was there before has more tags of the same image.
    tags.retain(|tag| !["layered:1", "old:1", "packed:gzip"].contains(tag));
    assert_eq!(tags, ["listed:1", "localhost:5000/third:latest", "other/name:two"]);
    assert_eq!(entry["Created"], 1_700_000_000);
    for key in ["other/name:two", "other%2Fname:two", "localhost:5000/third", &id, &id[7..19]] {
        assert_eq!(api.get(&format!("/images/{key}/json")).expect(200).json()["Id"], id.as_str(), "{key}");
    }
    assert_eq!(api.delete("/images/other/name:two").expect(200).json(), json!([{"Untagged": "other/name:two"}]));
    let message = api.delete(&format!("/images/{id}")).expect(409).message();
    assert!(message.contains("conflict: unable to delete") && message.contains("must be forced"), "{message}");
    api.delete("/images/localhost:5000/third").expect(200);
    let gone = api.delete("/images/listed:1").expect(200).json();
    assert_eq!(gone[0], json!({"Untagged": "listed:1"}));
    if !daemon.is_own() {
        return;
    }
    assert!(gone.as_array().expect("a list").contains(&json!({"Deleted": id})), "{gone}");
    assert_eq!(api.delete("/images/listed:1").expect(404).message(), "No such image: listed:1");
    api.get(&format!("/images/{id}/json")).expect(404);
}

#[test]
fn an_image_in_use_is_not_removed() {
    let daemon = Daemon::start_empty(&[]);
    let api = daemon.api();
    let layers = [image::busybox_rootfs().to_vec(), Tar::new().file("used", 0o644, b"").finish()];
    daemon.load(&image::docker_archive(&["used:1"], &image::busybox_config(), &layers));
    let container = daemon.create(&["sh", "-c", containers::IDLE], json!({"Image": "used:1"}));
    let message = api.delete("/images/used:1").expect(409).message();
    assert!(message.contains("conflict: unable to remove repository reference \"used:1\" (must force)"), "{message}");
    assert!(message.contains(&container[..12]), "{message}");
    daemon.start_container(&container);
    let id = image::image_id(&image::busybox_config(), &layers);
    let message = api.delete(&format!("/images/{id}?force=1")).expect(409).message();
    assert!(message.contains("cannot be forced") && message.contains("running container"), "{message}");
    daemon.remove(&container);
    api.delete("/images/used:1").expect(200);
}

#[test]
fn a_root_file_system_is_imported() {
    let daemon = Daemon::start_empty(&[]);
    let path =
        "/images/create?fromSrc=-&repo=imported&tag=1&message=by%20hand&changes=CMD%20%5B%22sh%22%5D&changes=ENV%20A=b";
    let lines = daemon.api().request("POST", path, &[], image::busybox_rootfs()).expect(200).json_lines();
    let id = lines.last().expect("a line")["status"].as_str().expect("the id").to_owned();
    assert!(id.starts_with("sha256:"), "{lines:?}");
    let inspect = daemon.api().get("/images/imported:1/json").expect(200).json();
    assert_eq!(inspect["Id"], id.as_str());
    assert_eq!((&inspect["Config"]["Cmd"], &inspect["Config"]["Env"]), (&json!(["sh"]), &json!(["A=b"])));
    assert_eq!(inspect["Comment"], "by hand");
    assert_eq!(daemon.output_of(&["echo", "hi"], json!({"Image": "imported:1"})).out(), "hi\n");
    let gzip = image::compress(image::busybox_rootfs(), Compression::Gzip);
    daemon.api().request("POST", "/images/create?fromSrc=-&repo=imported&tag=gz", &[], &gzip).expect(200);
    assert_eq!(daemon.output_of(&["echo", "hi"], json!({"Image": "imported:gz"})).out(), "hi\n");
}

/// Loads what should not load, and returns the error.
fn refused(daemon: &Daemon, what: &str, archive: &[u8]) -> String {
    let answer = daemon.api().request("POST", "/images/load", &[], archive);
    if answer.status != 200 {
        return answer.message();
    }
    let lines = answer.json_lines();
    let error = lines.last().and_then(|line| line["error"].as_str());
    error.unwrap_or_else(|| panic!("{what} was accepted: {lines:?}")).to_owned()
}

fn evil(layer: Vec<u8>) -> Vec<u8> {
    let layers = [image::busybox_rootfs().to_vec(), layer];
    image::docker_archive(&["evil:1"], &image::busybox_config(), &layers)
}

#[test]
fn broken_archives_are_refused_and_leave_nothing() {
    let daemon = Daemon::start_empty(&[]);
    let good = image::busybox_archive();
    let config = image::busybox_config();
    let cut = &good[..good.len() / 2];
    let cut_gzip = image::compress(&good, Compression::Gzip);
    let lying = {
        let real = image::docker_archive(&["evil:1"], &config, &[Tar::new().file("a", 0o644, b"honest").finish()]);
        // The same length, other bytes: the layer is not what its diff id says.
        let at = real.windows(6).position(|window| window == b"honest").expect("it is there");
        [&real[..at], b"liars!", &real[at + 6..]].concat()
    };
    let missing_layer = {
        let manifest = json!([{"Config": "c.json", "RepoTags": ["evil:1"], "Layers": ["none.tar"]}]).to_string();
        let configuration = image::configuration(&config, &[b"x".to_vec()]);
        Tar::new().file("c.json", 0o644, &configuration).file("manifest.json", 0o644, manifest.as_bytes()).finish()
    };
    let outside = {
        let manifest = json!([{"Config": "../../../etc/passwd", "RepoTags": ["evil:1"], "Layers": []}]).to_string();
        Tar::new().file("manifest.json", 0o644, manifest.as_bytes()).finish()
    };
    let linked = {
        let manifest = json!([{"Config": "c.json", "RepoTags": ["evil:1"], "Layers": []}]).to_string();
        Tar::new().symlink("c.json", "/etc/passwd").file("manifest.json", 0o644, manifest.as_bytes()).finish()
    };
    let cases: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("no tar", b"this is not an archive at all, whatever its length may be"),
        ("a tar without a manifest", &Tar::new().file("hello", 0o644, b"hi").finish()),
        ("half an archive", cut),
        ("half a gzip stream", &cut_gzip[..cut_gzip.len() / 2]),
        ("a layer with another digest", &lying),
        ("a manifest that names no layer", &missing_layer),
        ("a manifest that points outside", &outside),
        ("a configuration that is a link to outside", &linked),
        ("a manifest that is not JSON", &Tar::new().file("manifest.json", 0o644, b"{").finish()),
    ];
    for (what, archive) in cases {
        if !daemon.is_own() && matches!(*what, "nothing" | "no tar") {
            continue; // dockerd says no error
        }
        assert!(!refused(&daemon, what, archive).is_empty(), "{what}");
    }
    daemon.api().get("/images/evil:1/json").expect(404);
    if daemon.is_own() {
        assert_eq!(daemon.api().get("/images/json?all=1").json(), json!([]));
    }
    daemon.api().get("/_ping").expect(200);
}

#[test]
fn layers_that_reach_outside_do_not() {
    use tar::EntryType::{Link, Regular, Symlink};
    let daemon = Daemon::start_empty(&[]);
    let target = tempfile::tempdir().expect("a directory");
    let name = target.path().display().to_string();
    let cases = [
        (
            "a parent path",
            Tar::new().entry(Regular, &format!("../../../../../../../../..{name}/a"), 0o644, "", b"evil"),
        ),
        ("an absolute path", Tar::new().entry(Regular, &format!("{name}/b"), 0o644, "", b"evil")),
        ("a link out, then through it", Tar::new().symlink("out", &name).entry(Regular, "out/c", 0o644, "", b"evil")),
        (
            "a relative link out",
            Tar::new().symlink("up", "../../../../../../../../tmp").entry(
                Regular,
                "up/pinnace-evil",
                0o644,
                "",
                b"evil",
            ),
        ),
        ("a hard link to outside", Tar::new().entry(Link, "hard", 0o644, "/etc/hostname", b"")),
        ("a hard link through a link", Tar::new().symlink("e", "/etc").entry(Link, "hard2", 0o644, "e/hostname", b"")),
        (
            "a link that replaces a directory",
            Tar::new()
                .directory("d", 0o755)
                .entry(Symlink, "d", 0o777, &name, b"")
                .entry(Regular, "d/f", 0o644, "", b"evil"),
        ),
        ("a whiteout of outside", Tar::new().file("../.wh.victim", 0o644, b"")),
        ("a whiteout of everything", Tar::new().file(".wh...", 0o644, b"")),
        ("a whiteout through a link", Tar::new().symlink("w", &name).file("w/.wh.precious", 0o644, b"")),
    ];
    std::fs::write(target.path().join("precious"), "kept").expect("write");
    for (what, layer) in cases {
        // Refused or confined: either is right, as long as nothing outside has changed.
        let answer = daemon.api().request("POST", "/images/load", &[], &evil(layer.finish()));
        let lines = answer.json_lines();
        let found: Vec<_> =
            std::fs::read_dir(target.path()).expect("it is there").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(found, ["precious"], "{what}: {lines:?}");
        assert!(!std::path::Path::new("/tmp/pinnace-evil").exists(), "{what}");
        assert_eq!(
            std::fs::metadata("/etc/hostname").map(|m| std::os::unix::fs::MetadataExt::nlink(&m)).unwrap_or(1),
            1,
            "{what}"
        );
        if answer.status == 200 && lines.last().is_some_and(|line| line["error"].is_null()) {
            daemon.api().delete("/images/evil:1?force=1").expect(200);
        }
    }
    daemon.api().get("/_ping").expect(200);
}

#[test]
fn thirty_layers_are_no_problem() {
    let daemon = Daemon::start_empty(&[]);
    let mut layers = vec![image::busybox_rootfs().to_vec()];
    layers.extend((0..30).map(|n| Tar::new().directory("l", 0o755).file(&format!("l/{n}"), 0o644, b"x").finish()));
    daemon.load(&image::docker_archive(&["deep:1"], &image::busybox_config(), &layers));
    assert_eq!(daemon.sh("ls /l | wc -l", json!({"Image": "deep:1"})).out(), "30\n");
}
