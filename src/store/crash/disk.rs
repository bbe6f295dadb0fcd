//! A disk as it may be after a power cut: built from what a program did, some of it lost.
//!
//! On the disk is what was synced: content and length of a file by msync or fsync, names by fsync
//! of their directory. Of the rest each page may be there as it was at any moment since, or be
//! mixed of sectors of several moments; of the changes of one directory the first so many are
//! there, as journals of file systems have it, while directories and files know nothing of each
//! other.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::store::mapped::PAGE_BYTES;
use crate::sys::faults::Change;

const PAGE: u64 = PAGE_BYTES as u64;
/// What a disk writes whole.
const SECTOR: usize = 512;

/// Numbers that look random and are the same in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        numbers.below(1);
        numbers
    }

    /// One of 0 to `end` - 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    /// Whether one of `of` draws wins.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Nothing: only the process ended.
    Nothing,
    Everything,
    /// As the numbers say.
    Some,
}

type Id = usize;
/// New values of names, made as one change.
type Renaming = Vec<(String, Option<Id>)>;

#[derive(Default)]
struct Dir {
    on_disk: BTreeMap<String, Id>,
    since: Vec<Renaming>,
}

impl Dir {
    /// The names after the first `count` changes that are not synced.
    fn after(&self, count: usize) -> BTreeMap<String, Id> {
        let mut names = self.on_disk.clone();
        for (name, id) in self.since[..count].iter().flatten() {
            match id {
                Some(id) => names.insert(name.clone(), *id),
                None => names.remove(name),
            };
        }
        names
    }

    fn now(&self) -> BTreeMap<String, Id> {
        self.after(self.since.len())
    }
}

type Page = Box<[u8; PAGE_BYTES]>;

/// The first of each list is on the disk, the last is what the program sees.
struct File {
    lengths: Vec<u64>,
    pages: BTreeMap<u64, Vec<Page>>,
}

enum Node {
    Dir(Dir),
    File(File),
}

/// Everything below one directory, which itself is on the disk.
pub struct Disk {
    root: PathBuf,
    nodes: HashMap<Id, Node>,
}

const ROOT: Id = 0;

impl Disk {
    /// The disk with what the directory `root` holds.
    pub fn of(root: &Path) -> Disk {
        let mut disk = Disk { root: root.to_owned(), nodes: HashMap::new() };
        disk.load(root);
        disk
    }

    fn load(&mut self, path: &Path) -> Id {
        let id = self.nodes.len();
        if path.is_file() {
            let bytes = fs::read(path).unwrap();
            let mut file = File { lengths: vec![0], pages: BTreeMap::new() };
            file.write(0, &bytes);
            file.sync(0, u64::MAX);
            self.nodes.insert(id, Node::File(file));
            return id;
        }
        self.nodes.insert(id, Node::Dir(Dir::default()));
        let mut on_disk = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            on_disk.insert(name, self.load(&entry.path()));
        }
        self.nodes.insert(id, Node::Dir(Dir { on_disk, since: Vec::new() }));
        id
    }

    /// The program goes on with the same files elsewhere.
    pub fn move_to(&mut self, root: &Path) {
        self.root = root.to_owned();
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let mut id = ROOT;
        for name in path.strip_prefix(&self.root).ok()? {
            let Node::Dir(dir) = &self.nodes[&id] else { return None };
            id = *dir.now().get(name.to_str()?)?;
        }
        Some(id)
    }

    /// Changes a file. One that was removed while someone still had it is gone with them.
    fn file(&mut self, path: &Path, change: impl FnOnce(&mut File)) {
        if let Some(id) = self.find(path)
            && let Some(Node::File(file)) = self.nodes.get_mut(&id)
        {
            change(file);
        }
    }

    fn dir(&mut self, path: &Path) -> &mut Dir {
        let id = self.find(path).unwrap_or_else(|| panic!("no directory {}", path.display()));
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(dir)) => dir,
            _ => panic!("{} is no directory", path.display()),
        }
    }

    /// Gives names of one directory new values.
    fn rename(&mut self, names: &[(&Path, Option<Id>)]) {
        let text = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let parent = names[0].0.parent().unwrap();
        let all = names.iter().map(|(path, id)| (text(path), *id)).collect();
        self.dir(parent).since.push(all);
    }

    fn add(&mut self, path: &Path, node: Node) {
        let id = self.nodes.len();
        self.nodes.insert(id, node);
        self.rename(&[(path, Some(id))]);
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path) => {
                self.add(path, Node::File(File { lengths: vec![0], pages: BTreeMap::new() }))
            }
            Change::Mkdir(path) => self.add(path, Node::Dir(Dir::default())),
            Change::Unlink(path) | Change::Rmdir(path) => self.rename(&[(path, None)]),
            Change::Link(from, to) => self.rename(&[(to, self.find(from))]),
            Change::Rename(from, to) => self.rename(&[(to, self.find(from)), (from, None)]),
            Change::SyncDir(path) => {
                let dir = self.dir(path);
                dir.on_disk = dir.now();
                dir.since.clear();
            }
            Change::Size(path, len) => self.file(path, |file| file.resize(*len)),
            Change::Write(path, at, bytes) => self.file(path, |file| file.write(*at, bytes)),
            Change::Sync(path, range) => {
                self.file(path, |file| file.sync(range.start, range.end));
            }
        }
    }

    /// Writes what a cut leaves into the empty directory `to`.
    pub fn cut(&self, loss: Loss, numbers: &mut Numbers, to: &Path) {
        self.write_dir(ROOT, loss, numbers, to);
    }

    fn write_dir(&self, id: Id, loss: Loss, numbers: &mut Numbers, to: &Path) {
        let Node::Dir(dir) = &self.nodes[&id] else { return };
        let names = dir.after(match loss {
            Loss::Nothing => dir.since.len(),
            Loss::Everything => 0,
            Loss::Some => numbers.below(dir.since.len() + 1),
        });
        for (name, id) in names {
            let path = to.join(name);
            match &self.nodes[&id] {
                Node::Dir(_) => {
                    fs::create_dir(&path).unwrap();
                    self.write_dir(id, loss, numbers, &path);
                }
                Node::File(file) => file.save(loss, numbers, &path),
            }
        }
    }
}

impl File {
    fn len(&self) -> u64 {
        *self.lengths.last().unwrap()
    }

    fn resize(&mut self, len: u64) {
        let now = self.len();
        if len < now {
            self.write(len, &vec![0; (now - len) as usize]);
        }
        self.lengths.push(len);
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        if end > self.len() {
            self.lengths.push(end);
        }
        for number in at / PAGE..end.div_ceil(PAGE) {
            let versions =
                self.pages.entry(number).or_insert_with(|| vec![Box::new([0; PAGE_BYTES])]);
            let mut page = versions.last().unwrap().clone();
            let (from, to) = (at.max(number * PAGE), end.min((number + 1) * PAGE));
            let part = &bytes[(from - at) as usize..(to - at) as usize];
            page[(from - number * PAGE) as usize..][..part.len()].copy_from_slice(part);
            versions.push(page);
        }
    }

    fn sync(&mut self, from: u64, to: u64) {
        self.lengths.drain(..self.lengths.len() - 1);
        for (_, versions) in self.pages.range_mut(from / PAGE..to.div_ceil(PAGE)) {
            versions.drain(..versions.len() - 1);
        }
    }

    fn save(&self, loss: Loss, numbers: &mut Numbers, path: &Path) {
        let file = fs::File::create(path).unwrap();
        let len = *choose(&self.lengths, loss, numbers);
        file.set_len(len).unwrap();
        for (number, versions) in &self.pages {
            let mut page = choose(versions, loss, numbers).clone();
            if loss == Loss::Some && versions.len() > 1 && numbers.one_in(5) {
                for (index, sector) in page.chunks_exact_mut(SECTOR).enumerate() {
                    let from = &choose(versions, loss, numbers)[index * SECTOR..];
                    sector.copy_from_slice(&from[..SECTOR]);
                }
            }
            let at = number * PAGE;
            if at < len {
                let kept = &page[..PAGE.min(len - at) as usize];
                file.write_all_at(kept, at).unwrap();
            }
        }
    }
}

/// One of the states since the last sync: mostly the last or the first.
fn choose<'v, T>(versions: &'v [T], loss: Loss, numbers: &mut Numbers) -> &'v T {
    let last = versions.len() - 1;
    &versions[match loss {
        Loss::Nothing => last,
        Loss::Everything => 0,
        Loss::Some => match numbers.below(3) {
            0 => last,
            1 => 0,
            _ => numbers.below(versions.len()),
        },
    }]
}

#[test]
fn what_was_synced_is_there_and_the_rest_may_be() {
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path();
    let path = |name: &str| root.join(name);
    let mut changes = vec![
        Change::Mkdir(path("d")),
        Change::Create(path("d/a")),
        Change::Size(path("d/a"), 10_000),
        Change::Write(path("d/a"), 4000, vec![1; 200]),
        Change::Sync(path("d/a"), 4000..4050),
        Change::SyncDir(path("d")),
        Change::Create(path("d/b")),
        Change::Rename(path("d/a"), path("d/c")),
    ];
    let built = |changes: &[Change], loss| {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::of(root);
        changes.iter().for_each(|change| disk.apply(change));
        disk.cut(loss, &mut Numbers::new(1), dir.path());
        dir
    };
    let all = built(&changes, Loss::Nothing);
    let bytes = fs::read(all.path().join("d/c")).unwrap();
    assert!(bytes.len() == 10_000 && bytes[4000..4200] == [1; 200]);
    assert!(all.path().join("d/b").exists() && !all.path().join("d/a").exists());
    assert!(!built(&changes, Loss::Everything).path().join("d").exists());
    changes.push(Change::SyncDir(root.into()));
    let none = built(&changes, Loss::Everything);
    let bytes = fs::read(none.path().join("d/a")).unwrap();
    assert!(bytes.len() == 10_000 && bytes[4000..4096] == [1; 96] && bytes[4096..] == [0; 5904]);
    assert!(!none.path().join("d/b").exists() && !none.path().join("d/c").exists());
}
