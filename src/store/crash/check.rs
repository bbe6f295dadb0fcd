//! What a store that was opened after a cut must hold.

use std::collections::BTreeMap;
use std::path::Path;

use super::run::{Sent, Told, load_json};
use crate::message::Message;
use crate::message::record::{self, Checked, RecordView};
use crate::store::{GetStatus, Store, fixture};

type Found<T> = Result<T, String>;

macro_rules! must {
    ($what:expr, $($why:tt)+) => {
        if !$what {
            return Err(format!($($why)+));
        }
    };
}

/// Compares the store at `root` with what had been told at `moment`; returns the messages it has.
pub fn check(store: &Store, root: &Path, told: &Told, moment: usize) -> Found<Vec<Sent>> {
    let durable = Told::at(&told.durable, moment);
    let min = store.min_physical_offset().max(0);
    let cleaned = Told::at(&told.cleaned, moment);
    must!(min <= cleaned.max(0), "the log begins at {min}, cleaned to {cleaned}");
    let by_place: BTreeMap<i64, &Sent> =
        told.sent.iter().map(|sent| (sent.physical_offset, sent)).collect();
    let mut present = Vec::new();
    for record in records(store)? {
        let Some(sent) = by_place.get(&record.physical_offset) else {
            return Err(format!("a record that was never put at {}", record.physical_offset));
        };
        is(&record, sent)?;
        present.push((*sent).clone());
    }
    for sent in told.sent.iter().filter(|sent| sent.end <= durable && sent.physical_offset >= min) {
        let there = present.binary_search_by_key(&sent.physical_offset, |s| s.physical_offset);
        must!(there.is_ok(), "lost: {sent}");
    }
    let (behind, trouble) = (store.dispatch_behind_bytes(), store.trouble());
    must!(behind == 0, "{behind} bytes not dispatched: {trouble:?}");
    queues(store, told, &present, moment, cleaned)?;
    // As of the queues, the index of files that were cleaned away may be gone when they come back.
    for sent in present.iter().filter(|sent| sent.physical_offset >= cleaned) {
        index(store, sent, durable)?;
    }
    let saved = load_json(root);
    let (least, most) = (Told::at(&told.saved, moment), Told::at(&told.saving, moment));
    must!((least..=most).contains(&saved), "the JSON file has {saved}, not {least} to {most}");
    Ok(present)
}

/// All records of the log, which must stand back to back.
fn records(store: &Store) -> Found<Vec<Message>> {
    let mut found = Vec::new();
    for file in store.log.segments().files() {
        let bytes = file.bytes(0, file.wrote()).unwrap();
        let mut at = 0;
        while at < bytes.len() {
            match RecordView::parse(&bytes[at..], true) {
                Checked::Record(record) => {
                    let (place, offset) = (file.start() + at as i64, record.physical_offset());
                    must!(offset == place, "a record of {offset} at {place}");
                    found.push(record.to_message());
                    at += record.total_size() as usize;
                }
                Checked::Blank(_) => break,
                _ => return Err(format!("no record at {at} of {}", file.path().display())),
            }
        }
    }
    Ok(found)
}

fn is(message: &Message, sent: &Sent) -> Found<()> {
    let same = message.topic == sent.topic
        && message.queue_id == sent.queue_id
        && message.queue_offset == sent.queue_offset.max(0)
        && message.properties == sent.properties;
    let found = (&message.topic, message.queue_id, message.queue_offset, message.physical_offset);
    must!(same, "{found:?} with {:?} stands for {sent}", message.properties);
    must!(message.body == sent.body, "another body than that of {sent}");
    Ok(())
}

/// Each message of the log stands in its queue, and the queues have no others.
fn queues(store: &Store, told: &Told, present: &[Sent], moment: usize, cleaned: i64) -> Found<()> {
    let unsure = told.unsure_at(moment);
    let mut by_queue: BTreeMap<(&str, i32), Vec<&Sent>> = BTreeMap::new();
    for sent in present
        .iter()
        .filter(|sent| sent.queue_offset >= 0 && sent.is_deleted(moment) == Some(false))
    {
        by_queue.entry((&sent.topic, sent.queue_id)).or_default().push(sent);
    }
    by_queue.retain(|(topic, _), _| !unsure.contains(*topic));
    for queue in store.queues.all() {
        let known = by_queue.contains_key(&(queue.topic(), queue.queue_id()));
        // What was cleaned away may have come back, and with it deleted topics.
        let none = queue.min_offset() == queue.max_offset() || queue.max_physical() <= cleaned;
        must!(known || none || unsure.contains(&**queue.topic()), "{queue} knows too much");
    }
    for ((topic, id), all) in by_queue {
        // Files of the log that were cleaned away may have come back without the queue's.
        let Some(least) = all.iter().find(|sent| sent.physical_offset >= cleaned) else { continue };
        let (first, last) = (all[0].queue_offset, all[all.len() - 1].queue_offset);
        let (min, max) =
            (store.min_offset_in_queue(topic, id), store.max_offset_in_queue(topic, id));
        let begins = (first..=least.queue_offset).contains(&min);
        must!(
            begins && max == last + 1,
            "{topic}@{id} has {min} to {max}, the log {first} to {last}"
        );
        for (sent, offset) in all.into_iter().zip(first..).filter(|(_, o)| (min..max).contains(o)) {
            must!(sent.queue_offset == offset, "no {offset} in the log for {topic}@{id}");
            let got = store.get(topic, id, offset, 1, &fixture::all);
            must!(got.status == GetStatus::Found, "{:?} of {sent}", got.status);
            let message = record::decode(&fixture::bytes(&got)).map_err(|e| e.to_string())?;
            is(&message, sent)?;
            let unit = store.queue(topic, id).and_then(|queue| queue.unit(offset)).unwrap();
            must!(unit.tags_code == sent.tags_code, "{unit:?} of {sent}");
        }
    }
    Ok(())
}

/// A query by key finds records only, and with `messageIndexSafe` each one that was on disk.
fn index(store: &Store, sent: &Sent, durable: i64) -> Found<()> {
    let key = sent.properties.split(['\u{1}', '\u{2}']).nth(1).unwrap();
    let found = store.query(&sent.topic, key, 64, 0, i64::MAX);
    let mut offsets = found.slices.iter().map(|s| RecordView::new(s.as_bytes()).unwrap());
    let there = offsets.any(|record| record.physical_offset() == sent.physical_offset);
    let sure = store.config.get().store.message_index_safe && sent.end <= durable;
    must!(there || !sure, "not in the index: {sent}");
    Ok(())
}
