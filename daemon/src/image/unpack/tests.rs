//! Needs root: owners, devices and `trusted.*` attributes are real.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tar::EntryType;

use super::super::testing::{TarBytes, listing, pax_record};
use super::*;

/// A directory to unpack into, beside a directory that must never change.
struct Scratch {
    top: tempfile::TempDir,
    before: Vec<String>,
}

impl Scratch {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        for name in ["layer", "discard", "canary", "canary/sub"] {
            std::fs::create_dir(top.path().join(name)).unwrap();
        }
        std::fs::write(top.path().join("canary/file"), "untouched").unwrap();
        let before = listing(&top.path().join("canary"));
        Self { top, before }
    }

    fn layer(&self) -> PathBuf {
        self.top.path().join("layer")
    }

    fn open(path: &Path) -> OwnedFd {
        OwnedFd::from(File::open(path).unwrap())
    }

    fn unpack(&self, tar: &[u8]) -> Result<u64, UnpackError> {
        self.unpack_over(tar, &[])
    }

    fn unpack_over(&self, tar: &[u8], lowers: &[OwnedFd]) -> Result<u64, UnpackError> {
        let discard = Self::open(&self.top.path().join("discard"));
        let result = unpack(&mut TarReader::new(tar), Self::open(&self.layer()), discard, lowers);
        assert_eq!(listing(&self.top.path().join("canary")), self.before, "the canary was touched");
        result
    }

    fn canary(&self) -> String {
        self.top.path().join("canary").to_str().unwrap().to_owned()
    }

    fn opaque(&self, path: &str) -> bool {
        let mut value = [0; 8];
        rustix::fs::getxattr(self.layer().join(path), c"trusted.overlay.opaque", &mut value[..]) == Ok(1)
            && value[0] == b'y'
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let meta = std::fs::symlink_metadata(self.layer().join(path)).unwrap();
        meta.file_type().is_char_device() && meta.rdev() == 0
    }
}

#[test]
fn every_kind_of_object_gets_its_metadata() {
    let scratch = Scratch::new();
    let owned = |mode: u32| {
        move |header: &mut tar::Header| {
            header.set_mode(mode);
            header.set_uid(1234);
            header.set_gid(70_000);
        }
    };
    let device = |header: &mut tar::Header| {
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_mode(0o666);
    };
    let tar = TarBytes::new()
        .member(b"./", EntryType::Directory, b"", |header| header.set_mode(0o711))
        .member(b"bin/", EntryType::Directory, b"", owned(0o2755))
        .member(b"bin/su", EntryType::Regular, b"#!", owned(0o4755))
        .hard_link("bin/su2", "bin/su")
        .symlink("link", "bin/su")
        .hard_link("link2", "./link")
        .member(b"null", EntryType::Char, b"", device)
        .member(b"disk", EntryType::Block, b"", device)
        .member(b"pipe", EntryType::Fifo, b"", owned(0o622))
        .pax(&[
            ("mtime", b"1600000000.123456789"),
            ("SCHILY.xattr.user.note", b"a\0b"),
            ("path", "nöt/\u{fffd}".as_bytes()),
        ])
        .file("ignored", b"x")
        .member(b"raw\xff\xfe", EntryType::Regular, b"", |_| {})
        .finish();
    assert_eq!(scratch.unpack(&tar).unwrap(), 2 + 6 + 1);

    let meta = |path: &str| std::fs::symlink_metadata(scratch.layer().join(path)).unwrap();
    assert_eq!(meta("").mode() & 0o7777, 0o711);
    assert_eq!(meta("bin").mode() & 0o7777, 0o2755);
    assert_eq!(meta("bin").mtime(), 1_700_000_000, "making things in it must not change a directory's time");
    let su = meta("bin/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 1234, 70_000, 2));
    assert_eq!(meta("bin/su2").ino(), su.ino());
    assert_eq!(meta("link2").ino(), meta("link").ino());
    assert!(meta("link").is_symlink());
    assert_eq!(meta("link").mtime(), 1_700_000_000);
    assert!(meta("null").file_type().is_char_device());
    assert_eq!((meta("null").rdev(), meta("null").mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    assert!(meta("disk").file_type().is_block_device());
    assert!(meta("pipe").file_type().is_fifo());
    assert_eq!(meta("pipe").uid(), 1234);
    let note = meta("nöt/\u{fffd}");
    assert_eq!((note.mtime(), note.mtime_nsec()), (1_600_000_000, 123_456_789));
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(scratch.layer().join("nöt/\u{fffd}"), c"user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"a\0b");
    let raw: &OsStr = OsStr::from_bytes(b"raw\xff\xfe");
    assert!(scratch.layer().join(raw).exists());
}

#[test]
fn nothing_outside_is_reached_by_any_known_trick() {
    let deep = (0..300).fold(TarBytes::new(), |tar, n| {
        let link = if n == 0 { "/".to_owned() } else { format!("l{}/..", n - 1) };
        tar.symlink(&format!("l{n}"), &link)
    });
    let absolute = |scratch: &Scratch, path: &str| format!("{}{path}", scratch.canary());
    type Make = Box<dyn Fn(&Scratch) -> Vec<u8>>;
    let corpus: Vec<(&str, Make)> = vec![
        ("parent references", Box::new(|_| TarBytes::new().file("../canary/file", b"x").finish())),
        ("inner parent references", Box::new(|_| TarBytes::new().file("a/../../canary/file", b"x").finish())),
        ("absolute name", Box::new(move |s| TarBytes::new().file(&absolute(s, "/file"), b"x").finish())),
        ("link to a directory, then a file in it", {
            Box::new(move |s| TarBytes::new().symlink("a", &s.canary()).file("a/file", b"x").finish())
        }),
        ("relative link, then a file in it", {
            Box::new(|_| TarBytes::new().symlink("a", "../canary").file("a/file", b"x").finish())
        }),
        (
            "link to a link",
            Box::new(|_| TarBytes::new().symlink("a", "b").symlink("b", "../canary").file("a/file", b"x").finish()),
        ),
        ("file over a link to a file", {
            Box::new(|_| TarBytes::new().symlink("a", "../canary/file").file("a", b"x").finish())
        }),
        ("directory over a link", {
            Box::new(|_| TarBytes::new().symlink("a", "../canary").directory("a", 0o777).file("a/file", b"x").finish())
        }),
        ("mode through a link", {
            Box::new(|_| {
                TarBytes::new().symlink("a", "../canary").directory("a/", 0o777).directory("a/sub/", 0o777).finish()
            })
        }),
        ("hard link to outside", Box::new(|_| TarBytes::new().hard_link("a", "../canary/file").finish())),
        ("absolute hard link", Box::new(move |s| TarBytes::new().hard_link("a", &absolute(s, "/file")).finish())),
        (
            "hard link through a link",
            Box::new(|_| TarBytes::new().symlink("a", "../canary").hard_link("b", "a/file").file("b", b"x").finish()),
        ),
        (
            "hard link to a link, then written",
            Box::new(|_| TarBytes::new().symlink("a", "../canary/file").hard_link("b", "a").file("b", b"x").finish()),
        ),
        (
            "whiteout through a link",
            Box::new(|_| TarBytes::new().symlink("a", "../canary").file("a/.wh.file", b"").finish()),
        ),
        (
            "opaque through a link",
            Box::new(|_| TarBytes::new().symlink("a", "../canary").file("a/.wh..wh..opq", b"").finish()),
        ),
        ("whiteout of the parent", Box::new(|_| TarBytes::new().file("a/.wh..", b"").finish())),
        ("whiteout of the grandparent", Box::new(|_| TarBytes::new().file("a/.wh...", b"").finish())),
        ("directory called whiteout", Box::new(|_| TarBytes::new().file(".wh./x", b"").finish())),
        (
            "device over a link",
            Box::new(|_| {
                TarBytes::new()
                    .symlink("a", "../canary/file")
                    .member(b"a", EntryType::Char, b"", |header| {
                        header.set_device_major(1).unwrap();
                        header.set_device_minor(3).unwrap();
                    })
                    .finish()
            }),
        ),
        ("three hundred links", Box::new(move |_| deep.clone().file("l299/canary/file", b"x").finish())),
        (
            "PAX name with parents",
            Box::new(|_| TarBytes::new().pax(&[("path", b"../canary/file")]).file("a", b"x").finish()),
        ),
        (
            "GNU name with parents",
            Box::new(|_| {
                TarBytes::new()
                    .member(b"././@LongLink", EntryType::GNULongName, b"../canary/file\0", |_| {})
                    .file("a", b"x")
                    .finish()
            }),
        ),
        ("root as a link", Box::new(|_| TarBytes::new().symlink("./", "../canary").file("file", b"x").finish())),
        ("magic link", Box::new(|_| TarBytes::new().symlink("a", "/proc/self/cwd").file("a/file", b"x").finish())),
        ("name with a NUL", Box::new(|_| TarBytes::new().pax(&[("path", b"a\0b")]).file("a", b"x").finish())),
    ];
    for (name, make) in corpus {
        let scratch = Scratch::new();
        let tar = make(&scratch);
        // Refused or unpacked inside; `unpack` looks at the canary.
        let result = scratch.unpack(&tar);
        let refused = name.contains("parent") || name.contains("hard link to outside") || name.contains("NUL");
        assert!(result.is_err() || !refused, "{name}: {result:?}");
    }
}

#[test]
fn links_inside_the_layer_lead_where_they_lead_in_a_container() {
    let scratch = Scratch::new();
    let tar = TarBytes::new().directory("usr/lib", 0o755).symlink("lib", "/usr/lib").file("lib/a.so", b"x").finish();
    scratch.unpack(&tar).unwrap();
    assert_eq!(std::fs::read(scratch.layer().join("usr/lib/a.so")).unwrap(), b"x");
}

#[test]
fn later_entries_replace_earlier_ones_and_directories_merge() {
    let scratch = Scratch::new();
    let tar = TarBytes::new()
        .file("a", b"first")
        .file("a", b"2nd")
        .directory("d/e", 0o755)
        .file("d/e/f", b"gone")
        .file("d", b"file now")
        .directory("kept", 0o700)
        .file("kept/f", b"kept")
        .directory("kept", 0o750)
        .symlink("s", "a")
        .directory("s", 0o755)
        .hard_link("a", "a")
        .finish();
    assert_eq!(scratch.unpack(&tar).unwrap(), 3 + 8 + 4);
    assert_eq!(std::fs::read(scratch.layer().join("a")).unwrap(), b"2nd");
    assert_eq!(std::fs::read(scratch.layer().join("d")).unwrap(), b"file now");
    assert_eq!(std::fs::read(scratch.layer().join("kept/f")).unwrap(), b"kept");
    assert_eq!(std::fs::metadata(scratch.layer().join("kept")).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(std::fs::symlink_metadata(scratch.layer().join("s")).unwrap().is_dir());
}

#[test]
fn whiteouts_become_what_overlayfs_understands() {
    let scratch = Scratch::new();
    let tar = TarBytes::new()
        .file("a/.wh.gone", b"")
        .file("b/.wh..wh..opq", b"")
        .file("b/new", b"x")
        .file(".wh..wh.plnk/1.2", b"")
        .file(".wh.again", b"")
        .file("again/child", b"x")
        .file(".wh.entry", b"")
        .directory("entry", 0o755)
        .directory("own", 0o755)
        .file("own/f", b"x")
        .file(".wh.own", b"")
        .file("file", b"x")
        .file(".wh.file", b"")
        .finish();
    scratch.unpack(&tar).unwrap();
    assert!(scratch.is_whiteout("a/gone"));
    assert!(scratch.opaque("b"));
    assert!(!scratch.layer().join(".wh..wh.plnk").exists());
    assert!(scratch.opaque("again"), "what was removed must not shine through the directory that replaces it");
    assert!(scratch.opaque("entry"));
    assert!(scratch.opaque("own"), "a whiteout concerns the layers below only");
    assert!(scratch.layer().join("own/f").exists());
    assert_eq!(std::fs::read(scratch.layer().join("file")).unwrap(), b"x");
    assert!(!scratch.opaque("a"));
}

#[test]
fn overlay_attributes_labels_and_whiteout_devices_cannot_be_smuggled_in() {
    let scratch = Scratch::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = TarBytes::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
            ("SCHILY.xattr.user.kept", b"1"),
        ])
        .directory("d", 0o755)
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .file("ping", b"x")
        .pax(&[("SCHILY.xattr.security.capability", b"nonsense")])
        .file("pong", b"x")
        .finish();
    scratch.unpack(&tar).unwrap();
    let names = |path: &str| {
        let mut names = vec![0; 1024];
        let length = rustix::fs::listxattr(scratch.layer().join(path), &mut names[..]).unwrap();
        String::from_utf8(names[..length].to_vec()).unwrap()
    };
    assert_eq!(names("d"), "user.kept\0");
    assert_eq!(names("ping"), "security.capability\0");
    assert_eq!(names("pong"), "");

    let tar = TarBytes::new().member(b"hidden", EntryType::Char, b"", |_| {}).finish();
    let scratch = Scratch::new();
    assert!(matches!(scratch.unpack(&tar), Err(UnpackError::ReservedDevice { .. })));
    let tar = TarBytes::new().file(".wh.a", b"").hard_link("b", "a").finish();
    assert!(matches!(Scratch::new().unpack(&tar), Err(UnpackError::HardLink { .. })));
}

#[test]
fn an_implied_directory_keeps_the_mode_and_owner_that_it_has_below() {
    let lower = Scratch::new();
    let tmp = |header: &mut tar::Header| {
        header.set_mode(0o1777);
        header.set_uid(7);
    };
    lower.unpack(&TarBytes::new().member(b"tmp/", EntryType::Directory, b"", tmp).finish()).unwrap();
    let lowers = [Scratch::open(&lower.layer())];
    let scratch = Scratch::new();
    scratch.unpack_over(&TarBytes::new().file("tmp/sub/f", b"x").finish(), &lowers).unwrap();
    let meta = std::fs::metadata(scratch.layer().join("tmp")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o1777, 7));
    assert_eq!(std::fs::metadata(scratch.layer().join("tmp/sub")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn opaque_markers_by_the_hundred_thousand_take_linear_time() {
    let time = |count: u32| {
        let tar = (0..count).fold(TarBytes::new(), |tar, _| tar.file("d/.wh..wh..opq", b"")).finish();
        let begun = std::time::Instant::now();
        Scratch::new().unpack(&tar).unwrap();
        begun.elapsed()
    };
    // Ten times as many: linear work takes ten times as long, quadratic work a hundred times. Between the two is room for
    // a busy machine.
    let (few, many) = (time(20_000), time(200_000));
    assert!(many < few * 40, "{few:?}, {many:?}");
}

#[test]
fn broken_headers_are_refused() {
    let sparse_bomb = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"9"),
        ("GNU.sparse.name", b"s"),
    ];
    let mut map = b"1099511627776\n".to_vec();
    map.resize(512, b'0');
    for (name, tar) in [
        ("checksum", TarBytes::new().file("a", b"x").raw(&[1; 512]).finish()),
        ("block after a lone zero block", TarBytes::new().raw(&[0; 512]).file("a", b"x").finish()),
        ("directory with data", TarBytes::new().member(b"d", EntryType::Directory, b"data", |_| {}).finish()),
        ("unknown type", TarBytes::new().member(b"d", EntryType::new(b'Q'), b"", |_| {}).finish()),
        ("a PAX header that claims a terabyte", {
            TarBytes::new().member(b"x", EntryType::XHeader, b"", |header| header.set_size(1 << 40)).finish()
        }),
        ("PAX and GNU names", {
            TarBytes::new()
                .pax(&[("path", b"a")])
                .member(b"l", EntryType::GNULongName, b"b\0", |_| {})
                .file("c", b"")
                .finish()
        }),
        ("two PAX headers", TarBytes::new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("c", b"").finish()),
        ("a sparse map of a million million regions", TarBytes::new().pax(&sparse_bomb).file("s", &map).finish()),
        ("sparse regions beyond the file", {
            TarBytes::new()
                .pax(&[("GNU.sparse.map", b"0,10"), ("GNU.sparse.size", b"5")])
                .file("s", b"0123456789")
                .finish()
        }),
        ("sparse regions that overlap", {
            TarBytes::new()
                .pax(&[("GNU.sparse.map", b"0,5,2,5"), ("GNU.sparse.size", b"50")])
                .file("s", b"0123456789")
                .finish()
        }),
        ("a PAX size larger than the archive", TarBytes::new().pax(&[("size", b"999999")]).file("s", b"x").finish()),
        ("an owner out of range", TarBytes::new().pax(&[("uid", b"4294967296")]).file("s", b"x").finish()),
        ("a name that is too long", TarBytes::new().pax(&[("path", &[b'a'; 300])]).file("s", b"x").finish()),
    ] {
        let result = Scratch::new().unpack(&tar);
        assert!(result.as_ref().is_err_and(|error| !error.is_internal()), "{name}: {result:?}");
    }
}

#[test]
fn the_size_in_a_pax_record_counts_when_the_header_says_otherwise() {
    // A reader that believes the header takes the data for the next header.
    let inner = TarBytes::new().file("smuggled", b"x").unfinished();
    let tar = TarBytes::new()
        .pax(&[("size", inner.len().to_string().as_bytes())])
        .member(b"outer", EntryType::Regular, &inner, |header| header.set_size(0))
        .finish();
    let scratch = Scratch::new();
    scratch.unpack(&tar).unwrap();
    assert_eq!(std::fs::read(scratch.layer().join("outer")).unwrap(), inner);
    assert!(!scratch.layer().join("smuggled").exists());
}

#[test]
fn truncation_anywhere_inside_a_member_is_an_error() {
    let tar = TarBytes::new().file("a", &[7; 3000]).directory("d", 0o755).file("d/b", &[8; 700]).unfinished();
    let starts = [0, 512 + 3072, 1024 + 3072, tar.len()];
    for cut in (0..=tar.len()).step_by(100).chain(starts) {
        let result = Scratch::new().unpack(&tar[..cut]);
        assert_eq!(result.is_ok(), starts.contains(&cut), "cut at {cut}: {result:?}");
    }
}

/// What GNU tar makes of the same archive is the measure.
#[test]
fn a_tree_packed_by_gnu_tar_comes_back_as_gnu_tar_unpacks_it() {
    let source = tempfile::tempdir().unwrap();
    let script = r#"
        set -e; umask 022
        mkdir -p etc usr/bin "sp ace/ü" deep/$(printf 'n%.0s' $(seq 200))/$(printf 'm%.0s' $(seq 200)) empty
        echo root:x:0:0 > etc/passwd; chmod 640 etc/passwd; chown 5:42 etc/passwd
        head -c 300000 /dev/urandom > usr/bin/big; chmod 4755 usr/bin/big
        ln usr/bin/big usr/bin/hard; ln -s ../bin/big usr/bin/soft; ln -s /nowhere/at/all dangling
        ln -P dangling dangling2
        : > "sp ace/ü/$(printf '\377\376')"
        : > "$(echo deep/n*/m*)/$(printf 'o%.0s' $(seq 200))"
        truncate -s 5M holes; printf data | dd of=holes bs=1 seek=2500000 conv=notrunc 2>/dev/null
        printf end | dd of=holes bs=1 seek=5242877 conv=notrunc 2>/dev/null
        for n in $(seq 0 40); do printf x | dd of=many bs=1 seek=$((n * 70000)) conv=notrunc 2>/dev/null; done
        mkfifo -m 620 pipe; mknod -m 600 null c 1 3; mknod -m 660 disk b 7 200
        chmod 1777 empty; chown 1000:3000000 empty
        touch -d '2001-02-03 04:05:06.789012345' etc/passwd deep; touch -h -d '1999-01-01' dangling
        touch -d '1969-12-31 23:00:00 UTC' usr/bin; touch -d '2040-01-01' etc
    "#;
    let done = Command::new("sh").args(["-c", script]).current_dir(source.path()).status().unwrap();
    assert!(done.success());
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (path, name, value) in
        [("etc/passwd", c"user.note", &b"value"[..]), ("usr/bin/big", c"security.capability", &capability)]
    {
        rustix::fs::setxattr(source.path().join(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    for format in ["gnu", "posix", "oldgnu"] {
        for sparse in
            [&["--sparse"][..], &["--sparse", "--sparse-version=0.0"], &["--sparse", "--sparse-version=0.1"], &[]]
        {
            if format != "posix" && sparse.len() == 2 {
                continue;
            }
            let xattrs: &[&str] = if format == "posix" { &["--xattrs", "--xattrs-include=*"] } else { &[] };
            let packed = Command::new("tar")
                .args(["-c", "--numeric-owner", &format!("--format={format}")])
                .args(sparse)
                .args(xattrs)
                .args(["-C", source.path().to_str().unwrap(), "."])
                .output()
                .unwrap();
            assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));

            let expected = tempfile::tempdir().unwrap();
            let archive = source.path().with_extension("tar");
            std::fs::write(&archive, &packed.stdout).unwrap();
            let unpacked = Command::new("tar")
                .args(["-x", "-p", "--numeric-owner", "-C", expected.path().to_str().unwrap(), "-f"])
                .arg(&archive)
                .args(xattrs)
                .status()
                .unwrap();
            std::fs::remove_file(&archive).unwrap();
            assert!(unpacked.success());

            let scratch = Scratch::new();
            scratch.unpack(&packed.stdout).unwrap_or_else(|error| panic!("{format} {sparse:?}: {error}"));
            assert_eq!(listing(&scratch.layer()), listing(expected.path()), "{format} {sparse:?}");
            let blocks = |root: &Path| std::fs::metadata(root.join("holes")).unwrap().blocks();
            assert!(sparse.is_empty() || blocks(&scratch.layer()) < 100, "holes were filled");
        }
    }
}

/// What overlayfs shows of two layers, mounted in a namespace that ends with the command.
#[test]
fn overlayfs_shows_what_the_archives_say() {
    let (lower, upper) = (Scratch::new(), Scratch::new());
    let tar = ["kept", "gone", "dir/gone", "opaque/gone", "again/gone", "dir/kept"]
        .iter()
        .fold(TarBytes::new(), |tar, path| tar.file(path, b"x"));
    lower.unpack(&tar.symlink("link", "kept").finish()).unwrap();
    let tar = TarBytes::new()
        .file(".wh.gone", b"")
        .file("dir/.wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"x")
        .file(".wh.again", b"")
        .file("again/new", b"x")
        .file(".wh.link", b"")
        .finish();
    upper.unpack_over(&tar, &[Scratch::open(&lower.layer())]).unwrap();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={}:{} /mnt && cd /mnt && find . | sort | tr '\\n' ' '",
        upper.layer().display(),
        lower.layer().display()
    );
    let shown = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        ". ./again ./again/new ./dir ./dir/kept ./kept ./opaque ./opaque/new ",
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
}

/// One entry of a random archive, made of few names so that entries meet.
fn entry() -> impl Strategy<Value = (u8, String, String)> {
    let name =
        prop::sample::select(vec!["a", "b", "c", "..", ".", ".wh.a", ".wh.b", ".wh..wh..opq", "canary", "file", ""]);
    let path = || prop::collection::vec(name.clone(), 1..4).prop_map(|parts| parts.join("/"));
    let target = prop_oneof![
        path(),
        path().prop_map(|path| format!("/{path}")),
        Just("../canary".to_owned()),
        Just("/".to_owned())
    ];
    (0..7_u8, path(), target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_archives_never_touch_what_is_outside(entries in prop::collection::vec(entry(), 1..24)) {
        let scratch = Scratch::new();
        for (kind, path, target) in &entries {
            let tar = TarBytes::new();
            let tar = match kind {
                0 | 1 => tar.file(path, b"data"),
                2 => tar.directory(path, 0o777),
                3 | 4 => tar.symlink(path, target),
                5 => tar.hard_link(path, target),
                _ => tar.member(path.as_bytes(), EntryType::Fifo, b"", |_| {}),
            };
            // One at a time, so that one refused entry does not keep the others from being tried.
            drop(scratch.unpack(&tar.finish()));
        }
    }

    #[test]
    fn damaged_archives_never_panic(position in 0..4000_usize, value: u8, cut in 0..4000_usize) {
        let mut tar = TarBytes::new()
            .pax(&[("path", b"long"), ("SCHILY.xattr.user.a", b"b")])
            .file("a", &[7; 600])
            .symlink("l", "a")
            .hard_link("h", "a")
            .finish();
        let length = tar.len();
        tar[position % length] = value;
        drop(Scratch::new().unpack(&tar[..length - cut % length]));
    }
}

#[test]
fn records_know_their_own_length() {
    assert_eq!(pax_record("path", b"ab"), b"11 path=ab\n");
    assert_eq!(pax_record("k", &[b'v'; 93]).len(), 99);
}
