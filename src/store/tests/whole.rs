//! A whole platform in one file, and back: what is in it, who may read it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::store::whole::{Manifest, WholeError, WithMirror, back_up_all, restore_all};

/// A data directory that was lived in, and where backups go.
struct House {
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let store = Store::open(&data.database_path()).unwrap();
        drop((store, data));
        let house = Self { folder };
        for (name, text) in [
            ("mirror/HEAD", "ref: refs/heads/main\n"),
            ("mirror/refs/flagops/pins/x", "0123\n"),
            ("mirror/refs/flagops/pins/x.lock", "half"),
            ("mirror/objects/ab/cdef", "an object"),
            ("mirror/objects/pack/tmp_pack_1", "half an object"),
            ("instances/x/attachments/0", "rendered"),
        ] {
            let path = house.data().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        house
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn archive(&self) -> std::path::PathBuf {
        self.folder.path().join("all.tar")
    }

    fn back_up(&self, mirror: WithMirror) -> Manifest {
        back_up_all(&self.data(), &self.archive(), mirror, at(1_795_000_000)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn copy_name() -> String {
    format!("backups/flagops-{}.db", at(1_795_000_000).rfc3339().replace(':', "-"))
}

#[test]
fn everything_that_cannot_be_made_again_is_in_it_and_nothing_else() {
    let house = House::new();
    let manifest = house.back_up(WithMirror::Yes);
    let mut names: Vec<_> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    let copy = copy_name();
    let wanted = [
        "admin.token",
        "answers.key",
        copy.as_str(),
        "installation",
        "mirror/HEAD",
        "mirror/objects/ab/cdef",
        "mirror/refs/flagops/pins/x",
    ];
    assert_eq!(names, wanted);
    let mode = fs::metadata(house.archive()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "it holds keys");
    assert_eq!(house.names(), ["all.tar", "data"], "nothing is left beside it");
    let again = back_up_all(&house.data(), &house.archive(), WithMirror::Yes, at(2));
    assert!(matches!(again, Err(WholeError::Taken { .. })), "{again:?}");
    let nothing = back_up_all(house.folder.path(), &house.data().join("x"), WithMirror::Yes, at(2));
    assert!(matches!(nothing, Err(WholeError::NotOurs { .. })), "{nothing:?}");
}

#[tokio::test]
async fn what_was_acknowledged_before_is_there_afterwards_and_the_start_says_what_is_lost() {
    let house = House::new();
    let path = house.data().join("flagops.db");
    let store = Store::open(&path).unwrap();
    store.insert_instance(new_instance(1)).await.unwrap();
    // Beside an open database, as with a daemon that runs.
    let manifest = house.back_up(WithMirror::No);
    assert!(manifest.files.iter().all(|file| !file.name.starts_with("mirror")));
    store.insert_instance(new_instance(2)).await.unwrap();
    drop(store);
    let before = fs::read(house.data().join("answers.key")).unwrap();
    fs::remove_dir_all(house.data()).unwrap();
    assert_eq!(restore_all(&house.archive(), &house.data()).unwrap(), manifest);
    assert_eq!(house.names(), ["all.tar", "data"]);
    let data = DataDir::open(&house.data()).unwrap();
    assert!(!data.was_created());
    assert_eq!(data.installation().to_string(), manifest.installation);
    assert_eq!(fs::read(house.data().join("answers.key")).unwrap(), before);
    let (store, loss) =
        Store::open_or_restore(&path, &data.backups_path(), at(1_795_000_100)).unwrap();
    assert_eq!(loss.unwrap().backup.unwrap().at, at(1_795_000_000));
    assert!(store.instance(instance_id(1)).await.unwrap().is_some());
    assert!(store.instance(instance_id(2)).await.unwrap().is_none(), "it came later");
}

#[test]
fn an_archive_that_is_cut_off_or_changed_anywhere_restores_nothing() {
    let house = House::new();
    house.back_up(WithMirror::Yes);
    let whole = fs::read(house.archive()).unwrap();
    fs::remove_dir_all(house.data()).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(house.archive(), bytes).unwrap();
        let error = restore_all(&house.archive(), &house.data()).unwrap_err();
        assert!(!house.data().exists(), "{error}");
        assert_eq!(house.names(), ["all.tar"], "nothing is left: {error}");
        error.to_string()
    };
    for n_bytes in [0, 100, 512, 5000, whole.len() / 2, whole.len() - 3000] {
        refused(&whole[..n_bytes]);
    }
    let position =
        |needle: &[u8]| whole.windows(needle.len()).position(|window| window == needle).unwrap();
    let mut changed = whole.clone();
    changed[position(b"an object")] ^= 1;
    assert!(refused(&changed).contains("`mirror/objects/ab/cdef` is not what its manifest says"));
    let mut newer = whole.clone();
    let format = position(b"\"format\": 1");
    newer[format + 10] = b'2';
    assert!(refused(&newer).contains("it was made by flagops"));
    fs::write(house.archive(), &whole).unwrap();
    restore_all(&house.archive(), &house.data()).unwrap();
    let again = restore_all(&house.archive(), &house.data());
    assert!(matches!(again, Err(WholeError::Taken { .. })), "{again:?}");
}

#[test]
fn an_archive_with_a_strange_file_writes_nothing_outside() {
    let house = House::new();
    let archive = |name: &str, kind: tar::EntryType| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o777);
        header.set_entry_type(kind);
        // As no honest writer would spell it.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        builder.into_inner().unwrap()
    };
    let (regular, link) = (tar::EntryType::Regular, tar::EntryType::Symlink);
    let target = house.folder.path().join("new");
    for (name, kind) in [
        ("../escaped", regular),
        ("/tmp/flagops-escaped", regular),
        ("mirror/../../escaped", regular),
        ("flagops.db", regular),
        ("backups/other.db", regular),
        ("mirror", regular),
        ("mirror/objects/x", link),
        ("mirror/objects/y", tar::EntryType::Directory),
    ] {
        fs::write(house.archive(), archive(name, kind)).unwrap();
        let error = restore_all(&house.archive(), &target).unwrap_err();
        assert!(error.to_string().contains("no part of a backup"), "{name}: {error}");
        assert!(!target.exists() && !house.folder.path().join("escaped").exists(), "{name}");
        assert!(!Path::new("/tmp/flagops-escaped").exists());
    }
}

#[test]
fn an_empty_data_directory_may_be_there() {
    let house = House::new();
    house.back_up(WithMirror::Yes);
    let target = house.folder.path().join("new");
    fs::create_dir(&target).unwrap();
    restore_all(&house.archive(), &target).unwrap();
    assert!(target.join("mirror/objects/ab/cdef").is_file());
    assert!(!target.join("flagops.db").exists(), "the start puts the copy into place");
    let mode = fs::metadata(&target).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}
