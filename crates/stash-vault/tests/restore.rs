//! A tree comes back file by file: what fails is named by its key, and all else is there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::torture::compare;
use crate::common::{Place, close, files, forge, get, noise, put, vault};
use stash_vault::{Class, GetOptions, GetReport, Node, Progress};

async fn got(node: &Node, name: &str, out: &Path, options: GetOptions) -> GetReport {
    vault(node).get_path(name, Some(out), options, &Progress::new()).await.unwrap()
}

fn keys(report: &GetReport) -> Vec<&str> {
    report.failures.iter().map(|failure| failure.key.as_str()).collect()
}

/// The keys of what lies below a directory of the tree and not below one of the output.
fn missing(tree: &Path, out: &Path) -> Vec<String> {
    let below = |dir: &Path| -> BTreeSet<PathBuf> {
        files(dir).iter().map(|path| path.strip_prefix(dir).unwrap().to_owned()).collect()
    };
    let missing = below(tree).difference(&below(out)).cloned().collect::<Vec<_>>();
    missing.iter().map(|path| format!("t/{}", path.display())).collect()
}

/// Flips a byte of a file.
fn damage(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 1000).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_a_tree_is_named_and_the_rest_comes_back() {
    let place = Place::new();
    let node = place.founder().await;
    let (tree, out) = (place.path("t"), place.path("out"));
    for i in 0..20 {
        place.file(&format!("t/small/{i}"), &noise(100 + i, i as u64));
        place.file(&format!("t/large/{i}"), &noise(200_000, 100 + i as u64));
    }
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o750)).unwrap();
    put(&node, &tree).await;
    let chunks = files(&place.path("founder/store/chunks"));
    assert_eq!(chunks.len(), 20);
    damage(&chunks[3]);
    let long = format!("t/small/{}", "n".repeat(300));
    forge(&place, &node, &long, |_| {}).await;

    let report = got(&node, "t", &out, GetOptions::default()).await;
    assert_eq!((report.files, report.failed), (39, 2), "{:?}", report.failures);
    assert_eq!(report.class(), Some(Class::Integrity));
    let mut lost = missing(&tree, &out);
    assert_eq!(lost.len(), 1);
    lost.push(long);
    assert_eq!(keys(&report), lost);
    assert!(report.failures[0].why.contains("damaged here"), "{:?}", report.failures);
    assert!(report.failures[1].why.contains("name too long"), "{:?}", report.failures);
    assert!(files(&out).iter().all(|path| !path.to_string_lossy().contains(".stash-")));
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    // The next time it is known to be damaged, and still no wrong byte comes.
    let again = place.path("again");
    let report = got(&node, "t/large", &again, GetOptions::default()).await;
    assert_eq!((report.files, report.class()), (19, Some(Class::Integrity)));
    fs::remove_file(tree.join(lost[0].strip_prefix("t/").unwrap())).unwrap();
    compare_contents(&tree, &out);
    close(node).await;
}

fn compare_contents(tree: &Path, out: &Path) {
    let (before, after) = (files(tree), files(out));
    assert_eq!(before.len(), after.len());
    for (one, two) in before.iter().zip(&after) {
        assert_eq!(one.strip_prefix(tree).unwrap(), two.strip_prefix(out).unwrap());
        assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "{}", one.display());
    }
}

/// A first name that does not come back leaves the others to be files of their own.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_file_come_back_also_where_the_first_of_them_cannot() {
    let place = Place::new();
    let node = place.founder().await;
    let first = place.file("t/a/f", &noise(200_000, 1));
    for name in ["b", "c", "d"] {
        fs::hard_link(&first, place.path("t").join(name)).unwrap();
    }
    put(&node, &place.path("t")).await;
    // A file has the name of the directory of the first.
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let options = GetOptions { overwrite: true, ..GetOptions::default() };
    fs::write(out.join("a"), b"mine").unwrap();
    let report = got(&node, "t", &out, options).await;
    assert_eq!(keys(&report), ["t/a", "t/a/f"]);
    assert_eq!(report.class(), Some(Class::Refused));
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| out.join(name).metadata().unwrap().ino();
    assert_eq!((inode("b"), inode("c")), (inode("c"), inode("d")));
    assert_eq!(fs::read(out.join("b")).unwrap(), fs::read(&first).unwrap());
    assert_eq!(fs::read(out.join("a")).unwrap(), b"mine");
    get(&node, "t", &place.path("whole")).await;
    compare(&place.path("t"), &place.path("whole"));
    close(node).await;
}
