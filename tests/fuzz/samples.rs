//! Writes the samples of one target into a folder: `samples TARGET FOLDER`.

use std::path::Path;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = &words[..] else { panic!("usage: samples TARGET FOLDER") };
    let entry = ferrocket_fuzz::ENTRIES.iter().find(|entry| entry.name == target);
    let samples = (entry.expect("a target").samples)();
    std::fs::create_dir_all(folder).unwrap();
    for (number, sample) in samples.iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("sample-{number}")), sample).unwrap();
    }
}
